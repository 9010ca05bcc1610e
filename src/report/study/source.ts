/** Opens the runs of a study: folder, record, resolved configuration and measurements of each, read-only. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { EVALUATION_DATABASE } from "../../benchmarks/schema.js";
import { problemError } from "../../errors.js";
import { openMetricsDatabase, openMetricsForReading, openRunDatabaseForReading, type MetricsDatabase } from "../../metrics/database.js";
import { armProgress, events } from "../../metrics/queries.js";
import type { ArmPrivacyReport } from "../../privacy/claim.js";
import { readLedger } from "../../run/privacy-report.js";
import { ARM_FINISHED, isAtWork } from "../../run/run-state.js";
import { findRun, hasRun, listRunFolders, runPaths } from "../../run/run-folder.js";
import { readRunRecord } from "../../run/run-record.js";
import type { RunRecord } from "../../run/run-record.js";
import { hasErrorCode } from "../../util/atomic-file.js";

/** Where `eval` writes by default. */
const EVALUATION_NAME = "evaluation.sqlite";

/** The fields of a stored configuration that a study needs; all others are kept, since they tell arms apart. */
const storedConfigSchema = z.looseObject({
  data: z.looseObject({}),
  evaluation: z.looseObject({}).optional(),
  training: z.looseObject({ objective: z.string().optional() }).optional(),
  arms: z.array(z.looseObject({ name: z.string(), precision: z.string(), strategy: z.string(), seed: z.number().optional(), training: z.looseObject({ numRounds: z.number() }) })),
});

export type StoredConfig = z.output<typeof storedConfigSchema>;

export interface OpenRun {
  readonly folder: string;
  /** The folder as a short name: the last part of its path. */
  readonly folderName: string;
  readonly record: RunRecord;
  readonly config: StoredConfig;
  /** The resolved configuration as it stands in the folder. */
  readonly configText: string;
  readonly database: MetricsDatabase;
  /** Of `eval`; absent where nothing was evaluated. */
  readonly evaluation?: MetricsDatabase;
  /** What arms with differential privacy spent. */
  readonly privacy: readonly ArmPrivacyReport[];
  readonly state: "finished" | "running" | "unfinished";
  /** By arm, those that have begun. */
  readonly lastRounds: ReadonlyMap<string, number>;
  readonly finishedArms: ReadonlySet<string>;
  /** Files below the folder, by arm, as relative paths with forward slashes. */
  readonly adapters: ReadonlyMap<string, readonly string[]>;
}

/**
 * Opens runs named by folder or name, or all below a folder of runs; the caller closes them. Throws RUN_NOT_FOUND for a name without a run,
 * CONFIG_INVALID for a run whose configuration cannot be read, METRICS_INVALID for its measurements.
 */
export async function openRuns(names: readonly string[]): Promise<OpenRun[]> {
  const folders: string[] = [];
  for (const name of names) folders.push(...(await findRunFolders(name)));
  const opened: OpenRun[] = [];
  try {
    for (const folder of new Set(folders)) opened.push(openRun(folder));
    return opened;
  } catch (error) {
    closeRuns(opened);
    throw error;
  }
}

export function closeRuns(runs: readonly OpenRun[]): void {
  for (const { database, evaluation } of runs) {
    database.close();
    evaluation?.close();
  }
}

/** The folder of a run named by folder or name, or those of all runs below a folder. Throws RUN_NOT_FOUND. */
export async function findRunFolders(name: string): Promise<string[]> {
  const inside = hasRun(name) ? [] : await listRunFolders(name).catch(() => []);
  return inside.length > 0 ? inside : [findRun(name).folder];
}

function openRun(folder: string): OpenRun {
  const paths = runPaths(folder);
  const record = readRunRecord(paths.record);
  const configText = readFileSync(paths.config, "utf8");
  const config = parseConfig(configText, paths.config);
  const evaluationPath = join(folder, EVALUATION_NAME);
  // A run that has only just begun has measured nothing.
  const database = existsSync(paths.metrics) ? openMetricsForReading(paths.metrics) : openMetricsDatabase(":memory:");
  const finishedArms = new Set(events(database).flatMap((event) => (event.kind === ARM_FINISHED && event.arm !== null ? [event.arm] : [])));
  const isFinished = config.arms.every(({ name }) => finishedArms.has(name));
  return {
    folder,
    folderName: folder.split(sep).at(-1) ?? folder,
    record,
    config,
    configText,
    database,
    ...(existsSync(evaluationPath) ? { evaluation: openRunDatabaseForReading(evaluationPath, EVALUATION_DATABASE) } : {}),
    privacy: existsSync(paths.privacy) ? readLedger(paths.privacy) : [],
    state: isFinished ? "finished" : isAtWork(folder) ? "running" : "unfinished",
    lastRounds: new Map(armProgress(database).map(({ arm, lastRound }) => [arm, lastRound ?? 0])),
    finishedArms,
    adapters: new Map(config.arms.map(({ name }) => [name, listAdapters(folder, name)])),
  };
}

function parseConfig(text: string, path: string): StoredConfig {
  try {
    return storedConfigSchema.parse(parse(text));
  } catch (error) {
    const received = error instanceof Error ? error.message.split("\n")[0] ?? "" : String(error);
    throw problemError("CONFIG_INVALID", { subject: path, expected: "the configuration of a run", received }, error);
  }
}

/** Most files that a page links to for one arm; strategies with an adapter per client may have thousands. */
const ADAPTERS_MAX = 100;

function listAdapters(folder: string, arm: string): string[] {
  const common = runPaths(folder).adapter(arm);
  const single = existsSync(common) ? [common] : [];
  const below = listGguf(join(folder, "adapters", arm));
  return [...single, ...below].slice(0, ADAPTERS_MAX).map((path) => relative(folder, path).replaceAll(sep, "/"));
}

function listGguf(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile() && entry.name.endsWith(".gguf")).map((entry) => join(entry.parentPath, entry.name)).sort();
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return [];
    throw error;
  }
}
