/** Whether a run that was trained again from its record came out the same: the bytes of all adapters, and all measurements but those of the clock. */
import { existsSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import type { ExperimentConfig } from "../config/schema.js";
import { openMetricsForReading } from "../metrics/database.js";
import { comparableRows } from "../metrics/comparable-rows.js";
import { hashFile } from "./file-hash.js";
import type { RunPaths } from "./run-folder.js";
import type { RunRecord } from "./run-record.js";

export interface Reproduction {
  readonly isSame: boolean;
  /** Below the folder `adapters`. */
  readonly numAdapters: number;
  /** Adapters with other bytes, or that only one of the runs has, those of earlier rounds aside. */
  readonly differentAdapters: readonly string[];
  readonly tables: readonly ComparedTable[];
  /** What differs around the runs, which may explain the rest. */
  readonly surroundings: readonly string[];
}

export interface ComparedTable {
  readonly table: string;
  readonly numRows: number;
  /** Rows that the other run does not have, counted on the side that has more of them. */
  readonly numDifferent: number;
  /** The first such row of each run, for a look. */
  readonly example?: { readonly before?: string; readonly after?: string };
}

/** Compares two finished runs. Throws as openMetricsForReading and hashFile. */
export async function compareReproduction(before: RunPaths, after: RunPaths, records: { readonly before: RunRecord; readonly after: RunRecord }): Promise<Reproduction> {
  const [old, now] = [await hashAdapters(before), await hashAdapters(after)];
  // Adapters of earlier rounds may have been made of checkpoints long after the run, when somebody asked for them.
  const isExtra = (name: string) => /[/\\]rounds[/\\]/u.test(name) && (!old.has(name) || !now.has(name));
  const names = [...new Set([...old.keys(), ...now.keys()])].filter((name) => !isExtra(name)).sort();
  const differentAdapters = names.filter((name) => old.get(name) !== now.get(name));
  const tables = compareTables(rowsOf(before), rowsOf(after));
  return {
    isSame: differentAdapters.length === 0 && tables.every(({ numDifferent }) => numDifferent === 0),
    numAdapters: names.length,
    differentAdapters,
    tables,
    surroundings: compareSurroundings(records.before, records.after),
  };
}

/** Why a run of this configuration cannot repeat, one sentence each; empty for one that must. */
export function reasonsToDiffer({ arms }: ExperimentConfig): readonly string[] {
  const isSecret = arms.some(({ privacy }) => privacy?.dp === "user" && privacy.insecureSeed === undefined);
  const isTimed = arms.some(({ federation }) => federation.wallClockTimeoutSeconds !== undefined);
  return [
    ...(isSecret ? ["Cohorts and noise of differential privacy are drawn from a secret that nobody keeps, so no two runs are the same."] : []),
    ...(isTimed ? ["federation.wallClockTimeoutSeconds stops clients by the real clock, which no two runs share."] : []),
  ];
}

async function hashAdapters({ folder }: RunPaths): Promise<ReadonlyMap<string, string>> {
  const root = join(folder, "adapters");
  if (!existsSync(root)) return new Map();
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && !entry.name.startsWith("."));
  const hashes = new Map<string, string>();
  for (const { parentPath, name } of files) {
    const path = join(parentPath, name);
    hashes.set(relative(root, path), await hashFile(path));
  }
  return hashes;
}

function rowsOf({ metrics }: RunPaths): ReadonlyMap<string, readonly string[]> {
  const database = openMetricsForReading(metrics);
  try {
    return comparableRows(database);
  } finally {
    database.close();
  }
}

function compareTables(before: ReadonlyMap<string, readonly string[]>, after: ReadonlyMap<string, readonly string[]>): readonly ComparedTable[] {
  return [...new Set([...before.keys(), ...after.keys()])].sort().map((table) => {
    const [old = [], now = []] = [before.get(table), after.get(table)];
    const [lost, added] = [without(old, now), without(now, old)];
    const numDifferent = Math.max(lost.length, added.length);
    const example = { ...(lost[0] === undefined ? {} : { before: lost[0] }), ...(added[0] === undefined ? {} : { after: added[0] }) };
    return { table, numRows: Math.max(old.length, now.length), numDifferent, ...(numDifferent === 0 ? {} : { example }) };
  });
}

/** Rows that the others do not have; equal rows count each. */
function without(rows: readonly string[], others: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const row of others) counts.set(row, (counts.get(row) ?? 0) + 1);
  return rows.filter((row) => {
    const left = counts.get(row) ?? 0;
    if (left > 0) counts.set(row, left - 1);
    return left === 0;
  });
}

function compareSurroundings(before: RunRecord, after: RunRecord): readonly string[] {
  const facts = ({ versions: { addon: _, ...versions }, machine: { memoryBytes: __, ...machine } }: RunRecord) => Object.entries({ ...versions, ...machine });
  const old = new Map<string, unknown>(facts(before));
  return facts(after).flatMap(([name, value]) => (old.get(name) === value ? [] : [`${name}: ${String(old.get(name))} before, ${String(value)} now`]));
}
