/**
 * Runs one metric over one subject: answers in groups of fixed composition, each group stored in one transaction, then scores,
 * item by item and several at once. What is stored is never computed again, so a stop at any moment loses a group of answers or a
 * few scores at most, and the next call ends with the rows of one that was not stopped.
 */
import { FedllmError, isFedllmError } from "../errors.js";
import { mapBounded } from "../federated/bounded.js";
import { assert } from "../util/assert.js";
import type { CodeSandbox, Judge, Metric, SubjectModel } from "./metric.js";
import type { EvaluationStore, SubjectRow } from "./store.js";

/** How far a metric is. */
export interface MetricProgress {
  readonly phase: "answers" | "scores";
  readonly numDone: number;
  readonly numTotal: number;
  /** Of them, stored before. */
  readonly numKnown: number;
}

export interface MetricRun {
  readonly metric: Metric;
  readonly subject: SubjectRow;
  readonly store: EvaluationStore;
  /** Opened when an answer is missing, and not before. */
  readonly openModel: () => Promise<SubjectModel>;
  readonly judge?: Judge;
  readonly sandbox?: CodeSandbox;
  readonly seed: number;
  /** Of model and choice of items, beside the metric's own. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly onProgress?: (progress: MetricProgress) => void;
  readonly signal?: AbortSignal;
}

export interface MetricRunResult {
  readonly evaluationId: number;
  readonly gradingId: number;
  /** Answers that could not be scored this time; another call tries them again. */
  readonly numUnscored: number;
}

/** Scores at once; judges bound their own concurrency below it. */
const MAX_SCORED_AT_ONCE = 16;

/** Runs or completes a metric. Rejects with CANCELLED after an abort, and with whatever the model throws; failures of a score are stored. */
export async function runMetric(given: MetricRun): Promise<MetricRunResult> {
  const run = withGraders(given);
  const { metric, subject, store, judge, sandbox, seed, versions } = run;
  const { modelSha256, adapterSha256 } = subject;
  store.saveSubject(subject);
  const evaluationId = store.openEvaluation(
    {
      modelSha256,
      ...(adapterSha256 === undefined ? {} : { adapterSha256 }),
      metric: metric.name,
      settings: { ...run.settings, ...metric.settings },
      itemsSha256: metric.itemsSha256,
      numItems: metric.items.length,
      seed,
      versions,
    },
    { title: metric.title, measures: metric.measures, ...(metric.categoryName === undefined ? {} : { categoryName: metric.categoryName }) },
    new Date(),
  );
  const gradingId = store.openGrading(evaluationId, { judge: judge?.name ?? null, sandbox: sandbox?.name ?? null });
  await answerAll(run, evaluationId);
  const numUnscored = await scoreAll(run, evaluationId, gradingId);
  return { evaluationId, gradingId, numUnscored };
}

/** Without a judge or sandbox that is open for other metrics, so that scores do not depend on which metrics were asked for together. */
function withGraders({ judge, sandbox, ...run }: MetricRun): MetricRun {
  const { needs } = run.metric;
  return { ...run, ...(judge === undefined || needs.judge !== true ? {} : { judge }), ...(sandbox === undefined || needs.sandbox !== true ? {} : { sandbox }) };
}

async function answerAll({ metric, store, openModel, judge, sandbox, seed, onProgress, signal }: MetricRun, evaluationId: number): Promise<void> {
  const { items, groupSize } = metric;
  const answered = store.answeredItems(evaluationId);
  const progress = (numDone: number) => onProgress?.({ phase: "answers", numDone, numTotal: items.length, numKnown: answered.size });
  let numDone = answered.size;
  progress(numDone);
  for (let start = 0; start < items.length; start += groupSize) {
    // A group is stored as a whole.
    if (answered.has(start)) continue;
    throwIfAborted(signal);
    const model = await openModel();
    const group = items.slice(start, start + groupSize);
    const startMs = performance.now();
    const context = { model, ...(judge === undefined ? {} : { judge }), ...(sandbox === undefined ? {} : { sandbox }), seed };
    const answers = await metric.answerItems(context, group, signal);
    assert(answers.length === group.length, "a metric gives one answer per item");
    const durationMs = (performance.now() - startMs) / group.length;
    const rows = group.map((item, index) => {
      const answer = answers[index];
      assert(answer !== undefined, "a metric gives one answer per item");
      return { seq: start + index, item, answer, durationMs };
    });
    store.keepAnswers(evaluationId, rows);
    numDone += group.length;
    progress(numDone);
  }
}

/** Returns how many answers have no score. */
async function scoreAll(run: MetricRun, evaluationId: number, gradingId: number): Promise<number> {
  const { metric, store, judge, sandbox, seed, onProgress, signal } = run;
  const scored = store.scoredItems(gradingId);
  const missing = metric.items.map((_, seq) => seq).filter((seq) => !scored.has(seq));
  let numDone = scored.size;
  let numUnscored = 0;
  const context = { ...(judge === undefined ? {} : { judge }), ...(sandbox === undefined ? {} : { sandbox }), seed };
  await mapBounded(missing, MAX_SCORED_AT_ONCE, signal, async (seq) => {
    const item = metric.items[seq];
    const answer = store.readAnswer(evaluationId, seq);
    assert(item !== undefined && answer !== undefined, "every item was answered");
    try {
      store.keepScores(gradingId, seq, await metric.scoreItem(context, item, answer, signal));
    } catch (error) {
      if (!isScoreFailure(error) || signal?.aborted === true) throw error;
      numUnscored += 1;
      store.keepFailure(gradingId, seq, { code: error.code, reason: error.message });
    }
    numDone += 1;
    onProgress?.({ phase: "scores", numDone, numTotal: metric.items.length, numKnown: scored.size });
  });
  throwIfAborted(signal);
  return numUnscored;
}

/** What another try may mend; anything else is wrong with the program or the database. */
function isScoreFailure(error: unknown): error is FedllmError {
  return isFedllmError(error, "JUDGE_FAILED");
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new FedllmError("CANCELLED", "the evaluation was interrupted; what was answered and scored is kept", { cause: signal.reason });
}
