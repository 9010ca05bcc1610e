/**
 * Goal: of several processes exactly one has the folder, and none has it for ever. Real processes are started, since
 * the lock belongs to the operating system.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test, vi } from "vitest";
import { acquireRunLock } from "../../../src/util/lock-file.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

// Starting a process takes seconds on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const HOLDER = resolve(import.meta.dirname, "../../helpers/lock-holder.ts");

/** Starts a holder; `said` is its first line. */
async function startHolder(folder: string): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, ["--import", "tsx", HOLDER, folder], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const [said] = (await once(createInterface(child.stdout), "line")) as [string];
  return { child, said };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

test("a second owner in the same process is refused until the first releases", () => {
  const folder = makeTemporaryFolder();
  const lock = acquireRunLock(folder);
  expect(lock.abandonedBy).toBeUndefined();
  expect(() => acquireRunLock(folder)).toThrow(expect.objectContaining({ code: "RUN_LOCKED" }) as Error);
  lock.release();
  lock.release();
  const next = acquireRunLock(folder);
  expect(next.abandonedBy).toBeUndefined();
  next.release();
});

test("another process is named by pid and host, and its lock ends with it even on SIGKILL", async () => {
  const folder = makeTemporaryFolder();
  const { child, said } = await startHolder(folder);
  expect(said).toBe("locked fresh");
  const pid = child.pid ?? 0;
  expect(() => acquireRunLock(folder)).toThrow(new RegExp(`process ${String(pid)} on ${hostname()}`, "u"));
  await end(child, "SIGKILL");
  const lock = acquireRunLock(folder);
  expect(lock.abandonedBy).toMatchObject({ pid, host: hostname() });
  lock.release();
});

test("an owner that ends by itself leaves no trace of having been killed", async () => {
  const folder = makeTemporaryFolder();
  const { child } = await startHolder(folder);
  const ended = once(child, "exit");
  child.stdin?.write("end\n");
  await ended;
  const lock = acquireRunLock(folder);
  expect(lock.abandonedBy).toBeUndefined();
  lock.release();
});

test("of processes that race for the folder of a killed one, exactly one gets it", async () => {
  const folder = makeTemporaryFolder();
  const { child } = await startHolder(folder);
  await end(child, "SIGKILL");
  const racers = await Promise.all([startHolder(folder), startHolder(folder), startHolder(folder)]);
  const said = racers.map((racer) => racer.said).sort();
  expect(said).toEqual([`locked ${String(child.pid)}`, "refused RUN_LOCKED", "refused RUN_LOCKED"]);
});

test("a note with the pid of a living process is no lock by itself", () => {
  // The trap: pids are used again, so a lock that trusts the note would be stuck for ever.
  const folder = makeTemporaryFolder();
  writeFileSync(join(folder, "run.lock.json"), JSON.stringify({ pid: process.ppid, host: "h", lockedAt: "t" }));
  const lock = acquireRunLock(folder);
  expect(lock.abandonedBy?.pid).toBe(process.ppid);
  lock.release();
  expect(existsSync(join(folder, "run.lock.json"))).toBe(false);
});

test("a folder that does not exist is an IO_FAILED", () => {
  const folder = join(makeTemporaryFolder(), "absent");
  expect(() => acquireRunLock(folder)).toThrow(expect.objectContaining({ code: "IO_FAILED" }) as Error);
});
