/**
 * Preferences on the quadratic trainer. The log-probability of an answer, a point p, under weights w is -|w - p|^2 / 2 (up
 * to a constant), so log pi(c) - log pi(r) is linear in w with slope p_c - p_r, and the DPO gradient of a pair is
 * -beta ((1 - s) sigmoid(-beta m) - s sigmoid(beta m)) (p_c - p_r), where beta m is the reward margin. The reference
 * policy without an adapter has w = 0.
 */
import type { PreferenceMetrics, PreferenceObjective } from "../federated/local-trainer.js";

/** A pair's points. */
export interface PointPair {
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

export interface PreferenceStep {
  /** Means over the pairs. */
  readonly loss: number;
  readonly gradient: readonly number[];
  readonly metrics: PreferenceMetrics;
}

/** Loss, gradient and rewards of the pairs of one step. */
export function preferenceStep(weights: Float32Array, pairs: readonly PointPair[], objective: PreferenceObjective): PreferenceStep {
  const { beta, labelSmoothing, referenceWeights } = objective;
  const reference = referenceWeights ?? new Float32Array(weights.length);
  const gradient = new Array<number>(weights.length).fill(0);
  const sums = { loss: 0, margin: 0, wins: 0, chosen: 0, rejected: 0, chosenLog: 0, rejectedLog: 0 };
  for (const { chosen, rejected } of pairs) {
    const chosenReward = beta * (logProbability(weights, chosen) - logProbability(reference, chosen));
    const rejectedReward = beta * (logProbability(weights, rejected) - logProbability(reference, rejected));
    const margin = chosenReward - rejectedReward;
    const pull = (1 - labelSmoothing) * sigmoid(-margin) - labelSmoothing * sigmoid(margin);
    for (let i = 0; i < gradient.length; i++) {
      const slope = (chosen[i] ?? 0) - (rejected[i] ?? 0);
      gradient[i] = (gradient[i] ?? 0) - (beta * pull * slope) / pairs.length;
    }
    sums.loss -= (1 - labelSmoothing) * Math.log(sigmoid(margin)) + labelSmoothing * Math.log(sigmoid(-margin));
    sums.margin += margin;
    sums.wins += margin > 0 ? 1 : margin === 0 ? 0.5 : 0;
    sums.chosen += chosenReward;
    sums.rejected += rejectedReward;
    sums.chosenLog += logProbability(weights, chosen);
    sums.rejectedLog += logProbability(weights, rejected);
  }
  const mean = (sum: number) => sum / pairs.length;
  return {
    loss: mean(sums.loss),
    gradient,
    metrics: {
      rewardMargin: mean(sums.margin),
      rewardAccuracy: mean(sums.wins),
      chosenReward: mean(sums.chosen),
      rejectedReward: mean(sums.rejected),
      chosenLogProbability: mean(sums.chosenLog),
      rejectedLogProbability: mean(sums.rejectedLog),
    },
  };
}

function logProbability(weights: Float32Array, point: readonly number[]): number {
  return -weights.reduce((sum, w, i) => sum + (w - (point[i] ?? 0)) ** 2 / 2, 0);
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}
