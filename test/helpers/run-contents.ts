/** Everything of a finished run that must not depend on when or how often its process ran. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { WALL_CLOCK_COLUMNS } from "../../src/metrics/schema.js";

/** Tables with measurements; `runs` holds the run's random id and paths instead. */
const TABLES = ["arms", "rounds", "client_rounds", "evaluations", "group_evaluations", "transfer_evaluations", "events"] as const;
const IGNORED_COLUMNS = new Set([...WALL_CLOCK_COLUMNS, "run_id", "id"]);

export interface RunContents {
  /** Rows per table as text, in a fixed order. */
  readonly rows: Readonly<Record<string, readonly string[]>>;
  /** SHA-256 by path below adapters/. */
  readonly adapters: Readonly<Record<string, string>>;
}

export function readRunContents(folder: string): RunContents {
  const database = new Database(join(folder, "metrics.sqlite"), { readonly: true });
  try {
    const rows = TABLES.map((table) => [table, readRows(database, table)] as const);
    return { rows: Object.fromEntries(rows), adapters: hashFiles(join(folder, "adapters")) };
  } finally {
    database.close();
  }
}

function readRows(database: Database.Database, table: string): string[] {
  const rows = database.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[];
  return rows
    .map((row) => JSON.stringify(Object.entries(row).filter(([column]) => !IGNORED_COLUMNS.has(column))))
    .sort();
}

function hashFiles(folder: string): Record<string, string> {
  if (!existsSync(folder)) return {};
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length + 1), createHash("sha256").update(readFileSync(path)).digest("hex")];
    }),
  );
}
