/** How long each arm took on the simulated clock to a quality that all of them reached: what compares methods fairly. */
import type { MetricsDatabase } from "../metrics/database.js";
import { globalProgress, totals } from "../metrics/queries.js";
import { formatDuration } from "./format.js";
import type { Column } from "./format.js";

export interface TimeToQuality {
  /** Held-out loss: the best of the arm whose best is the worst, so that every arm reached it. */
  readonly targetLoss: number;
  readonly arms: readonly ArmTime[];
}

export interface ArmTime {
  readonly arm: string;
  /** First evaluated round with the target. */
  readonly round: number;
  /** Simulated time until then. */
  readonly simulatedMs: number;
  /** Simulated time of all rounds. */
  readonly totalSimulatedMs: number;
}

/** Undefined when no arm has a simulated clock and a held-out loss. */
export function timeToQuality(database: MetricsDatabase): TimeToQuality | undefined {
  const lines = globalProgress(database, "heldout_loss").filter(({ simulatedMs }) => simulatedMs !== null);
  const arms = [...new Set(lines.map(({ arm }) => arm))];
  if (arms.length === 0) return undefined;
  const targetLoss = Math.max(...arms.map((arm) => Math.min(...lines.filter((line) => line.arm === arm).map(({ value }) => value))));
  return {
    targetLoss,
    arms: arms.flatMap((arm) => {
      const reached = lines.find((line) => line.arm === arm && line.value <= targetLoss);
      if (reached === undefined) return [];
      const totalSimulatedMs = totals(database, arm).simulatedDurationMs ?? 0;
      return [{ arm, round: reached.round, simulatedMs: reached.simulatedMs ?? 0, totalSimulatedMs }];
    }),
  };
}

/** Title, columns and cells of the table. */
export function timeToQualityTable({ targetLoss, arms }: TimeToQuality) {
  const right = (title: string): Column => ({ title, align: "right" });
  const columns: Column[] = [{ title: "arm" }, ...["rounds to it", "simulated time to it", "simulated time in all"].map(right)];
  const rows = arms.map(({ arm, round, simulatedMs, totalSimulatedMs }) => [
    arm,
    String(round),
    formatDuration(simulatedMs),
    formatDuration(totalSimulatedMs),
  ]);
  return { title: `Time to a held-out loss of ${targetLoss.toFixed(4)}, which every arm reached`, columns, rows };
}
