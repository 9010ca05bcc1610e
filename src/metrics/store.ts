/**
 * Writes metrics.sqlite: one run, its arms, and per round one transaction with everything that belongs to the round.
 * Opening, settings and migrations are in database.ts, reading is in queries.ts.
 */
import Database from "better-sqlite3";
import { FedllmError } from "../errors.js";
import { openMetricsDatabase, type MetricsDatabase } from "./database.js";
import type { PredictionLine } from "./study-queries.js";
import type { ArmRow, ClientRoundRow, EvaluationRow, EventRow, RoundMeasureRow, RoundRow, RunRow } from "./rows.js";

type SqlValue = string | number | null;
/** Column name to value; the order of the columns is that of the keys. */
type Columns = Readonly<Record<string, SqlValue>>;

/** The one writer of a run's metrics. Every function is durable when it returns and throws IO_FAILED otherwise. */
export class MetricsStore {
  /** For the functions of queries.ts. */
  readonly database: MetricsDatabase;

  /** Opens or creates the file; errors as openMetricsDatabase. */
  constructor(path: string) {
    this.database = openMetricsDatabase(path);
  }

  /** Writes the run, or its newer description when it is there already (a resumed run has the same id). */
  saveRun(run: RunRow): void {
    const columns: Columns = {
      id: run.id,
      created_at: run.createdAt,
      seed: run.seed,
      config_json: JSON.stringify(run.config),
      versions_json: JSON.stringify(run.versions),
      data_sha256: run.dataSha256 ?? null,
    };
    // created_at stays that of the first start.
    this.#upsert("runs", columns, ["id"], ["created_at"]);
  }

  /** Writes an arm of the run, or its newer description; its rounds stay. */
  saveArm(runId: string, arm: ArmRow): void {
    const columns: Columns = {
      name: arm.name,
      run_id: runId,
      arm_index: arm.armIndex,
      strategy: arm.strategy ?? null,
      model_name: arm.modelName,
      model_sha256: arm.modelSha256,
      model_weight_bytes: arm.modelWeightBytes,
      num_parameters: arm.numParameters ?? null,
    };
    this.#upsert("arms", columns, ["name"], []);
  }

  /** All rows of a round or none. A round that is there already is an error: it must be removed first. */
  recordRound(arm: string, row: RoundRow): void {
    this.#transaction(() => {
      this.#insert("rounds", roundColumns(arm, row));
      for (const client of row.clients) this.#insert("client_rounds", clientColumns(arm, row.round, client));
      this.#insertEvaluations(arm, row.round, row.evaluations);
      for (const measure of row.measures) this.#insert("round_measures", measureColumns(arm, row.round, measure));
      for (const event of row.events) {
        this.#insert("events", eventColumns({ ...event, arm, round: row.round, createdAt: row.startedAt }));
      }
    });
  }

  /** Adds measurements to a recorded round, for example of a metric that is computed after the run. */
  recordEvaluations(arm: string, round: number, rows: readonly EvaluationRow[]): void {
    this.#transaction(() => {
      this.#insertEvaluations(arm, round, rows);
    });
  }

  /** What the run was predicted to cost, in the place of an earlier prediction. */
  savePredictions(rows: readonly PredictionLine[]): void {
    this.#transaction(() => {
      this.database.prepare("DELETE FROM predictions").run();
      for (const { arm, quantity, value, low, high } of rows) this.#insert("predictions", { arm, quantity, value, low, high });
    });
  }

  /** What an arm's adapter is worth on a base model of another precision: all metrics or none. */
  recordTransfer(arm: string, precision: string, round: number, metrics: Readonly<Record<string, number>>): void {
    this.#transaction(() => {
      for (const [metric, value] of Object.entries(metrics)) {
        this.#insert("transfer_evaluations", { arm, precision, round, metric, value: Number.isFinite(value) ? value : null });
      }
    });
  }

  /** Adds an event that belongs to no recorded round. */
  recordEvent(event: EventRow): void {
    this.#transaction(() => {
      this.#insert("events", eventColumns(event));
    });
  }

  /**
   * Removes an arm's rounds later than this one with all their rows, or all rounds when none is named. Events of the
   * run itself, without a round, stay.
   */
  deleteAfterRound(arm: string, round: number | undefined): void {
    this.#transaction(() => {
      for (const table of ["events", "rounds"]) {
        if (round === undefined) {
          this.database.prepare(`DELETE FROM ${table} WHERE arm = ? AND round IS NOT NULL`).run(arm);
        } else {
          this.database.prepare(`DELETE FROM ${table} WHERE arm = ? AND round > ?`).run(arm, round);
        }
      }
    });
  }

  /** Closes the file; safe to call twice. */
  close(): void {
    this.database.close();
  }

  #insertEvaluations(arm: string, round: number, rows: readonly EvaluationRow[]): void {
    for (const row of rows) {
      if (row.group === undefined) this.#insert("evaluations", evaluationColumns(arm, round, row));
      else this.#insert("group_evaluations", groupEvaluationColumns(arm, round, row.group, row));
    }
  }

  #transaction(work: () => void): void {
    try {
      this.database.transaction(work).immediate();
    } catch (error) {
      if (!(error instanceof Database.SqliteError)) throw error;
      const text = `cannot write ${this.database.name}: ${error.message} (${error.code})`;
      throw new FedllmError("IO_FAILED", text, { cause: error });
    }
  }

  /** Table and column names are constants of this file. */
  #insert(table: string, columns: Columns): void {
    this.database.prepare(insertSql(table, columns)).run(...Object.values(columns));
  }

  #upsert(table: string, columns: Columns, keys: readonly string[], kept: readonly string[]): void {
    const updates = Object.keys(columns)
      .filter((name) => !keys.includes(name) && !kept.includes(name))
      .map((name) => `${name} = excluded.${name}`);
    const sql = `${insertSql(table, columns)} ON CONFLICT (${keys.join(", ")}) DO UPDATE SET ${updates.join(", ")}`;
    this.#transaction(() => {
      this.database.prepare(sql).run(...Object.values(columns));
    });
  }
}

function insertSql(table: string, columns: Columns): string {
  const names = Object.keys(columns);
  return `INSERT INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`;
}

function roundColumns(arm: string, row: RoundRow): Columns {
  return {
    arm,
    round: row.round,
    started_at: row.startedAt,
    duration_ms: row.durationMs,
    evaluation_duration_ms: row.evaluationDurationMs ?? null,
    simulated_duration_ms: row.simulatedDurationMs ?? null,
    cpu_energy_joules: row.energy?.cpuJoules ?? null,
    gpu_energy_joules: row.energy?.gpuJoules ?? null,
    energy_source: row.energy?.source ?? null,
    cohort_size: row.cohortSize,
    num_succeeded: row.numSucceeded,
    num_failed: row.numFailed,
    num_rejected: row.numRejected,
    train_loss: row.trainLoss ?? null,
    reward_margin: row.preference?.rewardMargin ?? null,
    reward_accuracy: row.preference?.rewardAccuracy ?? null,
    global_update_norm: row.globalUpdateNorm ?? null,
    upload_bytes: row.uploadBytes,
    download_bytes: row.downloadBytes,
  };
}

function clientColumns(arm: string, round: number, row: ClientRoundRow): Columns {
  return {
    arm,
    round,
    client_id: row.clientId,
    num_examples: row.numExamples,
    num_samples: row.numSamples ?? null,
    num_tokens: row.numTokens ?? null,
    num_supervised_tokens: row.numSupervisedTokens ?? null,
    num_steps: row.numSteps ?? null,
    train_loss: row.trainLoss ?? null,
    first_train_loss: row.firstTrainLoss ?? null,
    last_train_loss: row.lastTrainLoss ?? null,
    reward_margin: row.preference?.rewardMargin ?? null,
    reward_accuracy: row.preference?.rewardAccuracy ?? null,
    chosen_reward: row.preference?.chosenReward ?? null,
    rejected_reward: row.preference?.rejectedReward ?? null,
    chosen_log_probability: row.preference?.chosenLogProbability ?? null,
    rejected_log_probability: row.preference?.rejectedLogProbability ?? null,
    learning_rate: row.learningRate,
    train_duration_ms: row.trainDurationMs ?? null,
    tokens_per_second: row.tokensPerSecond ?? null,
    update_norm: row.updateNorm ?? null,
    upload_bytes: row.uploadBytes,
    download_bytes: row.downloadBytes,
    peak_memory_bytes: row.peakMemoryBytes ?? null,
    planned_peak_bytes: row.memory?.plannedPeakBytes ?? null,
    planned_device_bytes: row.memory?.plannedDeviceBytes ?? null,
    device_bytes: row.memory?.deviceBytes ?? null,
    micro_batch_tokens: row.memory?.microBatchTokens ?? null,
    recomputes: flag(row.memory?.recomputes),
    streams: flag(row.memory?.streams),
    fell_back: flag(row.memory?.fellBack),
    device: row.device ?? null,
    simulated_duration_ms: row.simulatedDurationMs ?? null,
    precision: row.precision ?? null,
    client_group: row.group ?? null,
    staleness: row.staleness ?? null,
    robust_share: row.verdict?.share ?? null,
    robust_score: row.verdict?.score ?? null,
    num_attempts: row.numAttempts ?? null,
    failure_code: row.failureCode ?? null,
    failure_message: row.failureMessage ?? null,
  };
}

/** SQLite has no truth values. */
function flag(value: boolean | undefined): number | null {
  return value === undefined ? null : Number(value);
}

function evaluationColumns(arm: string, round: number, row: EvaluationRow): Columns {
  return {
    arm,
    round,
    client_id: row.clientId ?? null,
    metric: row.metric,
    value: Number.isFinite(row.value) ? row.value : null,
  };
}

function groupEvaluationColumns(arm: string, round: number, group: string, row: EvaluationRow): Columns {
  return { arm, round, client_group: group, metric: row.metric, value: Number.isFinite(row.value) ? row.value : null };
}

function measureColumns(arm: string, round: number, row: RoundMeasureRow): Columns {
  return { arm, round, layer: row.layer ?? null, measure: row.measure, value: Number.isFinite(row.value) ? row.value : null };
}

function eventColumns(row: EventRow): Columns {
  return {
    created_at: row.createdAt,
    arm: row.arm ?? null,
    round: row.round ?? null,
    client_id: row.clientId ?? null,
    kind: row.kind,
    message: row.message,
  };
}
