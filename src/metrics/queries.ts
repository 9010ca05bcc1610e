/** One function per question that a table, a report or a command asks of metrics.sqlite. Nothing here writes. */
import type { MetricsDatabase } from "./database.js";

/** One arm and the last round in which a metric of it was measured. */
export interface SummaryLine {
  readonly arm: string;
  readonly strategy: string | null;
  readonly modelName: string;
  readonly modelWeightBytes: number;
  readonly metric: string;
  readonly round: number;
  /** The global value; NULL when only clients were measured. */
  readonly globalValue: number | null;
  /** Mean over clients, each counting once; NULL when no client was measured. */
  readonly clientMean: number | null;
  readonly numClients: number;
}

/** For every arm (in order) and metric (by name): the values of the last round that measured it. */
export function summaryTable(database: MetricsDatabase): readonly SummaryLine[] {
  return database
    .prepare<[], SummaryLine>(
      `SELECT a.name AS arm, a.strategy, a.model_name AS modelName, a.model_weight_bytes AS modelWeightBytes,
              e.metric, e.round,
              max(CASE WHEN e.client_id IS NULL THEN e.value END) AS globalValue,
              avg(CASE WHEN e.client_id IS NOT NULL THEN e.value END) AS clientMean,
              count(e.client_id) AS numClients
         FROM arms a JOIN evaluations e ON e.arm = a.name
        WHERE e.round = (SELECT max(l.round) FROM evaluations l WHERE l.arm = e.arm AND l.metric = e.metric)
        GROUP BY a.name, e.metric
        ORDER BY a.arm_index, e.metric`,
    )
    .all();
}

export interface ClientRoundLine {
  readonly round: number;
  readonly clientId: string;
  readonly numExamples: number;
  readonly numSamples: number | null;
  readonly numTokens: number | null;
  readonly numSupervisedTokens: number | null;
  readonly numSteps: number | null;
  readonly trainLoss: number | null;
  readonly firstTrainLoss: number | null;
  readonly lastTrainLoss: number | null;
  readonly rewardMargin: number | null;
  readonly rewardAccuracy: number | null;
  readonly chosenReward: number | null;
  readonly rejectedReward: number | null;
  readonly chosenLogProbability: number | null;
  readonly rejectedLogProbability: number | null;
  readonly learningRate: number;
  readonly trainDurationMs: number | null;
  readonly tokensPerSecond: number | null;
  readonly updateNorm: number | null;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  readonly peakMemoryBytes: number | null;
  readonly plannedPeakBytes: number | null;
  readonly plannedDeviceBytes: number | null;
  readonly deviceBytes: number | null;
  readonly microBatchTokens: number | null;
  /** 0 or 1, as the next two. */
  readonly recomputes: number | null;
  readonly streams: number | null;
  readonly fellBack: number | null;
  readonly device: string | null;
  readonly simulatedDurationMs: number | null;
  readonly precision: string | null;
  /** NULL where the data has no groups. */
  readonly group: string | null;
  readonly staleness: number | null;
  readonly numAttempts: number | null;
  readonly failureCode: string | null;
  readonly failureMessage: string | null;
}

/** All clients of an arm in all rounds, by round and client id. */
export function clientRounds(database: MetricsDatabase, arm: string): readonly ClientRoundLine[] {
  return database
    .prepare<[string], ClientRoundLine>(
      `SELECT round, client_id AS clientId, num_examples AS numExamples, num_samples AS numSamples,
              num_tokens AS numTokens, num_supervised_tokens AS numSupervisedTokens, num_steps AS numSteps,
              train_loss AS trainLoss, first_train_loss AS firstTrainLoss, last_train_loss AS lastTrainLoss,
              reward_margin AS rewardMargin, reward_accuracy AS rewardAccuracy, chosen_reward AS chosenReward,
              rejected_reward AS rejectedReward, chosen_log_probability AS chosenLogProbability,
              rejected_log_probability AS rejectedLogProbability, learning_rate AS learningRate, train_duration_ms AS trainDurationMs,
              tokens_per_second AS tokensPerSecond, update_norm AS updateNorm, upload_bytes AS uploadBytes,
              download_bytes AS downloadBytes, peak_memory_bytes AS peakMemoryBytes, planned_peak_bytes AS plannedPeakBytes,
              planned_device_bytes AS plannedDeviceBytes, device_bytes AS deviceBytes, micro_batch_tokens AS microBatchTokens,
              recomputes, streams, fell_back AS fellBack, device,
              simulated_duration_ms AS simulatedDurationMs, precision, client_group AS "group", staleness, num_attempts AS numAttempts, failure_code AS failureCode,
              failure_message AS failureMessage
         FROM client_rounds WHERE arm = ? ORDER BY round, client_id`,
    )
    .all(arm);
}

export interface EvaluationLine {
  readonly round: number;
  /** NULL: global. */
  readonly clientId: string | null;
  readonly metric: string;
  readonly value: number | null;
}

/** All measurements of an arm, by round, metric and client id, the global one first. */
export function evaluationsByArm(database: MetricsDatabase, arm: string): readonly EvaluationLine[] {
  return database
    .prepare<[string], EvaluationLine>(
      `SELECT round, client_id AS clientId, metric, value
         FROM evaluations WHERE arm = ? ORDER BY round, metric, client_id`,
    )
    .all(arm);
}

export interface MeasureLine {
  readonly round: number;
  /** NULL: the whole adapter. */
  readonly layer: number | null;
  readonly measure: string;
  readonly value: number | null;
}

/** What each round of an arm is known for, by round, measure and layer, the whole adapter first. */
export function measuresByArm(database: MetricsDatabase, arm: string): readonly MeasureLine[] {
  return database
    .prepare<[string], MeasureLine>(
      `SELECT round, layer, measure, value FROM round_measures WHERE arm = ? ORDER BY round, measure, layer`,
    )
    .all(arm);
}

/** Mean over rounds of a measure of the whole adapter; NULL when no round has it. */
export function meanMeasure(database: MetricsDatabase, arm: string, measure: string): number | null {
  return (
    database
      .prepare<[string, string], number | null>(
        "SELECT avg(value) FROM round_measures WHERE arm = ? AND measure = ? AND layer IS NULL",
      )
      .pluck()
      .get(arm, measure) ?? null
  );
}

export interface ArmTotals {
  readonly numRounds: number;
  readonly numClientRounds: number;
  readonly numFailures: number;
  readonly numRejected: number;
  readonly numTokens: number;
  readonly numSupervisedTokens: number;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  /** Sum over clients; with clients in parallel more than what the clock shows. */
  readonly trainDurationMs: number;
  /** Sum over rounds, evaluation included. */
  readonly durationMs: number;
  /** Sum over rounds; NULL without a simulated clock. */
  readonly simulatedDurationMs: number | null;
  /** Computed tokens over training time; NULL when nothing was trained. */
  readonly tokensPerSecond: number | null;
  readonly peakMemoryBytes: number | null;
}

/** Sums over all rounds of an arm; round 0 adds its evaluation's time only. */
export function totals(database: MetricsDatabase, arm: string): ArmTotals {
  const rounds = database
    .prepare<[string], Pick<ArmTotals, "numRounds" | "numRejected" | "durationMs" | "simulatedDurationMs">>(
      `SELECT count(CASE WHEN round > 0 THEN 1 END) AS numRounds, coalesce(sum(num_rejected), 0) AS numRejected,
              coalesce(sum(duration_ms), 0.0) AS durationMs, sum(simulated_duration_ms) AS simulatedDurationMs
         FROM rounds WHERE arm = ?`,
    )
    .get(arm);
  const clients = database
    .prepare<[string], Omit<ArmTotals, "numRounds" | "numRejected" | "durationMs" | "simulatedDurationMs">>(
      `SELECT count(*) AS numClientRounds, count(failure_code) AS numFailures,
              coalesce(sum(num_tokens), 0) AS numTokens,
              coalesce(sum(num_supervised_tokens), 0) AS numSupervisedTokens,
              coalesce(sum(upload_bytes), 0) AS uploadBytes, coalesce(sum(download_bytes), 0) AS downloadBytes,
              coalesce(sum(train_duration_ms), 0.0) AS trainDurationMs,
              1000.0 * sum(num_tokens) / nullif(sum(CASE WHEN num_tokens IS NOT NULL THEN train_duration_ms END), 0)
                AS tokensPerSecond,
              max(peak_memory_bytes) AS peakMemoryBytes
         FROM client_rounds WHERE arm = ?`,
    )
    .get(arm);
  if (rounds === undefined || clients === undefined) throw new Error("an aggregate query gives one row");
  return { ...rounds, ...clients };
}

export interface EventLine {
  readonly createdAt: string;
  readonly arm: string | null;
  readonly round: number | null;
  readonly clientId: string | null;
  readonly kind: string;
  readonly message: string;
}

/** All events in the order in which they were recorded. */
export function events(database: MetricsDatabase): readonly EventLine[] {
  return database
    .prepare<[], EventLine>(
      `SELECT created_at AS createdAt, arm, round, client_id AS clientId, kind, message FROM events ORDER BY id`,
    )
    .all();
}

export interface RunLine {
  readonly id: string;
  readonly createdAt: string;
  readonly seed: number;
  readonly configJson: string;
  readonly versionsJson: string;
  readonly dataSha256: string | null;
}

/** The run of the file; undefined before it was recorded. */
export function run(database: MetricsDatabase): RunLine | undefined {
  return database
    .prepare<[], RunLine>(
      `SELECT id, created_at AS createdAt, seed, config_json AS configJson, versions_json AS versionsJson,
              data_sha256 AS dataSha256
         FROM runs ORDER BY created_at LIMIT 1`,
    )
    .get();
}

/** The last recorded round of each arm, by place in tables; NULL for an arm that has not begun. */
export function armProgress(
  database: MetricsDatabase,
): readonly { readonly arm: string; readonly lastRound: number | null }[] {
  return database
    .prepare<[], { arm: string; lastRound: number | null }>(
      `SELECT a.name AS arm, max(r.round) AS lastRound
         FROM arms a LEFT JOIN rounds r ON r.arm = a.name GROUP BY a.name ORDER BY a.arm_index`,
    )
    .all();
}

/** A value of a metric and when it was there: after how many rounds and how much simulated time. */
export interface ProgressLine {
  readonly arm: string;
  readonly round: number;
  readonly value: number;
  /** NULL without a simulated clock. */
  readonly simulatedMs: number | null;
}

/** The global values of a metric after training began, by arm (in order) and round. */
export function globalProgress(database: MetricsDatabase, metric: string): readonly ProgressLine[] {
  return database
    .prepare<[string], ProgressLine>(
      `SELECT e.arm, e.round, e.value,
              (SELECT sum(r.simulated_duration_ms) FROM rounds r WHERE r.arm = e.arm AND r.round <= e.round) AS simulatedMs
         FROM evaluations e JOIN arms a ON a.name = e.arm
        WHERE e.metric = ? AND e.client_id IS NULL AND e.round > 0 AND e.value IS NOT NULL
        ORDER BY a.arm_index, e.round`,
    )
    .all(metric);
}

/** What the clients of one precision did in an arm. */
export interface PrecisionLine {
  readonly arm: string;
  readonly precision: string;
  /** Different clients. */
  readonly numClients: number;
  readonly numClientRounds: number;
  readonly numTokens: number;
  /** Computed tokens over training time; NULL when nothing was trained. */
  readonly tokensPerSecond: number | null;
  /** Mean over clients and rounds, each counting once; NULL when nothing was trained. */
  readonly trainLoss: number | null;
  /** Of the last global adapter on this precision's base model; NULL when it was not measured. */
  readonly heldOutLoss: number | null;
}

/** For arms with clients of several precisions, by arm (in order) and precision (by name). */
export function precisionTotals(database: MetricsDatabase): readonly PrecisionLine[] {
  return database
    .prepare<[], PrecisionLine>(
      `SELECT c.arm, c.precision, count(DISTINCT c.client_id) AS numClients, count(*) AS numClientRounds,
              coalesce(sum(c.num_tokens), 0) AS numTokens,
              1000.0 * sum(c.num_tokens) / nullif(sum(CASE WHEN c.num_tokens IS NOT NULL THEN c.train_duration_ms END), 0)
                AS tokensPerSecond,
              avg(c.train_loss) AS trainLoss,
              (SELECT e.value FROM evaluations e
                WHERE e.arm = c.arm AND e.client_id IS NULL AND e.metric = 'heldout_loss@' || c.precision
                ORDER BY e.round DESC LIMIT 1) AS heldOutLoss
         FROM client_rounds c JOIN arms a ON a.name = c.arm
        WHERE c.precision IS NOT NULL
        GROUP BY c.arm, c.precision
        ORDER BY a.arm_index, c.precision`,
    )
    .all();
}

/** A group of clients in an arm. */
export interface GroupLine {
  readonly arm: string;
  readonly group: string;
  /** Different clients that were asked to train. */
  readonly numClients: number;
  readonly numClientRounds: number;
  readonly numTokens: number;
  /** Mean over clients and rounds, each counting once; NULL when nothing was trained. */
  readonly trainLoss: number | null;
  /** On the group's held-out samples before round 1 and after the last evaluated one; NULL when it was not measured. */
  readonly lossBefore: number | null;
  readonly heldOutLoss: number | null;
}

/** For data with groups, by arm (in order) and group (by name): also groups of which nobody was drawn. */
export function groupTotals(database: MetricsDatabase): readonly GroupLine[] {
  return database
    .prepare<[], GroupLine>(
      `WITH known AS (SELECT arm, client_group FROM client_rounds WHERE client_group IS NOT NULL
                      UNION SELECT arm, client_group FROM group_evaluations),
            losses AS (SELECT arm, client_group, round, value FROM group_evaluations WHERE metric IN ('heldout_loss', 'heldout_dpo_loss'))
       SELECT k.arm, k.client_group AS "group", count(DISTINCT c.client_id) AS numClients, count(c.client_id) AS numClientRounds,
              coalesce(sum(c.num_tokens), 0) AS numTokens, avg(c.train_loss) AS trainLoss,
              (SELECT l.value FROM losses l WHERE l.arm = k.arm AND l.client_group = k.client_group AND l.round = 0) AS lossBefore,
              (SELECT l.value FROM losses l WHERE l.arm = k.arm AND l.client_group = k.client_group AND l.round > 0
                ORDER BY l.round DESC LIMIT 1) AS heldOutLoss
         FROM known k JOIN arms a ON a.name = k.arm
         LEFT JOIN client_rounds c ON c.arm = k.arm AND c.client_group = k.client_group
        GROUP BY k.arm, k.client_group
        ORDER BY a.arm_index, k.client_group`,
    )
    .all();
}

/** A kind of personal adapter against the adapter that the same clients had without it. */
export interface PersonalLine {
  readonly arm: string;
  /** `fine-tuned`: after the last round; `personal`: trained beside a common one. */
  readonly adapter: string;
  /** Clients with both losses. */
  readonly numClients: number;
  /** Means over these clients, each counting once, of the loss on their own held-out data. */
  readonly lossBefore: number;
  readonly ownLoss: number;
  /** Clients whose own adapter has the lower loss. */
  readonly numGained: number;
}

/** By arm (in order) and kind, in the last round that has both losses. */
export function personalGains(database: MetricsDatabase): readonly PersonalLine[] {
  return database
    .prepare<[], PersonalLine>(
      `WITH kinds (adapter, before, after) AS (VALUES
              ('personal', 'heldout_loss@shared', 'heldout_loss'), ('fine-tuned', 'heldout_loss', 'heldout_loss@finetuned'),
              ('personal', 'heldout_dpo_loss@shared', 'heldout_dpo_loss'), ('fine-tuned', 'heldout_dpo_loss', 'heldout_dpo_loss@finetuned')),
            pairs AS (SELECT o.arm, k.adapter, o.round, b.value AS before, o.value AS own
                        FROM kinds k JOIN evaluations o ON o.metric = k.after
                        JOIN evaluations b ON b.metric = k.before AND b.arm = o.arm AND b.round = o.round AND b.client_id = o.client_id)
       SELECT p.arm, p.adapter, count(*) AS numClients, avg(p.before) AS lossBefore, avg(p.own) AS ownLoss, sum(p.own < p.before) AS numGained
         FROM pairs p JOIN arms a ON a.name = p.arm
        WHERE p.round = (SELECT max(l.round) FROM pairs l WHERE l.arm = p.arm AND l.adapter = p.adapter)
          AND p.before IS NOT NULL AND p.own IS NOT NULL
        GROUP BY p.arm, p.adapter
        ORDER BY a.arm_index, p.adapter DESC`,
    )
    .all();
}

/** An adapter in the two models of an arm whose clients train on an emulator; losses on the overall held-out samples. */
export interface EmulatorLine {
  readonly arm: string;
  /** Of the last evaluation. */
  readonly round: number;
  /** Before training, or NULL when that was not measured, and after the round. */
  readonly emulatorBefore: number | null;
  readonly emulatorLoss: number;
  readonly fullBefore: number | null;
  readonly fullLoss: number;
}

/** By arm, in order. */
export function emulatorLosses(database: MetricsDatabase): readonly EmulatorLine[] {
  return database
    .prepare<[], EmulatorLine>(
      `WITH kinds (full, emulated) AS (VALUES ('heldout_loss', 'heldout_loss@emulator'), ('heldout_dpo_loss', 'heldout_dpo_loss@emulator')),
            pairs AS (SELECT e.arm, e.round, e.value AS emulated, f.value AS full
                        FROM kinds k JOIN evaluations e ON e.metric = k.emulated AND e.client_id IS NULL
                        JOIN evaluations f ON f.metric = k.full AND f.arm = e.arm AND f.round = e.round AND f.client_id IS NULL)
       SELECT p.arm, p.round, s.emulated AS emulatorBefore, p.emulated AS emulatorLoss, s.full AS fullBefore, p.full AS fullLoss
         FROM pairs p JOIN arms a ON a.name = p.arm LEFT JOIN pairs s ON s.arm = p.arm AND s.round = 0
        WHERE p.round = (SELECT max(l.round) FROM pairs l WHERE l.arm = p.arm) AND p.emulated IS NOT NULL AND p.full IS NOT NULL
        ORDER BY a.arm_index`,
    )
    .all();
}
