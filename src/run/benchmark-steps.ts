/**
 * Metrics of a run while it goes: after rounds and at the end of each arm its adapters are asked, with answers and scores in the run's
 * evaluation.sqlite. A step that was interrupted is completed when the run is resumed; steps change nothing of the training.
 */
import type { MetricProgress } from "../benchmarks/run-metric.js";
import { storedResults } from "../benchmarks/queries.js";
import { EvaluationStore } from "../benchmarks/store.js";
import { summarizeResult } from "../benchmarks/summary.js";
import type { BenchmarksConfig } from "../config/benchmarks.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import type { OpenBaseModel, TrainingEngine } from "./engine.js";
import { planSubjects } from "./eval-subjects.js";
import type { PlannedSubject, SubjectRequest } from "./eval-subjects.js";
import { evaluateSubjects } from "./evaluate-subjects.js";
import { openMetrics, sourcesOf } from "./evaluation-metrics.js";
import type { OpenMetrics } from "./evaluation-metrics.js";
import type { RunListener } from "./events.js";
import { readHeldOutSamples } from "./held-out-samples.js";
import type { RunPaths } from "./run-folder.js";
import { ownVersion } from "./run-record.js";

/** An arm at work, and its base model, which is open. */
export interface ArmAtWork {
  readonly arm: ArmConfig;
  readonly base: OpenBaseModel;
  readonly sha256: string;
}

export interface BenchmarkSteps {
  /** Whether the common adapter after this round is asked, for which it must be kept. */
  isDue(round: number): boolean;
  /** Asks the adapter that was kept of a round. */
  afterRound(place: ArmAtWork, round: number): Promise<void>;
  /** Asks what the arm has saved. */
  atEnd(place: ArmAtWork): Promise<void>;
  dispose(): Promise<void>;
}

export interface BenchmarkPlace {
  readonly config: ExperimentConfig;
  readonly benchmarks: BenchmarksConfig;
  readonly engine: TrainingEngine;
  readonly paths: RunPaths;
  readonly emit: RunListener;
  readonly signal?: AbortSignal | undefined;
}

/** Throws CONFIG_INVALID for metrics that there are not, before anything else is looked at. */
export function checkBenchmarks(benchmarks: BenchmarksConfig | undefined): void {
  if (benchmarks !== undefined) sourcesOf({ ...benchmarks, seed: 0 });
}

/** Makes the metrics, so that what is wrong with them is known before anything is trained. Throws as openMetrics. */
export async function openBenchmarkSteps(place: BenchmarkPlace): Promise<BenchmarkSteps> {
  const { config, benchmarks } = place;
  const { metrics, limit, questions, options, judge, allowCodeExecution, sandbox } = benchmarks;
  const open = await openMetrics({ metrics, limit, seed: config.seed, questions, options, judge, allowCodeExecution, sandbox }, () => readHeldOutSamples(config));
  const engine = rememberFiles(place.engine);
  const basesAsked = new Set<string>();
  const askNow = async (at: ArmAtWork, round: number, choose: Omit<SubjectRequest, "target" | "base" | "arms">) => {
    const { subjects } = await planSubjects({ ...choose, target: place.paths.folder, arms: [at.arm.name], base: benchmarks.base && !basesAsked.has(at.arm.precision) }, engine);
    await askSubjects({ ...place, engine }, open, at, round, chooseClients(subjects, benchmarks.maxClients));
    basesAsked.add(at.arm.precision);
  };
  // One after another, however many arms are at work: a model answers with all threads.
  let last: Promise<unknown> = Promise.resolve();
  const ask = (...request: Parameters<typeof askNow>): Promise<void> => {
    const next = last.then(() => askNow(...request));
    last = next.catch(() => undefined);
    return next;
  };
  return {
    isDue: (round) => benchmarks.everyRounds !== undefined && round % benchmarks.everyRounds === 0,
    afterRound: (at, round) => ask(at, round, { round }),
    atEnd: async (at) => {
      if (benchmarks.atEnd) await ask(at, at.arm.training.numRounds, {});
    },
    dispose: () => open.dispose(),
  };
}

async function askSubjects(place: BenchmarkPlace, open: OpenMetrics, { arm, base, sha256 }: ArmAtWork, round: number, subjects: readonly PlannedSubject[]): Promise<void> {
  const { config, benchmarks, engine, paths, emit, signal } = place;
  const store = new EvaluationStore(paths.evaluation);
  try {
    const { contextLength, maxSequences, limit } = benchmarks;
    const onProgress = (subject: string, metric: string, { phase, numDone, numTotal }: MetricProgress) => {
      emit({ event: "benchmarking", arm: arm.name, round, subject, metric, phase, done: numDone, total: numTotal });
    };
    const { gradingIds, numUnscored } = await evaluateSubjects({
      ...{ engine, subjects, open, store, config, contextLength, maxSequences, limit, onProgress, signal },
      seed: config.seed,
      versions: { fedllmNative: ownVersion(), llamaCpp: engine.llamaCppRelease },
      opened: { sha256, base },
    });
    const labels = new Set(subjects.map(({ row }) => row.label));
    const results = storedResults(store.database).filter(({ gradingId, subject }) => gradingIds.includes(gradingId) && labels.has(subject.label));
    for (const result of results) {
      const measures = summarizeResult(store.database, result).flatMap(({ measure, mean }) => (mean === undefined ? [] : [[measure, mean] as const]));
      emit({ event: "benchmarked", arm: arm.name, round, subject: result.subject.label, metric: result.metric, measures: Object.fromEntries(measures) });
    }
    if (numUnscored > 0) emit({ event: "warning", message: `${String(numUnscored)} answers of ${arm.name} could not be scored; \`fedllm-native eval\` tries them again` });
  } finally {
    store.close();
  }
}

/** Of clients' adapters so many, evenly spaced; all of the others. */
function chooseClients(subjects: readonly PlannedSubject[], most: number): readonly PlannedSubject[] {
  const ofClients = subjects.filter(({ row }) => row.clientId !== undefined);
  const chosen = new Set(ofClients.filter((_, index) => Math.floor((index * most) / ofClients.length) !== Math.floor(((index - 1) * most) / ofClients.length)));
  return subjects.filter((subject) => subject.row.clientId === undefined || chosen.has(subject));
}

/** Model files do not change while a run is at work: each is hashed once. */
function rememberFiles(engine: TrainingEngine): TrainingEngine {
  const sources = new Map<string, ReturnType<TrainingEngine["openSource"]>>();
  const variants = new Map<string, ReturnType<TrainingEngine["ensureVariant"]>>();
  return {
    ...engine,
    openSource: (path) => remembered(sources, path, () => engine.openSource(path)),
    ensureVariant: (source, precision) => remembered(variants, JSON.stringify([source.path, precision]), () => engine.ensureVariant(source, precision)),
  };
}

function remembered<T>(known: Map<string, T>, key: string, make: () => T): T {
  const value = known.get(key) ?? make();
  known.set(key, value);
  return value;
}
