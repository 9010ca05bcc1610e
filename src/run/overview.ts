/** What the folder of a run tells about it, for lists and for showing one; reads only, also beside a run at work. */
import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { openMetricsDatabase } from "../metrics/database.js";
import { armProgress, events } from "../metrics/queries.js";
import { summarizeRun } from "../report/summary.js";
import type { Summary } from "../report/summary.js";
import { listRunFolders, runPaths } from "./run-folder.js";
import type { RunPaths } from "./run-folder.js";
import { ARM_FINISHED, isAtWork, readJson } from "./run-state.js";

export interface RunOverview {
  readonly folder: string;
  readonly folderName: string;
  /** `damaged`: configuration or measurements cannot be read. */
  readonly state: "finished" | "running" | "unfinished" | "damaged";
  /** ISO 8601; absent when the record cannot be read. */
  readonly startedAt?: string;
  readonly arms: readonly ArmOverview[];
}

export interface ArmOverview {
  readonly name: string;
  readonly numRounds: number;
  readonly lastRound: number;
  readonly isFinished: boolean;
}

export interface ShownRun {
  readonly overview: RunOverview;
  readonly summary: Summary;
  /** One sentence each, in the order in which they happened; finished arms are not repeated. */
  readonly events: readonly string[];
}

const configSchema = z.object({
  arms: z.array(z.object({ name: z.string(), training: z.object({ numRounds: z.number() }) })),
});
const startedSchema = z.object({ startedAt: z.string() });

/** Overviews of all runs directly below a folder, by name. */
export async function listRuns(parent: string): Promise<RunOverview[]> {
  const folders = await listRunFolders(parent);
  return folders.map((folder) => {
    try {
      return overviewOf(runPaths(folder));
    } catch {
      // One bad folder must not hide the others.
      return { folder, folderName: basename(folder), state: "damaged", arms: [] };
    }
  });
}

/** Everything `runs show` prints. Throws METRICS_INVALID for measurements that cannot be read. */
export function describeRunForShow(paths: RunPaths): ShownRun {
  const overview = overviewOf(paths);
  if (!existsSync(paths.metrics)) return { overview, summary: { rows: [] }, events: [] };
  const database = openMetricsDatabase(paths.metrics, { readonly: true });
  try {
    const shown = events(database).filter((event) => event.kind !== ARM_FINISHED);
    return {
      overview,
      summary: summarizeRun(database),
      events: shown.map(({ createdAt, arm, round, clientId, kind, message }) =>
        [createdAt, arm, round === null ? null : `round ${String(round)}`, clientId, kind, message]
          .filter((part) => part !== null)
          .join("  "),
      ),
    };
  } finally {
    database.close();
  }
}

function overviewOf(paths: RunPaths): RunOverview {
  const config = configSchema.parse(parse(readFileSync(paths.config, "utf8")));
  const progress = readProgress(paths);
  const arms = config.arms.map(({ name, training }) => ({
    name,
    numRounds: training.numRounds,
    lastRound: progress.lastRounds.get(name) ?? 0,
    isFinished: progress.finished.has(name),
  }));
  const started = readJson(paths.record, startedSchema);
  const isFinished = arms.every((arm) => arm.isFinished);
  return {
    folder: paths.folder,
    folderName: basename(paths.folder),
    state: isFinished ? "finished" : isAtWork(paths.folder) ? "running" : "unfinished",
    ...(started === undefined ? {} : { startedAt: started.startedAt }),
    arms,
  };
}

function readProgress(paths: RunPaths): { lastRounds: Map<string, number>; finished: Set<string> } {
  if (!existsSync(paths.metrics)) return { lastRounds: new Map(), finished: new Set() };
  const database = openMetricsDatabase(paths.metrics, { readonly: true });
  try {
    const finished = events(database).flatMap((event) => (event.kind === ARM_FINISHED && event.arm !== null ? [event.arm] : []));
    return {
      lastRounds: new Map(armProgress(database).map(({ arm, lastRound }) => [arm, lastRound ?? 0])),
      finished: new Set(finished),
    };
  } finally {
    database.close();
  }
}
