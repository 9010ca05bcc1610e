/**
 * Quality of an adapter on held-out pairs: log-probabilities of both answers under the adapter and under the reference
 * policy -> rewards, margin, accuracy, and the DPO loss (equations at PreferenceObjective in federated/local-trainer.ts).
 * Walking over sets, clients and adapters is held-out.ts.
 */
import type { PreferenceMetrics, PreferenceObjective, SampleScore } from "../federated/local-trainer.js";

/** Summed log-probabilities of a pair's answers under one policy. */
export interface PairScore {
  readonly chosen: number;
  readonly rejected: number;
}

/** A pair under the adapter that is judged and under the reference policy. */
export interface JudgedPair {
  readonly policy: PairScore;
  readonly reference: PairScore;
}

/** Names of the stored metrics, means over pairs. */
export interface HeldOutPreferenceMetrics {
  readonly heldout_dpo_loss: number;
  readonly heldout_reward_accuracy: number;
  readonly heldout_reward_margin: number;
  readonly heldout_chosen_reward: number;
  readonly heldout_rejected_reward: number;
  readonly heldout_chosen_log_probability: number;
  readonly heldout_rejected_log_probability: number;
  /** Part of the pairs of which the chosen answer is the more probable one, whatever the reference; equal ones count half. */
  readonly heldout_ranking_accuracy: number;
}

/** The strength and smoothing of the loss; the reference policy is in the scores. */
export type PreferenceLoss = Pick<PreferenceObjective, "beta" | "labelSmoothing">;

/** -(1 - s) log sigmoid(margin) - s log sigmoid(-margin), where the margin is that of the rewards. */
export function preferenceLoss(rewardMargin: number, labelSmoothing: number): number {
  return (1 - labelSmoothing) * softplus(-rewardMargin) + labelSmoothing * softplus(rewardMargin);
}

/** Means over pairs of everything that training and evaluation tell; `pairs` is not empty. */
export function summarizePairs(pairs: readonly JudgedPair[], { beta, labelSmoothing }: PreferenceLoss): PreferenceMetrics & { readonly loss: number } {
  const rewards = pairs.map(({ policy, reference }) => ({
    chosen: beta * (policy.chosen - reference.chosen),
    rejected: beta * (policy.rejected - reference.rejected),
  }));
  const chosenReward = mean(rewards.map(({ chosen }) => chosen));
  const rejectedReward = mean(rewards.map(({ rejected }) => rejected));
  return {
    loss: mean(rewards.map(({ chosen, rejected }) => preferenceLoss(chosen - rejected, labelSmoothing))),
    rewardMargin: mean(rewards.map(({ chosen, rejected }) => chosen - rejected)),
    rewardAccuracy: mean(rewards.map(({ chosen, rejected }) => win(chosen, rejected))),
    chosenReward,
    rejectedReward,
    chosenLogProbability: mean(pairs.map(({ policy }) => policy.chosen)),
    rejectedLogProbability: mean(pairs.map(({ policy }) => policy.rejected)),
  };
}

/** The same under the names of the stored metrics; undefined for no pairs. */
export function summarizeHeldOutPairs(pairs: readonly JudgedPair[], loss: PreferenceLoss): HeldOutPreferenceMetrics | undefined {
  if (pairs.length === 0) return undefined;
  const summary = summarizePairs(pairs, loss);
  return {
    heldout_dpo_loss: summary.loss,
    heldout_reward_accuracy: summary.rewardAccuracy,
    heldout_reward_margin: summary.rewardMargin,
    heldout_chosen_reward: summary.chosenReward,
    heldout_rejected_reward: summary.rejectedReward,
    heldout_chosen_log_probability: summary.chosenLogProbability,
    heldout_rejected_log_probability: summary.rejectedLogProbability,
    heldout_ranking_accuracy: mean(pairs.map(({ policy }) => win(policy.chosen, policy.rejected))),
  };
}

/** Scores of chosen and rejected sequences in turn -> one score per pair. */
export function pairScores(scores: readonly SampleScore[]): PairScore[] {
  return scores.flatMap((score, index) => {
    const rejected = scores[index + 1];
    return index % 2 === 1 || rejected === undefined
      ? []
      : [{ chosen: score.logProbability, rejected: rejected.logProbability }];
  });
}

/** log(1 + e^x) without overflow. */
function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

function win(chosen: number, rejected: number): number {
  return chosen > rejected ? 1 : chosen === rejected ? 0.5 : 0;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
