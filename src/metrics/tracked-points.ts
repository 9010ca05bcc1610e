/** A run's measurements by round as single numbers with a name, a step and a time: what trackers of experiments take. Clients' own figures stay in the database. */
import type { MetricsDatabase } from "./database.js";

export interface TrackedPoint {
  readonly arm: string;
  /** For example `train_loss`, `heldout_loss`, `heldout_loss/clients` (mean over clients), `heldout_loss/group/German`. */
  readonly name: string;
  readonly round: number;
  readonly value: number;
  /** When the round ended, in milliseconds since 1970. */
  readonly timeMs: number;
}

const ROUND_COLUMNS = ["train_loss", "duration_ms", "evaluation_duration_ms", "simulated_duration_ms", "upload_bytes", "download_bytes", "num_succeeded", "num_failed", "global_update_norm", "reward_margin", "reward_accuracy"];

interface Row {
  readonly arm: string;
  readonly name: string;
  readonly round: number;
  readonly value: number;
  readonly startedAt: string;
  readonly durationMs: number;
}

/** All points, by arm, round and name. */
export function trackedPoints(database: MetricsDatabase): readonly TrackedPoint[] {
  const columns = ROUND_COLUMNS.map((column) => `SELECT arm, round, '${column}' AS name, ${column} AS value FROM rounds`);
  const parts = [
    ...columns,
    "SELECT arm, round, metric, value FROM evaluations WHERE client_id IS NULL",
    "SELECT arm, round, metric || '/clients', avg(value) FROM evaluations WHERE client_id IS NOT NULL GROUP BY arm, round, metric",
    "SELECT arm, round, metric || '/group/' || client_group, value FROM group_evaluations",
    "SELECT arm, round, measure, value FROM round_measures WHERE layer IS NULL",
  ];
  const rows = database
    .prepare<[], Row>(
      `SELECT p.arm, p.name, p.round, p.value, r.started_at AS startedAt, r.duration_ms AS durationMs
         FROM (${parts.join(" UNION ALL ")}) p JOIN rounds r ON r.arm = p.arm AND r.round = p.round JOIN arms a ON a.name = p.arm
        WHERE p.value IS NOT NULL ORDER BY a.arm_index, p.round, p.name`,
    )
    .all();
  return rows.map(({ startedAt, durationMs, ...point }) => ({ ...point, timeMs: Math.round(Date.parse(startedAt) + durationMs) }));
}
