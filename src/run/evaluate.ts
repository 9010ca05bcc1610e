/** `eval` as a function: subjects and metrics by name -> answers and scores in evaluation.sqlite, and what they sum up to. */
import { mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { MetricProgress } from "../benchmarks/run-metric.js";
import { storedResults } from "../benchmarks/queries.js";
import type { StoredResult } from "../benchmarks/queries.js";
import { EvaluationStore } from "../benchmarks/store.js";
import { ensureSqlite } from "../metrics/ensure-sqlite.js";
import type { TrainingEngine } from "./engine.js";
import { planSubjects } from "./eval-subjects.js";
import type { SubjectRequest } from "./eval-subjects.js";
import { evaluateSubjects } from "./evaluate-subjects.js";
import type { AskSettings } from "./evaluate-subjects.js";
import { openMetrics, sourcesOf } from "./evaluation-metrics.js";
import type { MetricRequest } from "./evaluation-metrics.js";
import { readHeldOutSamples } from "./held-out-samples.js";
import { createNativeEngine } from "./native-engine.js";
import { ownVersion } from "./run-record.js";

export interface EvaluateRequest extends SubjectRequest, Omit<MetricRequest, "seed">, Omit<AskSettings, "seed"> {
  /** Default: the run's, or 2023 without one. */
  readonly seed?: number | undefined;
  /** Database for the results; default: evaluation.sqlite in the run's folder, or in the working folder without one. */
  readonly out?: string | undefined;
  readonly device?: string | undefined;
  readonly numThreads: number;
}

export interface EvaluateOptions {
  readonly onProgress?: (subject: string, metric: string, progress: MetricProgress) => void;
  /** Hears of builds that take a while. */
  readonly onNote?: (line: string) => void;
  readonly signal?: AbortSignal;
  /** Default: the native addon. */
  readonly engine?: TrainingEngine;
}

export interface EvaluateResult {
  readonly databasePath: string;
  /** Of everything asked for, subject by subject in the order of the metrics. */
  readonly results: readonly StoredResult[];
  /** Answers without a score. */
  readonly numUnscored: number;
}

const DEFAULT_SEED = 2023;
const DATABASE_NAME = "evaluation.sqlite";

/**
 * Runs or completes the metrics; calling it again computes what is missing. Throws CONFIG_INVALID and RUN_NOT_FOUND for names that are
 * not there, CANCELLED after an abort, and whatever models and questions throw.
 */
export async function evaluate(request: EvaluateRequest, options: EvaluateOptions = {}): Promise<EvaluateResult> {
  const { numThreads, device } = request;
  sourcesOf({ ...request, seed: 0 });
  await ensureSqlite(options.onNote === undefined ? {} : { onProgress: options.onNote });
  const engine = options.engine ?? (await createNativeEngine({ numThreads, device, ...(options.onNote === undefined ? {} : { onProgress: options.onNote }) }));
  const { subjects, run } = await planSubjects(request, engine);
  const seed = request.seed ?? run?.config.seed ?? DEFAULT_SEED;
  const open = await openMetrics({ ...request, seed }, run === undefined ? undefined : () => readHeldOutSamples(run.config));
  try {
    const databasePath = resolve(request.out ?? run?.paths.evaluation ?? join(".", DATABASE_NAME));
    await mkdir(dirname(databasePath), { recursive: true });
    const store = new EvaluationStore(databasePath);
    try {
      const { template, contextLength, maxSequences, limit } = request;
      const { gradingIds, numUnscored } = await evaluateSubjects({
        ...{ template, contextLength, maxSequences, limit, seed },
        ...{ engine, subjects, open, store },
        config: run?.config,
        versions: { fedllmNative: ownVersion(), llamaCpp: engine.llamaCppRelease },
        onProgress: options.onProgress,
        signal: options.signal,
      });
      const labels = new Set(subjects.map(({ row }) => row.label));
      const results = storedResults(store.database).filter(({ gradingId, subject }) => gradingIds.includes(gradingId) && labels.has(subject.label));
      return { databasePath, results, numUnscored };
    } finally {
      store.close();
    }
  } finally {
    await open.dispose();
  }
}
