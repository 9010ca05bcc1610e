/** What receives a run's measurements while it goes or afterwards. */
import type { TrackedPoint } from "../metrics/tracked-points.js";

export const SINK_NAMES = ["tensorboard", "mlflow", "csv"] as const;
export type SinkName = (typeof SINK_NAMES)[number];

export type RunStatus = "FINISHED" | "FAILED" | "KILLED";

export interface Sink {
  readonly name: SinkName;
  /** Takes points that it has not got before, in order. */
  write(points: readonly TrackedPoint[]): Promise<void>;
  finish(status: RunStatus): Promise<void>;
}
