/**
 * One process at a time in a run's folder. The lock is the operating system's own (taken through SQLite's exclusive
 * lock on the empty file `run.lock`), so the kernel frees it when the owner ends in any way, SIGKILL included, and two
 * processes can never both take over. A pid file alone cannot promise that: pids are reused and differ by container.
 * The small file beside it only says who the owner is; it is never what decides.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { FedllmError, problemError } from "../errors.js";

/** The empty file in a run's folder that is locked. */
export const RUN_LOCK_NAME = "run.lock";
const OWNER_NAME = "run.lock.json";

/** Who holds or held a lock. */
export interface LockOwner {
  readonly pid: number;
  readonly host: string;
  /** ISO 8601, wall clock; for people only. */
  readonly lockedAt: string;
}

/** A held lock. */
export interface RunLock {
  readonly owner: LockOwner;
  /** The owner before, if it ended without releasing (a killed process); the caller may say so. */
  readonly abandonedBy?: LockOwner;
  /** Frees the lock; safe to call twice. */
  release(): void;
}

/** Takes the lock of an existing folder at once or throws RUN_LOCKED, naming pid and host of the owner. */
export function acquireRunLock(folder: string): RunLock {
  const database = openLocked(folder);
  const ownerPath = join(folder, OWNER_NAME);
  const abandonedBy = readOwner(ownerPath);
  const owner: LockOwner = { pid: process.pid, host: hostname(), lockedAt: new Date().toISOString() };
  let released = false;
  const release = (): void => {
    if (released) return;
    released = true;
    process.removeListener("exit", release);
    // The note goes first: afterwards the folder may belong to somebody else.
    rmSync(ownerPath, { force: true });
    database.close();
  };
  try {
    writeFileSync(ownerPath, JSON.stringify(owner));
  } catch (error) {
    database.close();
    throw new FedllmError("IO_FAILED", `cannot write ${ownerPath}`, { cause: error });
  }
  process.once("exit", release);
  return abandonedBy === undefined ? { owner, release } : { owner, abandonedBy, release };
}

function openLocked(folder: string): Database.Database {
  const path = join(folder, RUN_LOCK_NAME);
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0 });
    // Nothing is ever written under this transaction, so a killed owner leaves no journal behind.
    database.exec("BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof Database.SqliteError && error.code.startsWith("SQLITE_BUSY")) throw lockedError(folder, error);
    throw new FedllmError("IO_FAILED", `cannot lock ${path}`, { cause: error });
  }
}

function lockedError(folder: string, cause: unknown): FedllmError {
  const owner = readOwner(join(folder, OWNER_NAME));
  // The owner writes its note just after it got the lock, so for a moment there may be none.
  const who =
    owner === undefined
      ? "another process (it has not written its name yet)"
      : `process ${String(owner.pid)} on ${owner.host} since ${owner.lockedAt}`;
  return problemError(
    "RUN_LOCKED",
    {
      subject: `run folder ${folder}`,
      expected: "no other process at work in it",
      received: who,
      remedy: "Wait until that process ends, or stop it, or choose another folder with --out",
    },
    cause,
  );
}

/** The note of the current or former owner; undefined when there is none or it is unreadable. */
function readOwner(path: string): LockOwner | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value !== "object" || value === null) return undefined;
    if (!("pid" in value) || !("host" in value) || !("lockedAt" in value)) return undefined;
    const { pid, host, lockedAt } = value;
    if (typeof pid !== "number" || typeof host !== "string" || typeof lockedAt !== "string") return undefined;
    return { pid, host, lockedAt };
  } catch {
    return undefined;
  }
}
