/** `judge compare` as a function: two subjects by name and a metric -> a judge's verdicts in the left one's evaluation.sqlite, and what they come to. */
import { judgePairs, pairAnswers, pairwiseSettings, summarizeVerdicts } from "../benchmarks/pairwise.js";
import type { AnswerPair, ComparisonSummary, PairwiseRun } from "../benchmarks/pairwise.js";
import { evaluationIdentity, storedAnswers, storedResults, storedVerdicts, unjudgedReasons } from "../benchmarks/queries.js";
import type { StoredResult } from "../benchmarks/queries.js";
import { EvaluationStore } from "../benchmarks/store.js";
import { problemError } from "../errors.js";
import type { JudgeUsage, OpenJudge } from "../judge/judge.js";
import { ensureSqlite } from "../metrics/ensure-sqlite.js";
import { assert } from "../util/assert.js";
import { canonicalJson } from "../util/canonical-json.js";
import { openSubject } from "./evaluation-source.js";

export interface CompareAnswersRequest {
  /** Run or database, and #LABEL where it has several subjects. */
  readonly left: string;
  readonly right: string;
  readonly metric: string;
  /** Of resampling. */
  readonly seed: number;
}

export interface CompareAnswersOptions extends Pick<PairwiseRun, "onProgress" | "signal"> {
  /** Called when both sides are known to go together; disposed of here. */
  readonly openJudge: () => Promise<OpenJudge>;
  /** Hears of builds that take a while. */
  readonly onNote?: (line: string) => void;
}

export interface CompareAnswersResult extends ComparisonSummary {
  readonly databasePath: string;
  readonly left: string;
  readonly right: string;
  readonly metric: string;
  readonly title: string;
  readonly categoryName?: string;
  readonly judge: string;
  /** Items that only one side has an answer to. */
  readonly numUnpaired: number;
  /** Why verdicts are missing. */
  readonly failures: readonly { readonly code: string; readonly reason: string; readonly count: number }[];
  /** Of this call alone. */
  readonly usage: JudgeUsage;
}

type Subject = ReturnType<typeof openSubject>;

/** The two evaluations, and their answers to the same items. */
interface Matched {
  readonly left: StoredResult;
  readonly right: StoredResult;
  readonly pairs: readonly AnswerPair[];
  readonly numUnpaired: number;
  readonly rightIdentity: string;
}

/**
 * Asks for the verdicts that are missing; another call goes on. Throws CONFIG_INVALID for sides that do not go together, CANCELLED after an
 * abort, and what opening the judge throws.
 */
export async function compareAnswers(request: CompareAnswersRequest, { openJudge, onNote, onProgress, signal }: CompareAnswersOptions): Promise<CompareAnswersResult> {
  await ensureSqlite(onNote === undefined ? {} : { onProgress: onNote });
  const { databasePath, matched, labels } = readSides(request);
  const { left, right, pairs, rightIdentity } = matched;
  const judge = await openJudge();
  try {
    const store = new EvaluationStore(databasePath);
    try {
      const { modelSha256, adapterSha256 } = right.subject;
      const comparisonId = store.openComparison(
        {
          leftEvaluationId: left.evaluationId,
          right: { identitySha256: rightIdentity, label: labels[1], modelSha256, ...(adapterSha256 === undefined ? {} : { adapterSha256 }) },
          judge: judge.name,
          settings: pairwiseSettings(),
        },
        new Date(),
      );
      await judgePairs({ store, comparisonId, pairs, judge, ...(onProgress === undefined ? {} : { onProgress }), ...(signal === undefined ? {} : { signal }) });
      const { title, categoryName } = left.info;
      return {
        ...{ databasePath, left: labels[0], right: labels[1], metric: left.metric, title, judge: judge.name, numUnpaired: matched.numUnpaired },
        ...(categoryName === undefined ? {} : { categoryName }),
        ...summarizeVerdicts(pairs, storedVerdicts(store.database, comparisonId), request.seed),
        failures: unjudgedReasons(store.database, comparisonId),
        usage: judge.usage(),
      };
    } finally {
      store.close();
    }
  } finally {
    await judge.dispose();
  }
}

function readSides({ left: leftName, right: rightName, metric }: CompareAnswersRequest): { readonly databasePath: string; readonly matched: Matched; readonly labels: readonly [string, string] } {
  const left = openSubject(leftName);
  try {
    const right = openSubject(rightName);
    try {
      return { databasePath: left.path, matched: match(left, right, metric), labels: [left.label, right.label] };
    } finally {
      right.database.close();
    }
  } finally {
    left.database.close();
  }
}

/** The newest evaluations that go together. Throws CONFIG_INVALID with what differs. */
function match(left: Subject, right: Subject, metric: string): Matched {
  const [ours, theirs] = [evaluationsOf(left, metric), evaluationsOf(right, metric)];
  const candidates = ours.flatMap((one) => theirs.map((other) => ({ one, other, differences: differencesOf(one, other) })));
  const found = candidates.find(({ differences }) => differences.length === 0);
  if (found === undefined) {
    // Both lists have one at least, and the newest of both come first.
    throw problemError("CONFIG_INVALID", { subject: `${metric} of ${left.label} and ${right.label}`, expected: "the same questions and settings", received: candidates[0]?.differences.join("; ") ?? "none", remedy: "Evaluate both subjects with the same options" });
  }
  const { one, other } = found;
  if (one.subject.modelSha256 === other.subject.modelSha256 && one.subject.adapterSha256 === other.subject.adapterSha256) {
    throw problemError("CONFIG_INVALID", { subject: `${left.label} and ${right.label}`, expected: "two models or adapters", received: "the same one" });
  }
  const [answers, others] = [storedAnswers(left.database, one.evaluationId), storedAnswers(right.database, other.evaluationId)];
  const pairs = pairAnswers(answers, others);
  if (pairs.length === 0) throw problemError("CONFIG_INVALID", { subject: `${metric} of ${left.label} and ${right.label}`, expected: "items that both answered", received: "none" });
  const isWritten = [...answers, ...others].some(({ turns }) => turns.some(({ output }) => output !== ""));
  if (!isWritten || one.graders.sandbox !== undefined) {
    throw problemError("CONFIG_INVALID", { subject: metric, expected: "a metric with written answers", received: isWritten ? "programs, which are judged by running them" : "numbers or empty answers alone" });
  }
  const rightIdentity = evaluationIdentity(right.database, other.evaluationId);
  assert(rightIdentity !== undefined, "the evaluation was just read");
  return { left: one, right: other, pairs, numUnpaired: answers.length + others.length - 2 * pairs.length, rightIdentity };
}

/** One result of each evaluation, the newest first. */
function evaluationsOf({ database, label }: Subject, metric: string): StoredResult[] {
  const results = storedResults(database, label);
  const own = new Map(results.filter((result) => result.metric === metric).map((result) => [result.evaluationId, result]));
  if (own.size > 0) return [...own.values()].sort((one, other) => other.evaluationId - one.evaluationId);
  const known = [...new Set(results.map((result) => result.metric))].join(", ");
  throw problemError("CONFIG_INVALID", { subject: `metric of ${label}`, expected: known === "" ? "one that it was asked, of which there is none" : `one of ${known}`, received: metric });
}

/** Settings that say how a model is run or which items are drawn, and not what is asked. */
const OWN_SETTINGS: readonly string[] = ["model", "limit"];

function differencesOf(left: StoredResult, right: StoredResult): string[] {
  const shown = (value: unknown) => (value === undefined ? "none" : canonicalJson(value));
  const names = [...new Set([...Object.keys(left.settings), ...Object.keys(right.settings)])].filter((name) => !OWN_SETTINGS.includes(name)).sort();
  const settings = names.flatMap((name) => {
    const [one, other] = [shown(left.settings[name]), shown(right.settings[name])];
    return one === other ? [] : [`${name} ${one} on the left and ${other} on the right`];
  });
  const questions = left.itemsSha256 === right.itemsSha256 ? [] : [`question sets ${left.itemsSha256.slice(0, 12)} and ${right.itemsSha256.slice(0, 12)}`];
  return [...questions, ...settings];
}
