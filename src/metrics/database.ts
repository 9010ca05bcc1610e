/**
 * Opens metrics.sqlite: settings of the connection, migrations, and the refusal of what is not ours. Rows are the
 * business of store.ts and queries.ts.
 */
import Database from "better-sqlite3";
import { FedllmError, problemError } from "../errors.js";
import { APPLICATION_ID, MIGRATIONS } from "./schema.js";

export type MetricsDatabase = Database.Database;

/** Older releases can lose committed rows when two connections write or checkpoint a WAL at once. */
const MINIMUM_SQLITE: readonly [number, number, number] = [3, 51, 3];
/** How long a statement waits for another process's short transaction. */
const BUSY_TIMEOUT_MS = 5000;

export interface OpenOptions {
  /** A reader changes nothing, not even the schema, and needs an existing file. */
  readonly readonly?: boolean;
  /** Scripts of the schema versions; only tests give other ones. */
  readonly migrations?: readonly string[];
}

/**
 * Opens or creates the file and brings it to the newest schema. Throws METRICS_INVALID for a file that is not SQLite,
 * not ours, newer than this program, or (read-only) older; IO_FAILED when it cannot be opened.
 */
export function openMetricsDatabase(path: string, options: OpenOptions = {}): MetricsDatabase {
  const { readonly = false, migrations = MIGRATIONS } = options;
  let database: MetricsDatabase | undefined;
  try {
    database = new Database(path, { readonly, fileMustExist: readonly, timeout: BUSY_TIMEOUT_MS });
    checkSqliteVersion(database.prepare<[], string>("SELECT sqlite_version()").pluck().get() ?? "unknown");
    const version = checkOurs(database, path, migrations.length);
    if (readonly && version < migrations.length) throw olderError(path, version, migrations.length);
    if (!readonly) prepareForWriting(database, migrations, path);
    return database;
  } catch (error) {
    database?.close();
    throw describeFailure(error, path);
  }
}

/** Throws METRICS_INVALID for a release of SQLite before 3.51.3. */
export function checkSqliteVersion(version: string): void {
  const parts = version.split(".").map(Number);
  for (const [index, minimum] of MINIMUM_SQLITE.entries()) {
    const part = parts[index] ?? Number.NaN;
    if (part > minimum) return;
    // Also true for a part that is no number.
    if (!(part >= minimum)) {
      throw problemError("METRICS_INVALID", {
        subject: "SQLite in better-sqlite3",
        expected: `release ${MINIMUM_SQLITE.join(".")} or newer`,
        received: version,
        remedy: "Install a newer better-sqlite3",
      });
    }
  }
}

/** The schema version of the file, 0 for an empty one. */
function checkOurs(database: MetricsDatabase, path: string, newest: number): number {
  const version = readPragma(database, "user_version");
  const applicationId = readPragma(database, "application_id");
  const numTables = database.prepare<[], number>("SELECT count(*) FROM sqlite_schema").pluck().get() ?? 0;
  const isEmpty = numTables === 0 && version === 0;
  if (applicationId !== APPLICATION_ID && !(isEmpty && applicationId === 0)) {
    throw problemError("METRICS_INVALID", {
      subject: path,
      expected: "a metrics database of fedllm-native",
      received: `a database of another program (application_id ${String(applicationId)})`,
    });
  }
  if (version <= newest) return version;
  throw problemError("METRICS_INVALID", {
    subject: path,
    expected: `metrics schema version ${String(newest)} or older`,
    received: String(version),
    remedy: "Use the release of fedllm-native that wrote it, or a newer one",
  });
}

function prepareForWriting(database: MetricsDatabase, migrations: readonly string[], path: string): void {
  database.pragma("journal_mode = WAL");
  // A recorded round survives a loss of power, as its checkpoint does.
  database.pragma("synchronous = FULL");
  database.pragma("foreign_keys = ON");
  const migrate = database.transaction(() => {
    // Read again inside the transaction: another process may have migrated in between.
    const version = checkOurs(database, path, migrations.length);
    for (const script of migrations.slice(version)) database.exec(script);
    database.pragma(`application_id = ${String(APPLICATION_ID)}`);
    database.pragma(`user_version = ${String(migrations.length)}`);
  });
  if (readPragma(database, "user_version") < migrations.length) migrate.immediate();
}

function readPragma(database: MetricsDatabase, name: "user_version" | "application_id"): number {
  return Number(database.pragma(name, { simple: true }));
}

function olderError(path: string, version: number, newest: number): FedllmError {
  return problemError("METRICS_INVALID", {
    subject: path,
    expected: `metrics schema version ${String(newest)}`,
    received: String(version),
    remedy: "Resume the run once with this release, which brings the file up to date",
  });
}

function describeFailure(error: unknown, path: string): unknown {
  if (error instanceof FedllmError) return error;
  if (error instanceof Database.SqliteError && ["SQLITE_NOTADB", "SQLITE_CORRUPT"].includes(error.code)) {
    const problem = {
      subject: path,
      expected: "a metrics database",
      received: "a file that is not SQLite, or damaged",
    };
    return problemError("METRICS_INVALID", problem, error);
  }
  const message = error instanceof Error ? error.message : String(error);
  return new FedllmError("IO_FAILED", `cannot open ${path}: ${message}`, { cause: error });
}
