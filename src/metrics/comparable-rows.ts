/** The rows of a run's measurements without what depends on the clock, so that two runs that are otherwise the same have equal ones. */
import type { MetricsDatabase } from "./database.js";
import { WALL_CLOCK_COLUMNS } from "./schema.js";

/** `runs` has the run's random id and paths, `events` its interruptions. */
const OTHER_TABLES: ReadonlySet<string> = new Set(["runs", "events"]);
const OTHER_COLUMNS: ReadonlySet<string> = new Set([...WALL_CLOCK_COLUMNS, "run_id", "id"]);

/** Rows of each table as text, sorted; numbers in full. */
export function comparableRows(database: MetricsDatabase): ReadonlyMap<string, readonly string[]> {
  const names = database.prepare<[], string>("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name").pluck().all();
  return new Map(names.filter((name) => !OTHER_TABLES.has(name)).map((name) => [name, rowsOf(database, name)]));
}

function rowsOf(database: MetricsDatabase, table: string): readonly string[] {
  const rows = database.prepare<[], Record<string, unknown>>(`SELECT * FROM "${table}"`).all();
  return rows.map((row) => JSON.stringify(Object.fromEntries(Object.entries(row).filter(([column]) => !OTHER_COLUMNS.has(column))))).sort();
}
