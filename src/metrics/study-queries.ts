/** What a comparison of runs asks of each run's metrics.sqlite: final values, values along the way, costs. Nothing here writes. */
import type { MetricsDatabase } from "./database.js";

/** A value of the overall held-out data after the last round that measured it, and before training. */
export interface FinalLine {
  readonly arm: string;
  readonly metric: string;
  readonly round: number;
  readonly value: number;
  /** Of round 0; NULL when it was not measured. */
  readonly before: number | null;
}

/** By arm (in order) and metric (by name); values that are no finite number are left out. */
export function finalValues(database: MetricsDatabase): readonly FinalLine[] {
  return database
    .prepare<[], FinalLine>(
      `SELECT e.arm, e.metric, e.round, e.value,
              (SELECT b.value FROM evaluations b WHERE b.arm = e.arm AND b.metric = e.metric AND b.client_id IS NULL AND b.round = 0) AS before
         FROM evaluations e JOIN arms a ON a.name = e.arm
        WHERE e.client_id IS NULL AND e.round > 0 AND e.value IS NOT NULL
          AND e.round = (SELECT max(l.round) FROM evaluations l WHERE l.arm = e.arm AND l.metric = e.metric AND l.client_id IS NULL)
        ORDER BY a.arm_index, e.metric`,
    )
    .all();
}

/** A client's value on its own held-out data after the last round that measured it, and before training. */
export interface FinalClientLine {
  readonly arm: string;
  readonly clientId: string;
  readonly metric: string;
  readonly value: number;
  readonly before: number | null;
}

/** Of the metrics without a suffix, by arm (in order), metric and client. */
export function finalClientValues(database: MetricsDatabase): readonly FinalClientLine[] {
  return database
    .prepare<[], FinalClientLine>(
      `WITH last AS (SELECT arm, metric, max(round) AS round FROM evaluations
                      WHERE client_id IS NOT NULL AND round > 0 AND instr(metric, '@') = 0 GROUP BY arm, metric)
       SELECT e.arm, e.client_id AS clientId, e.metric, e.value,
              (SELECT b.value FROM evaluations b WHERE b.arm = e.arm AND b.metric = e.metric AND b.client_id = e.client_id AND b.round = 0) AS before
         FROM last l JOIN evaluations e ON e.arm = l.arm AND e.metric = l.metric AND e.round = l.round
         JOIN arms a ON a.name = e.arm
        WHERE e.client_id IS NOT NULL AND e.value IS NOT NULL
        ORDER BY a.arm_index, e.metric, e.client_id`,
    )
    .all();
}

/** A value of the overall held-out data and what it had cost until then. */
export interface CurveLine {
  readonly arm: string;
  readonly metric: string;
  readonly round: number;
  readonly value: number;
  /** Of all clients, both ways, up to and with this round. */
  readonly bytes: number;
  /** Wall clock of rounds without their evaluations. */
  readonly durationMs: number;
  /** NULL without a simulated clock. */
  readonly simulatedMs: number | null;
}

/** By arm (in order), metric and round, round 0 included. */
export function curves(database: MetricsDatabase): readonly CurveLine[] {
  return database
    .prepare<[], CurveLine>(
      `WITH sums AS (SELECT arm, round,
                            sum(upload_bytes + download_bytes) OVER upto AS bytes,
                            sum(duration_ms - coalesce(evaluation_duration_ms, 0.0)) OVER upto AS durationMs,
                            sum(simulated_duration_ms) OVER upto AS simulatedMs
                       FROM rounds WINDOW upto AS (PARTITION BY arm ORDER BY round))
       SELECT e.arm, e.metric, e.round, e.value, s.bytes, s.durationMs, s.simulatedMs
         FROM evaluations e JOIN sums s ON s.arm = e.arm AND s.round = e.round JOIN arms a ON a.name = e.arm
        WHERE e.client_id IS NULL AND e.value IS NOT NULL
        ORDER BY a.arm_index, e.metric, e.round`,
    )
    .all();
}

/** What an arm took. NULL: not measured. */
export interface CostLine {
  readonly arm: string;
  readonly modelName: string;
  readonly modelSha256: string;
  readonly weightBytes: number;
  readonly numParameters: number | null;
  readonly lastRound: number;
  readonly peakMemoryBytes: number | null;
  /** Predicted for the peak: the largest prediction of any client's training. */
  readonly plannedPeakBytes: number | null;
  readonly tokensPerSecond: number | null;
  readonly numTokens: number;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  /** Client to server, mean over clients and rounds. */
  readonly uploadBytesPerClient: number | null;
  /** Wall clock, without evaluations. */
  readonly durationMs: number;
  readonly simulatedMs: number | null;
  /** Whole machine while rounds ran; only when every round has it. */
  readonly cpuEnergyJoules: number | null;
  readonly gpuEnergyJoules: number | null;
  readonly energySource: string | null;
  /** Mean over rounds. */
  readonly aggregationError: number | null;
  readonly numFailures: number;
}

/** By arm, in order. `measure` names the aggregation error in round_measures. */
export function costs(database: MetricsDatabase, measure: string): readonly CostLine[] {
  return database
    .prepare<[string], CostLine>(
      `WITH clients AS (SELECT arm, count(*) AS trained, count(failure_code) AS failures, sum(num_tokens) AS tokens,
                               sum(upload_bytes) AS up, sum(download_bytes) AS down, max(peak_memory_bytes) AS peak, max(planned_peak_bytes) AS planned,
                               1000.0 * sum(num_tokens) / nullif(sum(CASE WHEN num_tokens IS NOT NULL THEN train_duration_ms END), 0) AS speed
                          FROM client_rounds GROUP BY arm),
            all_rounds AS (SELECT arm, max(round) AS last, sum(duration_ms - coalesce(evaluation_duration_ms, 0.0)) AS duration, sum(simulated_duration_ms) AS simulated,
                                  CASE WHEN count(cpu_energy_joules) = count(*) THEN sum(cpu_energy_joules) END AS cpu,
                                  CASE WHEN count(gpu_energy_joules) = count(*) THEN sum(gpu_energy_joules) END AS gpu,
                                  max(energy_source) AS source
                             FROM rounds WHERE round > 0 GROUP BY arm)
       SELECT a.name AS arm, a.model_name AS modelName, a.model_sha256 AS modelSha256, a.model_weight_bytes AS weightBytes, a.num_parameters AS numParameters,
              coalesce(r.last, 0) AS lastRound, c.peak AS peakMemoryBytes, c.planned AS plannedPeakBytes, c.speed AS tokensPerSecond,
              coalesce(c.tokens, 0) AS numTokens, coalesce(c.up, 0) AS uploadBytes, coalesce(c.down, 0) AS downloadBytes,
              1.0 * c.up / nullif(c.trained, 0) AS uploadBytesPerClient, coalesce(r.duration, 0.0) AS durationMs, r.simulated AS simulatedMs,
              r.cpu AS cpuEnergyJoules, r.gpu AS gpuEnergyJoules, r.source AS energySource,
              (SELECT avg(m.value) FROM round_measures m WHERE m.arm = a.name AND m.measure = ? AND m.layer IS NULL) AS aggregationError,
              coalesce(c.failures, 0) AS numFailures
         FROM arms a LEFT JOIN clients c ON c.arm = a.name LEFT JOIN all_rounds r ON r.arm = a.name
        ORDER BY a.arm_index`,
    )
    .all(measure);
}

/** What a client did in an arm over all rounds. */
export interface ClientTotalLine {
  readonly arm: string;
  readonly clientId: string;
  /** NULL: the data has no groups. */
  readonly group: string | null;
  readonly numExamples: number;
  readonly numRounds: number;
  readonly numFailures: number;
  readonly numTokens: number;
  readonly uploadBytes: number;
  readonly trainLoss: number | null;
}

/** By arm (in order) and client. */
export function clientTotals(database: MetricsDatabase): readonly ClientTotalLine[] {
  return database
    .prepare<[], ClientTotalLine>(
      `SELECT c.arm, c.client_id AS clientId, max(c.client_group) AS "group", max(c.num_examples) AS numExamples, count(*) AS numRounds,
              count(c.failure_code) AS numFailures, coalesce(sum(c.num_tokens), 0) AS numTokens, sum(c.upload_bytes) AS uploadBytes, avg(c.train_loss) AS trainLoss
         FROM client_rounds c JOIN arms a ON a.name = c.arm
        GROUP BY c.arm, c.client_id ORDER BY a.arm_index, c.client_id`,
    )
    .all();
}

/** What an arm's last adapter is worth on the base model of a precision. */
export interface TransferLine {
  readonly arm: string;
  /** Of the base model that it was judged on. */
  readonly precision: string;
  readonly metric: string;
  readonly value: number | null;
}

/** By arm (in order), precision and metric. */
export function transferValues(database: MetricsDatabase): readonly TransferLine[] {
  return database
    .prepare<[], TransferLine>(
      `SELECT t.arm, t.precision, t.metric, t.value FROM transfer_evaluations t JOIN arms a ON a.name = t.arm ORDER BY a.arm_index, t.precision, t.metric`,
    )
    .all();
}

/** What an arm was predicted to cost. */
export interface PredictionLine {
  readonly arm: string;
  /** As the schema lists them, with units. */
  readonly quantity: string;
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
}

/** A prediction and what happened. */
export interface OutcomeLine extends PredictionLine {
  /** NULL where it was not measured. */
  readonly actual: number | null;
}

/** By arm (in order) and quantity; arms that have not begun are left out. */
export function predictedAndHappened(database: MetricsDatabase): readonly OutcomeLine[] {
  return database
    .prepare<[], OutcomeLine>(
      `SELECT p.arm, p.quantity, p.value, p.low, p.high,
              CASE p.quantity
                WHEN 'tokens' THEN (SELECT sum(c.num_tokens) FROM client_rounds c WHERE c.arm = p.arm)
                WHEN 'upload_bytes' THEN (SELECT sum(r.upload_bytes) FROM rounds r WHERE r.arm = p.arm)
                WHEN 'download_bytes' THEN (SELECT sum(r.download_bytes) FROM rounds r WHERE r.arm = p.arm)
                WHEN 'peak_memory_bytes' THEN (SELECT max(c.peak_memory_bytes) FROM client_rounds c WHERE c.arm = p.arm)
                WHEN 'duration_ms' THEN (SELECT sum(r.duration_ms) FROM rounds r WHERE r.arm = p.arm)
                WHEN 'energy_joules' THEN (SELECT sum(coalesce(r.cpu_energy_joules, 0) + coalesce(r.gpu_energy_joules, 0))
                                             FROM rounds r WHERE r.arm = p.arm AND r.energy_source IS NOT NULL)
              END AS actual
         FROM predictions p JOIN arms a ON a.name = p.arm ORDER BY a.arm_index, p.quantity`,
    )
    .all();
}
