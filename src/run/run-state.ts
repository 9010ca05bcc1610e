/** Whether a run is at work and which of its arms are finished, told by its folder without disturbing it. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { z } from "zod";

/** Kind of the event that marks an arm whose adapters are saved. */
export const ARM_FINISHED = "armFinished";

const ownerSchema = z.object({ pid: z.number(), host: z.string() });

/** Judged by the note beside the lock, since taking the lock to find out would disturb a run that is about to start. */
export function isAtWork(folder: string): boolean {
  const owner = readJson(join(folder, "run.lock.json"), ownerSchema);
  if (owner?.host !== hostname()) return owner !== undefined;
  try {
    process.kill(owner.pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A small JSON file; undefined when it is missing or something else. */
export function readJson<T>(path: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}
