/** Reads and writes analysis.sqlite: findings by the hash of a sample, and the last analysis. The tables are in schema.ts. */
import Database from "better-sqlite3";
import { FedllmError, problemError } from "../errors.js";
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION } from "./schema.js";

/** JSON text, or the bytes of a vector. */
export type Finding = string | Uint8Array;

type SqlValue = string | number | null;

/** Rows by column; all rows of a table have the same columns. */
export type Row = Readonly<Record<string, SqlValue>>;

/** The last analysis, table by table. */
export interface StoredAnalysis {
  readonly datasets: readonly Row[];
  readonly clients: readonly Row[];
  readonly samples: readonly Row[];
  readonly client_pairs: readonly Row[];
}

/** How long a statement waits for another process's short transaction. */
const BUSY_TIMEOUT_MS = 5000;

export class AnalysisStore {
  readonly #database: Database.Database;
  readonly #path: string;

  /** Opens or creates the file. Throws METRICS_INVALID for a file that is not ours or of another version, IO_FAILED when it cannot be opened. */
  constructor(path: string) {
    this.#path = path;
    this.#database = openDatabase(path);
  }

  /** The findings of one analysis by hash, of those samples that have one. */
  findings(analysis: string): Map<string, Finding> {
    return this.#guard(() => {
      const rows = this.#database.prepare<[string], [string, Finding]>("SELECT sample_sha256, value FROM findings WHERE analysis = ?").raw().all(analysis);
      return new Map(rows);
    });
  }

  /** Keeps findings, all or none; durable when it returns. */
  keep(analysis: string, found: Iterable<readonly [hash: string, value: Finding]>): void {
    this.#transaction(() => {
      const statement = this.#database.prepare("INSERT OR REPLACE INTO findings (analysis, sample_sha256, value) VALUES (?, ?, ?)");
      for (const [hash, value] of found) statement.run(analysis, hash, value);
    });
  }

  /** Replaces the last analysis; findings stay. */
  replaceAnalysis({ datasets, clients, samples, client_pairs }: StoredAnalysis): void {
    this.#transaction(() => {
      for (const table of ["client_pairs", "samples", "clients", "datasets"]) this.#database.exec(`DELETE FROM ${table}`);
      this.#insert("datasets", datasets);
      this.#insert("clients", clients);
      this.#insert("samples", samples);
      this.#insert("client_pairs", client_pairs);
    });
  }

  close(): void {
    this.#database.close();
  }

  #insert(table: string, rows: readonly Row[]): void {
    const [first] = rows;
    if (first === undefined) return;
    const names = Object.keys(first);
    const statement = this.#database.prepare(`INSERT INTO ${table} (${names.join(", ")}) VALUES (${names.map((name) => `@${name}`).join(", ")})`);
    for (const row of rows) statement.run(row);
  }

  #transaction(work: () => void): void {
    this.#guard(() => {
      this.#database.transaction(work).immediate();
    });
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof Database.SqliteError)) throw error;
      throw new FedllmError("IO_FAILED", `${this.#path}: ${error.message}`, { cause: error });
    }
  }
}

function openDatabase(path: string): Database.Database {
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: BUSY_TIMEOUT_MS });
    const applicationId = Number(database.pragma("application_id", { simple: true }));
    const version = Number(database.pragma("user_version", { simple: true }));
    const numTables = database.prepare<[], number>("SELECT count(*) FROM sqlite_schema").pluck().get() ?? 0;
    const isEmpty = numTables === 0 && version === 0 && applicationId === 0;
    if (!isEmpty) checkOurs(path, applicationId, version);
    database.pragma("journal_mode = WAL");
    database.pragma("foreign_keys = ON");
    if (isEmpty) createTables(database);
    return database;
  } catch (error) {
    database?.close();
    throw describeFailure(error, path);
  }
}

function createTables(database: Database.Database): void {
  const create = database.transaction(() => {
    if (Number(database.pragma("user_version", { simple: true })) === SCHEMA_VERSION) return;
    database.exec(SCHEMA);
    database.pragma(`application_id = ${String(APPLICATION_ID)}`);
    database.pragma(`user_version = ${String(SCHEMA_VERSION)}`);
  });
  create.immediate();
}

function checkOurs(path: string, applicationId: number, version: number): void {
  if (applicationId === APPLICATION_ID && version === SCHEMA_VERSION) return;
  const received =
    applicationId === APPLICATION_ID ? `version ${String(version)}` : `a database of another program (application_id ${String(applicationId)})`;
  throw problemError("METRICS_INVALID", {
    subject: path,
    expected: `an analysis of fedllm-native, version ${String(SCHEMA_VERSION)}`,
    received,
    remedy: "Choose another folder with --out, or remove the file: everything in it can be computed again",
  });
}

function describeFailure(error: unknown, path: string): unknown {
  if (error instanceof FedllmError) return error;
  if (error instanceof Database.SqliteError && ["SQLITE_NOTADB", "SQLITE_CORRUPT"].includes(error.code)) {
    const problem = { subject: path, expected: "an analysis of fedllm-native", received: "a file that is not SQLite, or damaged" };
    return problemError("METRICS_INVALID", problem, error);
  }
  return new FedllmError("IO_FAILED", `cannot open ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}
