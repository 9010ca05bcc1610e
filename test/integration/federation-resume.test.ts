/**
 * Goal: a run that is killed again and again ends as one that was left alone. Method: real processes on the quadratic
 * trainer with real lock, checkpoints and metrics are killed by SIGKILL at ten moments spread over the run; then the
 * final adapters and all rows, columns of time and machine aside, are compared with those of an undisturbed process.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { WALL_CLOCK_COLUMNS } from "../../src/metrics/schema.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const PROGRAM = resolve(import.meta.dirname, "../helpers/federation-program.ts");
const NUM_KILLS = 10;
/**
 * The slowed run takes 80 rounds of 2 x 3 steps of 5 ms, so 2.4 s at least (asynchronous: 160 of 3 steps); ten kills leave it
 * 1.4 s at most.
 */
const STEP_DELAY_MS = 5;
const KILL_AFTER_MS_MAX = 140;

/** Starts the program; with `killAfterMs` it is killed so long after its training began. Returns whether it finished. */
async function runProgram(strategy: string, folder: string, killAfterMs?: number): Promise<boolean> {
  const delay = killAfterMs === undefined ? "0" : String(STEP_DELAY_MS);
  const child = spawn(process.execPath, ["--import", "tsx", PROGRAM, strategy, folder, delay], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  createInterface(child.stdout).once("line", () => {
    if (killAfterMs !== undefined) setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  });
  const [code, signal] = await ended;
  if (signal === null) expect(code).toBe(0);
  return signal === null;
}

/** All rows of all tables without the columns that depend on the clock or on the machine. */
function readRows(folder: string): unknown {
  const database = openMetricsDatabase(join(folder, "metrics.sqlite"), { readonly: true });
  const tables = ["runs", "arms", "rounds", "client_rounds", "evaluations", "events"];
  const rows = tables.map((table) => {
    const columns = database.prepare<[string], string>("SELECT name FROM pragma_table_info(?)").pluck().all(table);
    const kept = columns.filter((column) => !WALL_CLOCK_COLUMNS.includes(column)).join(", ");
    return [table, database.prepare(`SELECT ${kept} FROM ${table} ORDER BY ${kept}`).all()];
  });
  database.close();
  return Object.fromEntries(rows) as unknown;
}

const readAdapters = (folder: string): string => readFileSync(join(folder, "adapters.json"), "utf8");

test.each(["fedavg", "local", "scaffold", "fedasync"])("a %s run killed ten times equals one that was left alone", async (strategy) => {
  const folder = makeTemporaryFolder();
  const [undisturbed, killed] = [join(folder, "undisturbed"), join(folder, "killed")];
  for (const path of [undisturbed, killed]) mkdirSync(path);
  expect(await runProgram(strategy, undisturbed)).toBe(true);

  const moments = Array.from({ length: NUM_KILLS }, () => Math.random() * KILL_AFTER_MS_MAX);
  for (const moment of moments)
    expect(await runProgram(strategy, killed, moment), `moments ${moments.join()}`).toBe(false);
  expect(existsSync(join(killed, "adapters.json"))).toBe(false);
  expect(await runProgram(strategy, killed)).toBe(true);

  expect(readAdapters(killed), `moments ${moments.join()}`).toBe(readAdapters(undisturbed));
  expect(readRows(killed), `moments ${moments.join()}`).toEqual(readRows(undisturbed));
});
