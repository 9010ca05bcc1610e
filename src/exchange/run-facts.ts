/** What a run's record says about one of its adapters, for the card beside an exported one. */
import { basename } from "node:path";
import { loadConfig } from "../config/load.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import { strategyLabel } from "../config/strategy-file.js";
import { CATALOGUE } from "../data/catalogue.js";
import { licenceOf } from "../data/catalogue/published.js";
import { openMetricsForReading } from "../metrics/database.js";
import { evaluationsByArm } from "../metrics/queries.js";
import type { RunPaths } from "../run/run-folder.js";
import { readRunRecord } from "../run/run-record.js";
import type { RunRecord } from "../run/run-record.js";

export interface RunFacts {
  readonly name: string;
  /** Id of the adapter in the run: arm, and client, group or round where it is not the arm's common one. */
  readonly id: string;
  readonly record: RunRecord;
  readonly arm: ArmConfig;
  readonly strategy: string;
  readonly objective: string;
  readonly template: string;
  readonly data: DataFacts;
  /** Of the arm's last evaluated round, on the overall held-out samples. */
  readonly metrics: readonly { readonly metric: string; readonly round: number; readonly value: number }[];
}

export interface DataFacts {
  readonly name: string;
  readonly sha256?: string;
  readonly isSynthetic: boolean;
  /** Where it is known. */
  readonly licence?: { readonly name: string; readonly url: string; readonly note: string };
}

/** Reads them; undefined for an adapter that belongs to no arm of the run. Throws as loadConfig, readRunRecord and openMetricsForReading. */
export async function readRunFacts(paths: RunPaths, id: string): Promise<RunFacts | undefined> {
  const { config } = await loadConfig({ file: paths.config });
  const arm = config.arms.find(({ name }) => id === name || id.startsWith(`${name}/`));
  if (arm === undefined) return undefined;
  const record = readRunRecord(paths.record);
  const { name, data, training } = config;
  return {
    name,
    id,
    record,
    arm,
    strategy: strategyLabel(arm.strategy),
    objective: training.objective,
    template: data.template,
    data: dataFacts(config, record),
    metrics: lastMetrics(paths, arm.name),
  };
}

function dataFacts({ data }: ExperimentConfig, { hashes }: RunRecord): DataFacts {
  const sha256 = hashes["data.train"];
  const hash = sha256 === undefined ? {} : { sha256 };
  if (data.train === undefined) return { name: `synthetic data, profile ${data.generated.profile}, seed ${String(data.generated.seed)}`, isSynthetic: true, ...hash };
  const file = basename(data.train);
  const entry = CATALOGUE.find((known) => basename(known.file) === file);
  if (entry === undefined) return { name: file, isSynthetic: false, ...hash };
  return { name: `${entry.title} of FedLLM-Bench (${file})`, isSynthetic: false, licence: licenceOf(entry), ...hash };
}

function lastMetrics(paths: RunPaths, arm: string): RunFacts["metrics"] {
  const database = openMetricsForReading(paths.metrics);
  try {
    const last = new Map<string, { metric: string; round: number; value: number }>();
    for (const { metric, round, value, clientId } of evaluationsByArm(database, arm)) {
      if (clientId === null && value !== null) last.set(metric, { metric, round, value });
    }
    return [...last.values()];
  } finally {
    database.close();
  }
}
