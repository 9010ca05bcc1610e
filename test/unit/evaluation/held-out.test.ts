/** Metrics of scores, by hand; and which samples each adapter is scored on, with a trainer whose loss is known on paper. */
import { describe, expect, test } from "vitest";
import { evaluateGlobal, evaluateGroups, evaluatePersonal, meanMetrics, summarizeScores } from "../../../src/evaluation/held-out.js";
import type { EvaluationContext } from "../../../src/evaluation/held-out.js";
import type { EvaluateRequest, EvaluateResult } from "../../../src/federated/local-trainer.js";
import { QuadraticTrainer, pointSample } from "../../../src/contract/quadratic-trainer.js";

const score = (logProbability: number, numSupervisedTokens: number, numCorrectTokens: number) => ({
  logProbability,
  numSupervisedTokens,
  numCorrectTokens,
});

describe("metrics of a set of scores", () => {
  test("loss counts tokens, exact match counts samples", () => {
    // 8 tokens with a summed log-probability of -4: loss 0.5. 6 of 8 tokens are right, 1 of 2 samples entirely.
    const metrics = summarizeScores([score(-1, 2, 2), score(-3, 6, 4)]);
    expect(metrics).toEqual({
      heldout_loss: 0.5,
      heldout_token_accuracy: 0.75,
      heldout_exact_match: 0.5,
      perplexity: Math.exp(0.5),
    });
  });

  test("a sample without supervised tokens is no exact match and no part of the mean", () => {
    expect(summarizeScores([score(-1, 2, 2), score(0, 0, 0)])).toEqual(summarizeScores([score(-1, 2, 2)]));
  });

  test("nothing to judge by gives no metrics", () => {
    expect(summarizeScores([])).toBeUndefined();
    expect(summarizeScores([score(0, 0, 0)])).toBeUndefined();
  });

  test("the mean over adapters is a mean of losses, and perplexity follows it", () => {
    const one = { heldout_loss: 1, heldout_token_accuracy: 0.5, heldout_exact_match: 0, perplexity: Math.E };
    const three = { heldout_loss: 3, heldout_token_accuracy: 0.25, heldout_exact_match: 1, perplexity: Math.exp(3) };
    expect(meanMetrics([one, three])).toEqual({
      heldout_loss: 2,
      heldout_token_accuracy: 0.375,
      heldout_exact_match: 0.5,
      perplexity: Math.exp(2),
    });
  });
});

/** A quadratic trainer that also notes how many samples each call scores. */
class CountingTrainer extends QuadraticTrainer {
  readonly calls: number[] = [];

  override evaluate(request: EvaluateRequest): Promise<EvaluateResult> {
    this.calls.push(request.samples.length);
    return super.evaluate(request);
  }
}

/** Points on a line: client a has 0 and 2, client b has 4, all are overall. The loss of weight w at point p is (w - p)^2 / 2. */
function makeContext(): EvaluationContext & { trainer: CountingTrainer } {
  return {
    trainer: new CountingTrainer(1),
    heldOut: {
      samples: [pointSample(0), pointSample(2), pointSample(4)],
      overall: [0, 1, 2],
      own: new Map([["a", [0, 1]], ["b", [2]]]),
    },
    microBatchTokens: 16,
  };
}

describe("one adapter for all", () => {
  test("is scored once; the overall row is over all samples, then each client has its own", async () => {
    const context = makeContext();
    const rows = await evaluateGlobal(context, Float32Array.of(0));
    expect(context.trainer.calls).toEqual([3]);
    // Losses at 0: 0, 2, 8.
    expect(rows.map((row) => [row.clientId, row.metrics.heldout_loss])).toEqual([
      [undefined, 10 / 3],
      ["a", 1],
      ["b", 8],
    ]);
  });

  test("an overall set apart from the clients' own parts is judged apart", async () => {
    const context = makeContext();
    const heldOut = { samples: context.heldOut.samples, overall: [2], own: new Map([["a", [0, 1]]]) };
    const rows = await evaluateGlobal({ ...context, heldOut }, Float32Array.of(0));
    expect(rows.map((row) => [row.clientId, row.metrics.heldout_loss])).toEqual([
      [undefined, 8],
      ["a", 1],
    ]);
  });

  test("an empty held-out set gives no rows", async () => {
    const context = { ...makeContext(), heldOut: { samples: [], overall: [], own: new Map() } };
    expect(await evaluateGlobal(context, Float32Array.of(0))).toEqual([]);
  });
});

describe("an adapter per client", () => {
  const adapters = new Map([
    ["b", Float32Array.of(4)],
    ["a", Float32Array.of(0)],
  ]);

  test("the overall row is the mean of the adapters on everything, a client's row is its own adapter on its own", async () => {
    const context = makeContext();
    const rows = await evaluatePersonal(context, adapters, 1);
    // At 4 the losses are 8, 2, 0; at 0 they are 0, 2, 8: both means are 10/3.
    expect(rows.map((row) => [row.clientId, row.metrics.heldout_loss])).toEqual([
      [undefined, 10 / 3],
      ["b", 0],
      ["a", 1],
    ]);
    expect(context.trainer.calls).toEqual([3, 3]);
  });

  test("with a stride adapter i is judged by the samples j with i + j divisible by it, and always has its own row", async () => {
    const context = makeContext();
    const rows = await evaluatePersonal(context, adapters, 3);
    // Adapter 0 (b, weight 4) shares sample 0 (loss 8) and owns sample 2; adapter 1 (a, weight 0) shares sample 2 (loss 8).
    expect(rows.map((row) => [row.clientId, row.metrics.heldout_loss])).toEqual([
      [undefined, 8],
      ["b", 0],
      ["a", 1],
    ]);
    expect(context.trainer.calls).toEqual([2, 3]);
  });

  test("a client without held-out samples counts in the overall row only", async () => {
    const rows = await evaluatePersonal(makeContext(), new Map([["c", Float32Array.of(0)]]), 1);
    expect(rows.map((row) => row.clientId)).toEqual([undefined]);
  });

  test("progress is told after each adapter", async () => {
    const told: number[][] = [];
    const onProgress = (done: number, total: number) => {
      told.push([done, total]);
    };
    await evaluatePersonal({ ...makeContext(), onProgress }, adapters, 1);
    expect(told).toEqual([[1, 2], [2, 2]]);
  });
});

describe("groups of clients", () => {
  const groups = new Map([
    ["left", { clientIds: ["a"], positions: [0, 1] }],
    ["right", { clientIds: ["b", "c"], positions: [2] }],
  ]);
  const grouped = () => {
    const context = makeContext();
    return { ...context, heldOut: { ...context.heldOut, groups } };
  };
  const losses = (rows: Awaited<ReturnType<typeof evaluateGlobal>>) => rows.map((row) => [row.group, row.clientId, row.metrics.heldout_loss]);
  const adapters = new Map([
    ["left", Float32Array.of(0)],
    ["right", Float32Array.of(2)],
  ]);

  test("one adapter for all has a row for each group's samples", async () => {
    expect(losses(await evaluateGlobal(grouped(), Float32Array.of(0)))).toEqual([
      [undefined, undefined, 10 / 3],
      ["left", undefined, 1],
      ["right", undefined, 8],
      [undefined, "a", 1],
      [undefined, "b", 8],
    ]);
  });

  test("with an adapter per group each overall sample is judged by its group's, once", async () => {
    const context = grouped();
    // Left at 0: losses 0 and 2; right at 2: loss 2.
    expect(losses(await evaluateGroups(context, adapters, 1))).toEqual([
      [undefined, undefined, 4 / 3],
      ["left", undefined, 1],
      ["right", undefined, 2],
      [undefined, "a", 1],
      [undefined, "b", 2],
    ]);
    expect(context.trainer.calls).toEqual([2, 1]);
  });

  test("an overall set with samples of no group is judged by every group's adapter, and the row is the mean", async () => {
    const context = grouped();
    const heldOut = { ...context.heldOut, groups: new Map([...groups, ["right", { clientIds: ["b"], positions: [] }]]) };
    // On 0, 2, 4 the adapter 0 has the mean 10/3 and the adapter 2 the mean 4/3.
    const [overall, ...others] = losses(await evaluateGroups({ ...context, heldOut }, adapters, 1));
    expect(overall?.[2]).toBeCloseTo(7 / 3, 14);
    expect(others).toEqual([["left", undefined, 1], [undefined, "a", 1], [undefined, "b", 2]]);
    const [strided] = losses(await evaluateGroups({ ...context, heldOut }, adapters, 3));
    // Left has sample 0 (loss 0), right sample 2 (loss 2).
    expect(strided?.[2]).toBe(1);
  });

  test("with an adapter per client a group's row is over its members' own samples, each by its client's adapter", async () => {
    const own = new Map([
      ["a", Float32Array.of(0)],
      ["b", Float32Array.of(4)],
    ]);
    expect(losses(await evaluatePersonal(grouped(), own, 1)).filter(([group]) => group !== undefined)).toEqual([
      ["left", undefined, 1],
      ["right", undefined, 0],
    ]);
  });
});
