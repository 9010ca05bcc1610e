/**
 * The ledger of a run, privacy.sqlite: the secret of each arm and every release, written and flushed before the release is made. A
 * release that is in it was perhaps seen, one that is not was never made; so after a crash nothing is given out that was not
 * charged. The tables are in ledger-schema.ts.
 */
import { chmodSync, closeSync, existsSync, openSync } from "node:fs";
import Database from "better-sqlite3";
import { FedllmError, problemError } from "../errors.js";
import { epsilonSpent, isWithinBudget, type PrivacyBudget, type Release } from "./budget.js";
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION } from "./ledger-schema.js";
import type { ReleaseSink } from "./user-level.js";

/** How long a statement waits for another process's short transaction. */
const BUSY_TIMEOUT_MS = 5000;

/** What is kept of an arm beside its releases. */
export interface LedgerArm {
  readonly name: string;
  readonly fingerprint: string;
  readonly isInsecure: boolean;
  /** JSON text. */
  readonly claim: string;
}

/** One row of the ledger. */
export interface LedgerRelease extends Release {
  readonly attempt: number;
  readonly clipNorm: number;
  /** ISO 8601, wall clock. */
  readonly chargedAt: string;
}

export class PrivacyLedger {
  readonly #database: Database.Database;
  readonly #path: string;

  /**
   * Opens the file, and creates it unless it is only read; nobody else may read it. Throws METRICS_INVALID for a file that is not a
   * ledger of this version, IO_FAILED when it cannot be opened.
   */
  constructor(path: string, { readonly = false }: { readonly readonly?: boolean } = {}) {
    this.#path = path;
    this.#database = openDatabase(path, readonly);
  }

  /** The arm's secret: the one it has, or `newSecret` for a new arm. Throws PRIVACY_SPENT for one that was finished or is another now. */
  beginArm(arm: LedgerArm, newSecret: () => Uint8Array): Uint8Array {
    return this.#guard(() =>
      this.#database.transaction(() => {
        const known = this.#database.prepare<[string], { fingerprint: string; secret: Uint8Array | null }>("SELECT fingerprint, secret FROM arms WHERE name = ?").get(arm.name);
        if (known === undefined) {
          const secret = newSecret();
          const values = [arm.name, arm.fingerprint, secret, arm.isInsecure ? 1 : 0, arm.claim];
          this.#database.prepare("INSERT INTO arms (name, fingerprint, secret, is_insecure, claim) VALUES (?, ?, ?, ?, ?)").run(values);
          return secret;
        }
        if (known.fingerprint === arm.fingerprint && known.secret !== null) return known.secret;
        throw problemError("PRIVACY_SPENT", {
          subject: `${this.#path}: arm ${arm.name}`,
          expected: "the arm as it was begun, to go on with it",
          received: known.secret === null ? "one that was finished" : "other settings or data, whose releases would add to those that were made",
          remedy: "Start a new run; what both cost adds up",
        });
      }).immediate(),
    );
  }

  /** Forgets an arm's secret, with which noise could be taken away again. */
  finishArm(name: string): void {
    this.#guard(() => {
      this.#database.prepare("UPDATE arms SET secret = NULL WHERE name = ?").run(name);
      // Out of the log of writes too, where old pages stay until it is written back.
      this.#database.pragma("wal_checkpoint(TRUNCATE)");
    });
  }

  arms(): readonly (LedgerArm & { readonly isFinished: boolean })[] {
    const rows = this.#guard(() =>
      this.#database
        .prepare<[], Omit<LedgerArm, "isInsecure"> & { isInsecure: number; isFinished: number }>(
          "SELECT name, fingerprint, is_insecure AS isInsecure, claim, secret IS NULL AS isFinished FROM arms ORDER BY rowid",
        )
        .all(),
    );
    return rows.map((row) => ({ ...row, isInsecure: row.isInsecure === 1, isFinished: row.isFinished === 1 }));
  }

  /** All releases of an arm, in the order of rounds. */
  releases(arm: string): readonly LedgerRelease[] {
    return this.#guard(() =>
      this.#database
        .prepare<[string], LedgerRelease>(
          `SELECT round, attempt, sampling, sample_rate AS sampleRate, noise_multiplier AS noiseMultiplier, clip_norm AS clipNorm,
                  charged_at AS chargedAt FROM releases WHERE arm = ? ORDER BY round, attempt`,
        )
        .all(arm),
    );
  }

  /** Where one arm's releases are charged. */
  sinkOf(arm: string, budget: PrivacyBudget, now: () => Date): ReleaseSink {
    return {
      isAffordable: (release) => {
        const releases = this.releases(arm);
        return releases.some(({ round }) => round === release.round) || isWithinBudget([...releases, release], budget);
      },
      charge: (release, digest, clipNorm) => {
        this.#guard(() => {
          this.#database.transaction(() => {
            this.#chargeInside(arm, budget, { ...release, digest, clipNorm, chargedAt: now().toISOString() });
          }).immediate();
        });
      },
      epsilonSpent: () => epsilonSpent(this.releases(arm), budget),
    };
  }

  #chargeInside(arm: string, budget: PrivacyBudget, release: Omit<LedgerRelease, "attempt"> & { readonly digest: string }): void {
    const { round, digest, sampling, sampleRate, noiseMultiplier, clipNorm, chargedAt } = release;
    const same = this.#database.prepare("SELECT 1 FROM releases WHERE arm = ? AND round = ? AND digest = ?").get(arm, round, digest);
    if (same !== undefined) return;
    const releases = this.releases(arm);
    if (!isWithinBudget([...releases, release], budget)) {
      throw problemError("PRIVACY_SPENT", {
        subject: `round ${String(round)} of arm ${arm}`,
        expected: `releases that cost at most epsilon ${String(budget.epsilon)} for delta ${String(budget.delta)}`,
        received: `one more after ${String(releases.length)}, which would cost ${epsilonSpent([...releases, release], budget).toPrecision(6)} in all`,
      });
    }
    const attempt = 1 + releases.filter((other) => other.round === round).length;
    this.#database
      .prepare(
        `INSERT INTO releases (arm, round, attempt, digest, sampling, sample_rate, noise_multiplier, clip_norm, charged_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(arm, round, attempt, digest, sampling, sampleRate, noiseMultiplier, clipNorm, chargedAt);
  }

  close(): void {
    this.#database.close();
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof FedllmError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new FedllmError("IO_FAILED", `${this.#path}: ${message}`, { cause: error });
    }
  }
}

function openDatabase(path: string, readonly: boolean): Database.Database {
  let database: Database.Database | undefined;
  try {
    // Made before SQLite opens it, with the mode that its other files take over.
    if (!readonly && !existsSync(path)) closeSync(openSync(path, "wx", 0o600));
    database = new Database(path, { readonly, fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    const [version, application] = ["user_version", "application_id"].map((name) => Number(database?.pragma(name, { simple: true })));
    const isNew = version === 0 && application === 0 && database.prepare<[], number>("SELECT count(*) FROM sqlite_schema").pluck().get() === 0;
    if (!isNew && (application !== APPLICATION_ID || version !== SCHEMA_VERSION)) {
      throw problemError("METRICS_INVALID", {
        subject: path,
        expected: `a privacy ledger of version ${String(SCHEMA_VERSION)}`,
        received: application === APPLICATION_ID ? `version ${String(version)}` : "a database of another program",
      });
    }
    if (readonly) return database;
    chmodSync(path, 0o600);
    database.pragma("journal_mode = WAL");
    database.pragma("synchronous = FULL");
    database.pragma("foreign_keys = ON");
    // What is deleted or replaced is overwritten.
    database.pragma("secure_delete = ON");
    if (isNew) createTables(database);
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof FedllmError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new FedllmError("IO_FAILED", `cannot open ${path}: ${message}`, { cause: error });
  }
}

function createTables(database: Database.Database): void {
  database.transaction(() => {
    database.exec(SCHEMA);
    database.pragma(`application_id = ${String(APPLICATION_ID)}`);
    database.pragma(`user_version = ${String(SCHEMA_VERSION)}`);
  })();
}
