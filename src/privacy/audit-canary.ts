/** The mechanism by itself, as the audit sees it: a canary in a direction of its own, and other clients that move elsewhere. */
import type { AuditedRun } from "./audit.js";
import { RandomStream } from "./random-stream.js";
import { UserLevelPrivacy, type UserLevelOptions } from "./user-level.js";

export interface CanaryRunOptions {
  readonly mechanism: UserLevelOptions;
  /** Without the canary. */
  readonly numClients: number;
  readonly numRounds: number;
  /** Length of the canary's update, in clipping norms; above 1 it is for the clipping to shorten it. */
  readonly canaryLength: number;
  /** Decides all secrets of all trials. */
  readonly secret: Uint8Array;
}

/** Runs of the mechanism alone: two coordinates, of which the first is the canary's. Nothing is written anywhere. */
export function canaryRuns({ mechanism, numClients, numRounds, canaryLength, secret }: CanaryRunOptions): AuditedRun {
  const { clipNorm, cohortSize } = mechanism;
  const sink = { isAffordable: () => true, charge: () => undefined, epsilonSpent: () => 0 };
  return (withCanary, trial) => {
    const words = new RandomStream(secret, `audit ${String(withCanary)} ${String(trial)}`);
    const own = Uint8Array.from({ length: 32 }, () => words.below(256));
    // The number of clients is public: it is the same with and without, so that the rate and the divisor are.
    const privacy = new UserLevelPrivacy(mechanism, { numClients, totalWeight: numClients }, own, sink);
    return Array.from({ length: numRounds }, (_, index) => {
      const sum = privacy.startRound(index + 1, clipNorm, 2);
      for (const client of privacy.drawCohort(index + 1, numClients + (withCanary ? 1 : 0))) {
        sum.add(client === numClients ? Float32Array.of(canaryLength * clipNorm, 0) : Float32Array.of(0, clipNorm), 1);
      }
      return ((sum.finish().mean[0] ?? 0) * cohortSize) / clipNorm;
    });
  };
}
