/**
 * Goal: each method for LoRA computes the equation in its file's head, compared with dense matrices, sends what it says, and is
 * as exact as it says. Products of single-precision factors of size 1 and rank 3 are off by some units of 2^-24 times 3.
 */
import { describe, expect, test } from "vitest";
import { adapterPairs, readProduct } from "../../../../src/adapter/pairs.js";
import { rowProducts } from "../../../../src/adapter/matrix.js";
import { productNorm } from "../../../../src/adapter/product-space.js";
import { gatherSlice, scatterSlice, sliceLength } from "../../../../src/adapter/slice.js";
import type { NamedState } from "../../../../src/federated/protocol.js";
import { makeClient, makeDeps, makeOptions } from "../../../../src/contract/federation.js";
import { pointSample, QuadraticTrainer } from "../../../../src/contract/quadratic-trainer.js";
import { runServer } from "../../../../src/federated/server.js";
import { penaltyGradient } from "../../../../src/federated/strategies/hetlora.js";
import type { StrategyOptions } from "../../../../src/federated/strategies/options.js";
import { createStrategy } from "../../../../src/federated/strategies/registry.js";
import { stateArray } from "../../../../src/federated/strategy.js";
import { denseDistance, denseNorm, denseSum, makeUniform } from "../../../helpers/dense.js";
import {
  adapterOf,
  denseMeans,
  denseProducts,
  initialAdapter,
  loraContext,
  loraLayout,
  runLoraRound,
  SHARES,
  SIZES,
} from "../../../helpers/lora-round.js";

const ROUNDING = 2e-6;
const { numParameters } = loraLayout;
const numA = sliceLength(loraLayout, { half: "a" });
const numB = sliceLength(loraLayout, { half: "b" });
const half = (weights: Float32Array, name: "a" | "b") => gatherSlice(weights, loraLayout, { half: name });

/** Frobenius distance over all pairs. */
function distance(left: ReturnType<typeof denseProducts>, right: ReturnType<typeof denseProducts>): number {
  return Math.sqrt(left.reduce((sum, matrix, i) => sum + denseDistance(matrix, right[i] ?? matrix) ** 2, 0));
}

/** The state after some rounds, in which B is no longer zero. */
function laterState(name: string, rounds: number, options: StrategyOptions = {}): NamedState {
  const strategy = createStrategy(name, options);
  let state = strategy.init(initialAdapter());
  for (let round = 1; round <= rounds; round++) state = runLoraRound(strategy, state, round).after;
  return state;
}

describe("exact methods: the adapter's product is the mean of the clients' products", () => {
  test.each([
    ["ffa-lora", 1],
    ["ffa-lora", 2],
    ["rolora", 1],
    ["rolora", 2],
    ["rolora", 3],
    ["fedsvd", 1],
    ["fedsvd", 2],
  ])("%s in round %i", (name, round) => {
    const { after, trained } = runLoraRound(createStrategy(name), laterState(name, round - 1), round);
    expect(distance(denseProducts(adapterOf(after)), denseMeans(trained))).toBeLessThan(ROUNDING);
  });

  test("FedAvg's is not: it is off by the covariance of the factors", () => {
    const { after, trained } = runLoraRound(createStrategy("fedavg"), laterState("fedavg", 1), 2);
    const mean = adapterOf(after);
    const off = distance(denseProducts(mean), denseMeans(trained));
    expect(off).toBeGreaterThan(1);
    const differences = trained.map((weights) => weights.map((weight, i) => weight - (mean[i] ?? 0)));
    const size = Math.sqrt(denseMeans(differences).reduce((sum, matrix) => sum + denseNorm(matrix) ** 2, 0));
    expect(off / size).toBeCloseTo(1, 5);
  });
});

describe("FFA-LoRA", () => {
  test("never changes a bit of A, sends B alone, and needs of the client's own knowledge A alone", () => {
    const start = initialAdapter();
    const state = laterState("ffa-lora", 3);
    expect(half(adapterOf(state), "a")).toEqual(half(start, "a"));
    const { tasks, updates } = runLoraRound(createStrategy("ffa-lora"), state, 4);
    for (const { weights, slice, known, trainable } of tasks) {
      expect([weights.length, trainable]).toEqual([numB, "b"]);
      if (slice === undefined || known === undefined) throw new Error("a slice is sent");
      // The client's start from the A of the seed and what was sent.
      expect(scatterSlice(start, loraLayout, slice, weights)).toEqual(adapterOf(state));
    }
    expect(updates.map(({ update }) => update.length)).toEqual([numB, numB, numB]);
  });
});

describe("RoLoRA", () => {
  test("trains B in odd and A in even rounds, and the other half keeps its bits", () => {
    const strategy = createStrategy("rolora");
    let state = strategy.init(initialAdapter());
    for (const [round, trained, fixed, count] of [[1, "b", "a", numB], [2, "a", "b", numA], [3, "b", "a", numB]] as const) {
      const { tasks, updates, after } = runLoraRound(strategy, state, round);
      expect(tasks.map(({ trainable }) => trainable)).toEqual([trained, trained, trained]);
      expect(updates.map(({ update }) => update.length)).toEqual([count, count, count]);
      expect(half(adapterOf(after), fixed)).toEqual(half(adapterOf(state), fixed));
      expect(half(adapterOf(after), trained)).not.toEqual(half(adapterOf(state), trained));
      state = after;
    }
  });
});

describe("FedSA-LoRA", () => {
  const strategy = createStrategy("fedsa-lora");

  test("averages A by data size, sends nothing else, and B stays where it was trained", () => {
    const { before, after, updates, tasks } = runLoraRound(strategy, strategy.init(initialAdapter()));
    expect(tasks.map(({ weights, trainable }) => [weights.length, trainable])).toEqual(SHARES.map(() => [numA, undefined]));
    const expected = half(adapterOf(before), "a").map((weight, i) => updates.reduce((sum, { update }, k) => sum + (SHARES[k] ?? 0) * (update[i] ?? 0), weight));
    for (const [i, weight] of half(adapterOf(after), "a").entries()) expect(Math.abs(weight - (expected[i] ?? Number.NaN))).toBeLessThan(ROUNDING);
    expect(half(adapterOf(after), "b")).toEqual(half(adapterOf(before), "b"));
  });

  test("a client goes on with its own B and the common A, and that is its adapter", () => {
    const { clientSide } = strategy;
    if (clientSide === undefined) throw new Error("FedSA-LoRA has a client side");
    const state = laterState("fedsa-lora", 1);
    const [task] = strategy.configure(state, [{ clientId: "ana", numExamples: 1 }], loraContext(2));
    if (task?.slice === undefined) throw new Error("there is a task");
    const trainedWeights = Float32Array.from({ length: numParameters }, makeUniform(5));
    const outcome = { startWeights: trainedWeights, trainedWeights, numSteps: 1, layout: loraLayout };
    const { nextState } = clientSide.finish(task, outcome, undefined);
    if (nextState === undefined) throw new Error("the client keeps its B");
    const begun = clientSide.begin(task, nextState, loraLayout);
    const start = scatterSlice(begun.known ?? new Float32Array(0), loraLayout, task.slice, begun.weights);
    expect(half(start, "b")).toEqual(half(trainedWeights, "b"));
    expect(half(start, "a")).toEqual(half(adapterOf(state), "a"));
    const adapters = strategy.adapters({ server: state, clients: new Map([["ana", nextState]]) }, loraLayout);
    expect(adapters).toEqual({ kind: "perClient", weights: new Map([["ana", start]]) });
  });
});

describe("FlexLoRA", () => {
  test("is off by exactly the energy that it says to discard, and gives the nearest product of its rank", () => {
    for (const round of [1, 2, 3]) {
      const { after, trained } = runLoraRound(createStrategy("flexlora"), laterState("flexlora", round - 1), round);
      const means = denseMeans(trained);
      const total = means.reduce((sum, matrix) => sum + denseNorm(matrix) ** 2, 0);
      const off = distance(denseProducts(adapterOf(after)), means) ** 2;
      expect(Math.abs(off / total - (after.numbers["discardedEnergy"] ?? Number.NaN))).toBeLessThan(1e-6);
      expect(off).toBeGreaterThan(0.01 * total);
      const random = makeUniform(round);
      for (let i = 0; i < 20; i++) {
        const nudged = adapterOf(after).map((weight) => weight + 0.05 * random());
        expect(distance(denseProducts(nudged), means) ** 2).toBeGreaterThan(off);
      }
    }
  });

  test("is exact where the clients' ranks together fit the adapter's, also with a scale that is not 1, which FedLLM-Factory's copy loses", () => {
    const ranks = { clientRanks: [1] };
    const { after, trained, tasks } = runLoraRound(createStrategy("flexlora", ranks), laterState("flexlora", 1, ranks), 2);
    expect(tasks.map(({ weights }) => weights.length)).toEqual([numParameters / 3, numParameters / 3, numParameters / 3]);
    expect(distance(denseProducts(adapterOf(after)), denseMeans(trained))).toBeLessThan(ROUNDING);
    expect(after.numbers["discardedEnergy"]).toBeLessThan(1e-12);
  });

  test("gives a client of lower rank the first singular directions, which are the nearest product of that rank", () => {
    const strategy = createStrategy("flexlora", { clientRanks: { ana: 1, ben: 2 } });
    const state = laterState("flexlora", 2);
    const [ana, ben, cem] = strategy.configure(state, [...SIZES].map(([clientId, numExamples]) => ({ clientId, numExamples })), loraContext(3));
    expect([ana, ben, cem].map((task) => task?.weights.length)).toEqual([numParameters / 3, (2 * numParameters) / 3, numParameters]);
    for (const pair of adapterPairs(loraLayout)) {
      const { a, bt } = readProduct(adapterOf(state), pair);
      const gram = rowProducts(a, a);
      const gramB = rowProducts(bt, bt);
      // Orthogonal directions of falling length, the same in A and B: sqrt(s) each.
      for (let i = 0; i < 3; i++) {
        for (let j = 0; j < i; j++) expect(Math.abs(gram.data[i * 3 + j] ?? 1)).toBeLessThan(1e-5);
        expect(Math.abs((gram.data[i * 4] ?? 0) - (gramB.data[i * 4] ?? 1))).toBeLessThan(1e-5);
        if (i > 0) expect(gram.data[i * 4]).toBeLessThan(gram.data[(i - 1) * 4] ?? 0);
      }
    }
  });

  test("a direction that the mean product does not have starts afresh instead of staying zero for ever", () => {
    const start = initialAdapter();
    const { after } = runLoraRound(createStrategy("flexlora"), createStrategy("flexlora").init(start), 1, 0);
    expect(adapterOf(after)).toEqual(start);
  });

  test("a rank above the adapter's is refused with the field to raise", () => {
    const strategy = createStrategy("flexlora", { clientRanks: [9] });
    expect(() => strategy.configure(strategy.init(initialAdapter()), [{ clientId: "ana", numExamples: 1 }], loraContext())).toThrow(
      'strategyOptions.clientRanks of client "ana": expected at most the adapter\'s rank 3, received 9. Raise lora.rank',
    );
  });

  test("a list deals ranks to clients by their ids: all of it is used, and whoever else takes part changes nothing", () => {
    const strategy = createStrategy("flexlora", { clientRanks: [1, 2, 3] });
    const state = strategy.init(initialAdapter());
    const lengthOf = (clientId: string) => strategy.configure(state, [{ clientId, numExamples: 1 }], loraContext())[0]?.weights.length;
    const members = Array.from({ length: 60 }, (_, k) => ({ clientId: `client-${String(k)}`, numExamples: 1 }));
    const together = strategy.configure(state, members, loraContext()).map(({ weights }) => weights.length);
    expect(together).toEqual(members.map(({ clientId }) => lengthOf(clientId)));
    expect(new Set(together)).toEqual(new Set([1, 2, 3].map((rank) => (rank * numParameters) / 3)));
  });
});

describe("FLoRIST", () => {
  test.each([0.5, 0.9, 1])("keeps the part %d of the energy with the smallest ranks, and sends no more than these", (energy) => {
    const strategy = createStrategy("florist", { energy });
    const { after, trained } = runLoraRound(strategy, laterState("florist", 1, { energy }), 2);
    const means = denseMeans(trained);
    const products = denseProducts(adapterOf(after));
    const task = strategy.configure(after, [{ clientId: "ana", numExamples: 1 }], loraContext(3))[0];
    const ranks = task?.slice?.ranks ?? [];
    expect(ranks).toHaveLength(3);
    for (const [i, pair] of adapterPairs(loraLayout).entries()) {
      const mean = means[i];
      const product = products[i];
      if (mean === undefined || product === undefined) throw new Error("there are matrices of all pairs");
      const discarded = (denseDistance(mean, product) / denseNorm(mean)) ** 2;
      const rank = ranks[i] ?? 0;
      if (rank < pair.rank) expect(discarded).toBeLessThanOrEqual(1 - energy + 1e-9);
      // One direction fewer would not do.
      const { a, bt } = readProduct(adapterOf(after), pair);
      const last = productNorm({ a: { ...a, rows: 1, data: a.data.slice((rank - 1) * a.cols, rank * a.cols) }, bt: { ...bt, rows: 1, data: bt.data.slice((rank - 1) * bt.cols, rank * bt.cols) } });
      if (rank > 1) expect(discarded + (last / denseNorm(mean)) ** 2).toBeGreaterThan(1 - energy);
    }
    expect(task?.weights.length).toBe(adapterPairs(loraLayout).reduce((sum, { dIn, dOut }, i) => sum + (ranks[i] ?? 0) * (dIn + dOut), 0));
  });
});

describe("HetLoRA", () => {
  const ranks = { clientRanks: { ana: 1, ben: 2 } };

  test("pads with zeros and weighs by the norm of the product", () => {
    const strategy = createStrategy("hetlora", ranks);
    const { after, trained } = runLoraRound(strategy, laterState("hetlora", 1, ranks), 2);
    const norms = trained.map((weights) => Math.sqrt(denseProducts(weights).reduce((sum, matrix) => sum + denseNorm(matrix) ** 2, 0)));
    const total = norms.reduce((sum, norm) => sum + norm, 0);
    const mean = Array.from({ length: numParameters }, (_, i) => trained.reduce((sum, weights, k) => sum + ((norms[k] ?? 0) / total) * (weights[i] ?? 0), 0));
    for (const [i, weight] of adapterOf(after).entries()) expect(Math.abs(weight - (mean[i] ?? Number.NaN))).toBeLessThan(ROUNDING);
    // What lies above a client's rank is zero in its padded adapter.
    const [ana] = trained;
    if (ana === undefined) throw new Error("ana trained");
    const own = { half: "both", ranks: [1, 1, 1] } as const;
    expect(scatterSlice(new Float32Array(numParameters), loraLayout, own, gatherSlice(ana, loraLayout, own))).toEqual(ana);
  });

  test("a client cuts its rank when its last directions shrank, answers in the new rank and is asked in it from then on", () => {
    const strategy = createStrategy("hetlora", { pruneFactor: 0.7 });
    const { clientSide } = strategy;
    const state = laterState("hetlora", 1, { pruneLambda: 0 });
    const [task] = strategy.configure(state, [{ clientId: "cem", numExamples: 5 }], loraContext(2));
    if (task?.slice === undefined || clientSide === undefined) throw new Error("there is a task");
    const startWeights = scatterSlice(new Float32Array(numParameters), loraLayout, task.slice, task.weights);
    const finish = (factor: number) =>
      clientSide.finish(task, { startWeights, trainedWeights: startWeights.map((weight) => factor * weight), numSteps: 1, layout: loraLayout }, undefined);
    expect(finish(1.1).answerSlice).toBeUndefined();
    // floor(0.7 * 3)
    const answerSlice = { half: "both", ranks: [2, 2, 2] } as const;
    expect(finish(0.9).answerSlice).toEqual(answerSlice);
    const update = new Float32Array(sliceLength(loraLayout, answerSlice));
    const [answer] = runLoraRound(strategy, state).updates;
    if (answer === undefined) throw new Error("there is an answer");
    const after = strategy.aggregate(state, [{ ...answer, clientId: "cem", update, slice: answerSlice }], loraContext(2));
    const [next, other] = strategy.configure(after, ["cem", "ana"].map((clientId) => ({ clientId, numExamples: 1 })), loraContext(3));
    expect(next?.slice?.ranks).toEqual([2, 2, 2]);
    expect(other?.slice?.ranks).toEqual([3, 3, 3]);
  });

  test("the penalty's gradient agrees with differences", () => {
    const weights = Float32Array.from({ length: numParameters }, makeUniform(8));
    const tail = { start: 1, end: 3 };
    const penalty = (at: Float32Array): number =>
      adapterPairs(loraLayout).reduce((sum, pair) => {
        const { a, bt } = readProduct(at, pair);
        return sum + Math.hypot(...a.data.slice(a.cols)) * Math.hypot(...bt.data.slice(bt.cols));
      }, 0);
    const gradient = penaltyGradient(weights, loraLayout, tail, 0.25);
    for (const index of [0, 9, 20, 30, 60, numParameters - 1]) {
      const moved = (step: number) => weights.map((weight, i) => (i === index ? weight + step : weight));
      // Steps that single precision holds exactly, and a curvature of size 1: 2^-12 for the difference, 2^-24 / 2^-7 for rounding.
      const slope = (penalty(moved(2 ** -7)) - penalty(moved(-(2 ** -7)))) / 2 ** -6;
      expect(Math.abs((gradient[index] ?? Number.NaN) - 0.25 * slope)).toBeLessThan(2 ** -12);
    }
  });
});

describe("LoRA-FAIR", () => {
  test.each([0.01, 1])("the refined B is the minimum of its objective, lambda %d", (fairLambda) => {
    const { after, before, trained, updates } = runLoraRound(createStrategy("lora-fair", { fairLambda }), laterState("lora-fair", 1), 2);
    const means = denseMeans(trained);
    const mean = stateArray(before, "adapter").map((weight, i) => updates.reduce((sum, { update }, k) => sum + (SHARES[k] ?? 0) * (update[i] ?? 0), weight));
    expect(Math.max(...half(adapterOf(after), "a").map((weight, i) => Math.abs(weight - (half(mean, "a")[i] ?? 0))))).toBeLessThan(ROUNDING);
    const objective = (b: Float32Array): number => {
      const products = denseProducts(scatterSlice(adapterOf(after), loraLayout, { half: "b" }, b));
      const held = b.reduce((sum, value, i) => sum + (value - (half(mean, "b")[i] ?? 0)) ** 2, 0);
      return distance(products, means) ** 2 + fairLambda * held;
    };
    const best = half(adapterOf(after), "b");
    const least = objective(best);
    expect(least).toBeLessThan(objective(half(mean, "b")));
    // A quadratic: at its minimum the slope along any direction is zero, and the way up is the same on both sides.
    const random = makeUniform(3);
    for (let i = 0; i < 10; i++) {
      const direction = best.map(random);
      const at = (step: number) => objective(best.map((value, k) => value + step * (direction[k] ?? 0)));
      expect(at(0.25)).toBeGreaterThan(least);
      expect(Math.abs(at(0.25) - at(-0.25))).toBeLessThan(1e-4 * (at(0.25) - least) + 1e-5);
    }
  });

  test("with identical clients the adapter is theirs", () => {
    const strategy = createStrategy("lora-fair");
    const { before, updates } = runLoraRound(strategy, laterState("lora-fair", 1), 2);
    const [first] = updates;
    if (first === undefined) throw new Error("there is an update");
    const same = updates.map((update) => ({ ...update, update: first.update }));
    const after = strategy.aggregate(before, same, loraContext(2));
    const theirs = denseProducts(adapterOf(before).map((weight, i) => weight + (first.update[i] ?? 0)));
    expect(distance(denseProducts(adapterOf(after)), theirs)).toBeLessThan(2 * ROUNDING);
  });
});

describe("FedSVD", () => {
  test("A has orthonormal rows after every round, also where nothing was learned, and the product is kept", () => {
    const strategy = createStrategy("fedsvd");
    for (const size of [0, 1]) {
      const { after, trained } = runLoraRound(strategy, strategy.init(initialAdapter()), 1, size);
      expect(distance(denseProducts(adapterOf(after)), denseMeans(trained))).toBeLessThan(ROUNDING);
      for (const pair of adapterPairs(loraLayout)) {
        const { a } = readProduct(adapterOf(after), pair);
        const gram = rowProducts(a, a);
        for (let i = 0; i < 9; i++) expect(Math.abs((gram.data[i] ?? 0) - (i % 4 === 0 ? 1 : 0))).toBeLessThan(ROUNDING);
      }
    }
  });
});

test.each([
  ["fedavg", 1, numParameters, numParameters],
  ["ffa-lora", 1, numB, numB],
  ["rolora", 1, numB, numParameters],
  ["rolora", 2, numA, numParameters],
  ["fedsa-lora", 1, numA, numA],
  ["lora-fair", 1, numParameters, numParameters],
  ["fedsvd", 2, numB, numParameters],
  ["flexlora", 2, numParameters, numParameters],
])("%s in round %i: %i numbers go up and %i down per client, and every row says so in bytes", async (name, round, up, down) => {
  const trainer = new QuadraticTrainer(numParameters, () => 0, loraLayout);
  const point = Array.from({ length: numParameters }, (_, i) => (i % 7) / 4);
  const clients = ["a", "b", "c"].map((id) => makeClient(id, [pointSample(...point)]));
  const deps = makeDeps(name, { trainer, clients });
  await runServer(makeOptions({ numRounds: 2 }), deps, { kind: "weights", weights: initialAdapter() });
  const record = deps.metrics.records[round - 1];
  for (const client of record?.clients ?? []) expect([client.uploadBytes, client.downloadBytes]).toEqual([4 * up, 4 * down]);
  expect([record?.uploadBytes, record?.downloadBytes]).toEqual([3 * 4 * up, 3 * 4 * down]);
});

test.each(["flexlora", "florist", "fedsvd", "ffa-lora", "rolora"])("%s: identical clients end with the product of one", (name) => {
  const options = name === "florist" ? { energy: 1 } : {};
  const strategy = createStrategy(name, options);
  const { before, updates } = runLoraRound(strategy, laterState(name, 1, options), 2);
  const [first] = updates;
  if (first === undefined) throw new Error("there is an update");
  const many = strategy.aggregate(before, updates.map((update) => ({ ...update, update: first.update })), loraContext(2));
  const one = strategy.aggregate(before, [first], loraContext(2));
  const [left, right] = [denseProducts(adapterOf(many)), denseProducts(adapterOf(one))];
  expect(distance(left, right)).toBeLessThan(ROUNDING);
  expect(distance(left, left.map((matrix) => denseSum([matrix], [0])))).toBeGreaterThan(1);
});
