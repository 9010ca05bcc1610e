/**
 * Opens metrics.sqlite, and other databases that are kept with a run: settings of the connection, migrations, and the refusal
 * of what is not ours. Rows are the business of store.ts and queries.ts.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
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

/** What tells a database's file from others. */
export interface DatabaseKind {
  /** In `application_id`. */
  readonly applicationId: number;
  /** One SQL script per schema version, the first for an empty file. */
  readonly migrations: readonly string[];
  /** What is in it, for messages: a `name` database. */
  readonly name: string;
  /** How a file of an older version is brought up to date. */
  readonly upgrade: string;
}

const METRICS: DatabaseKind = {
  applicationId: APPLICATION_ID,
  migrations: MIGRATIONS,
  name: "metrics",
  upgrade: "Resume the run once with this release, which brings the file up to date",
};

/**
 * Opens or creates the file and brings it to the newest schema. Throws METRICS_INVALID for a file that is not SQLite,
 * not ours, newer than this program, or (read-only) older; IO_FAILED when it cannot be opened.
 */
export function openMetricsDatabase(path: string, { migrations = MIGRATIONS, ...options }: OpenOptions = {}): MetricsDatabase {
  return openRunDatabase(path, { ...METRICS, migrations }, options);
}

/** The same for a database of any kind. */
export function openRunDatabase(path: string, kind: DatabaseKind, { readonly = false }: Pick<OpenOptions, "readonly"> = {}): MetricsDatabase {
  let database: MetricsDatabase | undefined;
  try {
    database = new Database(path, { readonly, fileMustExist: readonly, timeout: BUSY_TIMEOUT_MS });
    checkSqliteVersion(database.prepare<[], string>("SELECT sqlite_version()").pluck().get() ?? "unknown");
    const version = checkOurs(database, path, kind);
    if (readonly && version < kind.migrations.length) throw olderError(path, version, kind);
    if (!readonly) prepareForWriting(database, path, kind);
    return database;
  } catch (error) {
    database?.close();
    throw describeFailure(error, path, kind);
  }
}

/**
 * Opens an existing file without changing anything beside it either: a file that nobody writes as a copy in memory, others read-only. An
 * older schema is brought up to date in memory.
 * Errors as openMetricsDatabase.
 */
export function openMetricsForReading(path: string): MetricsDatabase {
  return openRunDatabaseForReading(path, METRICS);
}

/** The same for a database of any kind. */
export function openRunDatabaseForReading(path: string, kind: DatabaseKind): MetricsDatabase {
  let database: MetricsDatabase | undefined;
  try {
    const isAtRest = !existsSync(`${path}-wal`) && (statSync(path, { throwIfNoEntry: false })?.size ?? Infinity) <= COPY_BYTES_MAX;
    database = isAtRest ? openInMemory(readFileSync(path)) : new Database(path, { readonly: true, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    if (checkOurs(database, path, kind) === kind.migrations.length) return database;
    const copy = openInMemory(database.serialize());
    database.close();
    database = copy;
    for (const script of kind.migrations.slice(checkOurs(copy, path, kind))) copy.exec(script);
    copy.pragma(`user_version = ${String(kind.migrations.length)}`);
    return copy;
  } catch (error) {
    database?.close();
    throw describeFailure(error, path, kind);
  }
}

/** Larger files are read where they lie. */
const COPY_BYTES_MAX = 256e6;
/** Bytes 18 and 19 of the header ask for a write-ahead log (2), which a database in memory cannot have; 1 is without (SQLite's file format, 1.3.3). */
const FORMAT_VERSIONS_OFFSET = 18;

/** Of a file that nobody writes, since a reader of a file with a log leaves an empty log and an index beside it. */
function openInMemory(bytes: Buffer): MetricsDatabase {
  if (bytes.length > FORMAT_VERSIONS_OFFSET + 1) bytes.set([1, 1], FORMAT_VERSIONS_OFFSET);
  return new Database(bytes);
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
function checkOurs(database: MetricsDatabase, path: string, kind: DatabaseKind): number {
  const newest = kind.migrations.length;
  const version = readPragma(database, "user_version");
  const applicationId = readPragma(database, "application_id");
  const numTables = database.prepare<[], number>("SELECT count(*) FROM sqlite_schema").pluck().get() ?? 0;
  const isEmpty = numTables === 0 && version === 0;
  if (applicationId !== kind.applicationId && !(isEmpty && applicationId === 0)) {
    throw problemError("METRICS_INVALID", {
      subject: path,
      expected: `a ${kind.name} database of fedllm-native`,
      received: `a database of another program (application_id ${String(applicationId)})`,
    });
  }
  if (version <= newest) return version;
  throw problemError("METRICS_INVALID", {
    subject: path,
    expected: `${kind.name} schema version ${String(newest)} or older`,
    received: String(version),
    remedy: "Use the release of fedllm-native that wrote it, or a newer one",
  });
}

function prepareForWriting(database: MetricsDatabase, path: string, kind: DatabaseKind): void {
  const { migrations, applicationId } = kind;
  database.pragma("journal_mode = WAL");
  // A recorded round survives a loss of power, as its checkpoint does.
  database.pragma("synchronous = FULL");
  database.pragma("foreign_keys = ON");
  const migrate = database.transaction(() => {
    // Read again inside the transaction: another process may have migrated in between.
    const version = checkOurs(database, path, kind);
    for (const script of migrations.slice(version)) database.exec(script);
    database.pragma(`application_id = ${String(applicationId)}`);
    database.pragma(`user_version = ${String(migrations.length)}`);
  });
  if (readPragma(database, "user_version") < migrations.length) migrate.immediate();
}

function readPragma(database: MetricsDatabase, name: "user_version" | "application_id"): number {
  return Number(database.pragma(name, { simple: true }));
}

function olderError(path: string, version: number, { name, migrations, upgrade }: DatabaseKind): FedllmError {
  return problemError("METRICS_INVALID", {
    subject: path,
    expected: `${name} schema version ${String(migrations.length)}`,
    received: String(version),
    remedy: upgrade,
  });
}

function describeFailure(error: unknown, path: string, { name }: DatabaseKind): unknown {
  if (error instanceof FedllmError) return error;
  if (error instanceof Database.SqliteError && ["SQLITE_NOTADB", "SQLITE_CORRUPT"].includes(error.code)) {
    const problem = {
      subject: path,
      expected: `a ${name} database`,
      received: "a file that is not SQLite, or damaged",
    };
    return problemError("METRICS_INVALID", problem, error);
  }
  const message = error instanceof Error ? error.message : String(error);
  return new FedllmError("IO_FAILED", `cannot open ${path}: ${message}`, { cause: error });
}
