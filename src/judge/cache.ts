/**
 * Replies of judges by the SHA-256 of what was asked, so that nothing is paid for twice: one SQLite file, which several programs may
 * use at once. It holds replies and counts; what was asked is there as a hash alone.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { FedllmError, problemError } from "../errors.js";
import type { Answer } from "./answerer.js";

/** Marks a file as ours in `application_id`: the letters FDLJ. */
const APPLICATION_ID = 0x46444c4a;
const SCHEMA_VERSION = 1;
const BUSY_TIMEOUT_MS = 5000;

const SCHEMA = `
  CREATE TABLE replies (
    request_sha256 TEXT NOT NULL PRIMARY KEY,   -- of the request, the model and its address or file
    model TEXT NOT NULL,
    reply TEXT NOT NULL,
    prompt_tokens INTEGER,                      -- NULL: the endpoint did not say
    completion_tokens INTEGER,
    created_at TEXT NOT NULL                    -- ISO 8601, wall clock
  ) STRICT, WITHOUT ROWID;
`;

interface ReplyRow {
  readonly reply: string;
  readonly prompt_tokens: number | null;
  readonly completion_tokens: number | null;
}

export class ReplyCache {
  readonly #database: Database.Database;
  readonly #find: Database.Statement<[string], ReplyRow>;
  readonly #insert: Database.Statement<[string, string, string, number | null, number | null, string]>;

  /** Opens or makes the file. Throws METRICS_INVALID for a file of another kind, IO_FAILED when it cannot be opened. */
  constructor(path: string) {
    this.#database = openDatabase(path);
    this.#find = this.#database.prepare("SELECT reply, prompt_tokens, completion_tokens FROM replies WHERE request_sha256 = ?");
    this.#insert = this.#database.prepare("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)");
  }

  find(requestSha256: string): Answer | undefined {
    const row = this.#find.get(requestSha256);
    if (row === undefined) return undefined;
    const { reply, prompt_tokens: numPromptTokens, completion_tokens: numCompletionTokens } = row;
    const usage = numPromptTokens === null || numCompletionTokens === null ? {} : { usage: { numPromptTokens, numCompletionTokens } };
    return { text: reply, ...usage };
  }

  /** Keeps a reply; the first one of a request stays. */
  add(requestSha256: string, model: string, { text, usage }: Answer): void {
    this.#insert.run(requestSha256, model, text, usage?.numPromptTokens ?? null, usage?.numCompletionTokens ?? null, new Date().toISOString());
  }

  close(): void {
    this.#database.close();
  }
}

function openDatabase(path: string): Database.Database {
  let database: Database.Database | undefined;
  try {
    if (path !== ":memory:") mkdirSync(dirname(path), { recursive: true });
    database = new Database(path, { timeout: BUSY_TIMEOUT_MS });
    prepare(database, path);
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof FedllmError) throw error;
    if (error instanceof Database.SqliteError && ["SQLITE_NOTADB", "SQLITE_CORRUPT"].includes(error.code)) throw notOurs(path, "a file that is not SQLite, or damaged");
    throw new FedllmError("IO_FAILED", `cannot open ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function prepare(database: Database.Database, path: string): void {
  const version = Number(database.pragma("user_version", { simple: true }));
  const applicationId = Number(database.pragma("application_id", { simple: true }));
  if (applicationId === APPLICATION_ID && version === SCHEMA_VERSION) return;
  refuseOthers(database, path);
  database.pragma("journal_mode = WAL");
  const make = database.transaction(() => {
    // Read again inside the transaction: another process may have made the table in between.
    if (Number(database.pragma("application_id", { simple: true })) === APPLICATION_ID) return;
    refuseOthers(database, path);
    database.exec(SCHEMA);
    database.pragma(`application_id = ${String(APPLICATION_ID)}`);
    database.pragma(`user_version = ${String(SCHEMA_VERSION)}`);
  });
  make.immediate();
  const made = Number(database.pragma("user_version", { simple: true }));
  if (made !== SCHEMA_VERSION) throw notOurs(path, `version ${String(made)} of it`);
}

/** A file with tables that nobody marked as ours belongs to somebody else. */
function refuseOthers(database: Database.Database, path: string): void {
  if (Number(database.pragma("application_id", { simple: true })) === APPLICATION_ID) return;
  const numTables = database.prepare<[], number>("SELECT count(*) FROM sqlite_schema").pluck().get() ?? 0;
  if (numTables > 0) throw notOurs(path, "a database of another program");
}

function notOurs(path: string, received: string): FedllmError {
  const remedy = "Name another file; it holds nothing that cannot be asked for again";
  return problemError("METRICS_INVALID", { subject: path, expected: `a cache of judges' replies, version ${String(SCHEMA_VERSION)}`, received, remedy });
}
