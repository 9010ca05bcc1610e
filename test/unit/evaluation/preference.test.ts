/** Rewards and losses of pairs, by hand and with a trainer whose log-probabilities are known on paper. */
import { describe, expect, test } from "vitest";
import { QuadraticTrainer, pointSample } from "../../../src/contract/quadratic-trainer.js";
import { evaluateGlobalPairs, evaluatePersonalPairs, scoreReference } from "../../../src/evaluation/held-out.js";
import type { PairEvaluationContext } from "../../../src/evaluation/held-out.js";
import { preferenceLoss, summarizeHeldOutPairs, summarizePairs } from "../../../src/evaluation/preference.js";

const judged = (chosen: number, rejected: number, referenceChosen: number, referenceRejected: number) => ({
  policy: { chosen, rejected },
  reference: { chosen: referenceChosen, rejected: referenceRejected },
});

describe("the loss of a margin", () => {
  test("is log 2 at zero, falls with the margin, and stays finite far out", () => {
    expect(preferenceLoss(0, 0)).toBeCloseTo(Math.LN2, 15);
    // log(1 + e^-1) and log(1 + e).
    expect(preferenceLoss(1, 0)).toBeCloseTo(0.31326168751822286, 15);
    expect(preferenceLoss(-1, 0)).toBeCloseTo(1.3132616875182228, 15);
    expect([preferenceLoss(1e4, 0), preferenceLoss(-1e4, 0)]).toEqual([0, 1e4]);
  });

  test("with label smoothing mixes both directions and is least at log((1 - s) / s)", () => {
    expect(preferenceLoss(1, 0.1)).toBeCloseTo(0.9 * 0.31326168751822286 + 0.1 * 1.3132616875182228, 15);
    const best = Math.log(9);
    for (const other of [best - 0.01, best + 0.01]) expect(preferenceLoss(best, 0.1)).toBeLessThan(preferenceLoss(other, 0.1));
  });
});

describe("a set of pairs", () => {
  const pairs = [judged(-10, -12, -11, -11), judged(-5, -4, -5, -5)];

  test("gives means of rewards, which are beta times the change of log-probability", () => {
    // Rewards at beta 0.5: (0.5, -0.5) and (0, 0.5); margins 1 and -0.5.
    const summary = summarizePairs(pairs, { beta: 0.5, labelSmoothing: 0 });
    expect(summary).toEqual({
      loss: (preferenceLoss(1, 0) + preferenceLoss(-0.5, 0)) / 2,
      rewardMargin: 0.25,
      rewardAccuracy: 0.5,
      chosenReward: 0.25,
      rejectedReward: 0,
      chosenLogProbability: -7.5,
      rejectedLogProbability: -8,
    });
  });

  test("counts equal rewards half, so that the reference itself is right in half of the cases", () => {
    const same = pairs.map(({ policy }) => ({ policy, reference: policy }));
    const metrics = summarizeHeldOutPairs(same, { beta: 0.1, labelSmoothing: 0 });
    expect(metrics).toMatchObject({ heldout_reward_accuracy: 0.5, heldout_reward_margin: 0, heldout_ranking_accuracy: 0.5 });
    expect(metrics?.heldout_dpo_loss).toBeCloseTo(Math.LN2, 15);
  });

  test("of no pairs has no metrics", () => {
    expect(summarizeHeldOutPairs([], { beta: 0.1, labelSmoothing: 0 })).toBeUndefined();
  });
});

/**
 * On a line the log-probability of p under w is -(w - p)^2 / 2, so with the reference at 0 the reward of p is
 * beta (p w - w^2 / 2), and the margin of a pair beta w (chosen - rejected).
 */
async function makeContext(referenceWeights?: Float32Array): Promise<PairEvaluationContext> {
  const pair = (chosen: number, rejected: number) => ({ chosen: pointSample(chosen), rejected: pointSample(rejected) });
  const heldOut = {
    samples: [pair(1, 0), pair(0, 2), pair(3, -1)],
    overall: [0, 1, 2],
    own: new Map([["a", [0, 1]], ["b", [2]]]),
  };
  const context = { trainer: new QuadraticTrainer(1), heldOut, microBatchTokens: 16 };
  const reference = await scoreReference(context, referenceWeights);
  return { ...context, reference, loss: { beta: 0.5, labelSmoothing: 0 } };
}

describe("adapters on held-out pairs", () => {
  test("one for all: margins over everything and over each client's own", async () => {
    const rows = await evaluateGlobalPairs(await makeContext(), Float32Array.of(2));
    // Margins 0.5 * 2 * (1, -2, 4).
    expect(rows.map(({ clientId, metrics }) => [clientId, metrics.heldout_reward_margin, metrics.heldout_reward_accuracy])).toEqual([
      [undefined, 1, 2 / 3],
      ["a", -0.5, 0.5],
      ["b", 4, 1],
    ]);
  });

  test("the reference may be an adapter", async () => {
    const [overall] = await evaluateGlobalPairs(await makeContext(Float32Array.of(2)), Float32Array.of(2));
    expect(overall?.metrics.heldout_reward_margin).toBe(0);
    expect(overall?.metrics.heldout_reward_accuracy).toBe(0.5);
  });

  test("one per client: the mean over adapters, and each on its own", async () => {
    const adapters = new Map([["a", Float32Array.of(-2)], ["b", Float32Array.of(2)]]);
    const rows = await evaluatePersonalPairs(await makeContext(), adapters, 1);
    expect(rows.map(({ clientId, metrics }) => [clientId, metrics.heldout_reward_margin])).toEqual([
      [undefined, 0],
      ["a", 0.5],
      ["b", 4],
    ]);
  });
});
