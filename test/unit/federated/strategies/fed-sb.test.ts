/**
 * Goal: Fed-SB's rounds compute the equations of the file's head, compared with dense matrices, and send what it says. Products of
 * single-precision factors of size 1 and rank 3 are off by some units of 2^-24 times 3.
 */
import { expect, test } from "vitest";
import { composeInner, innerLength } from "../../../../src/adapter/inner.js";
import { adapterPairs, readProduct } from "../../../../src/adapter/pairs.js";
import { rowProducts } from "../../../../src/adapter/matrix.js";
import type { ClientUpdate, NamedState } from "../../../../src/federated/protocol.js";
import { createStrategy } from "../../../../src/federated/strategies/registry.js";
import { stateArray } from "../../../../src/federated/strategy.js";
import { trainedAdapter } from "../../../../src/federated/trained-adapter.js";
import { downloadBytes, expectedUploadBytes, uploadBytes } from "../../../../src/federated/traffic.js";
import { makeUpdate } from "../../../helpers/client-update.js";
import { denseDistance, denseNorm, makeUniform } from "../../../helpers/dense.js";
import { adapterOf, denseMeans, denseProducts, initialAdapter, loraContext, loraLayout, SIZES } from "../../../helpers/lora-round.js";

const ROUNDING = 3e-6;
const strategy = createStrategy("fed-sb");
const numInner = innerLength(loraLayout);

/** One round of the named clients, who answer with random changes. */
function runRound(before: NamedState, round: number, names = [...SIZES.keys()]) {
  const members = names.map((clientId) => ({ clientId, numExamples: SIZES.get(clientId) ?? 0 }));
  const tasks = strategy.configure(before, members, loraContext(round));
  const updates = tasks.map(({ clientId, numExamples, outer }, k): ClientUpdate => {
    const random = makeUniform(100 * round + k);
    return makeUpdate(clientId, numExamples, Array.from({ length: outer === undefined ? loraLayout.numParameters : numInner }, random));
  });
  const total = members.reduce((sum, { numExamples }) => sum + numExamples, 0);
  return { tasks, updates, after: strategy.aggregate(before, updates, loraContext(round)), shares: members.map(({ numExamples }) => numExamples / total) };
}

test("round 1 is LoRA's, from an adapter that all have, and gives the nearest product of the rank of the mean", () => {
  const start = strategy.init(initialAdapter());
  const { tasks, updates, after, shares } = runRound(start, 1);
  for (const task of tasks) {
    expect([downloadBytes(task), expectedUploadBytes(task, loraLayout)]).toEqual([0, 4 * loraLayout.numParameters]);
    expect(task.known).toEqual(initialAdapter());
  }
  const means = denseMeans(updates.map((update) => trainedAdapter(adapterOf(start), update, loraLayout)), shares);
  const total = means.reduce((sum, matrix) => sum + denseNorm(matrix) ** 2, 0);
  const off = denseProducts(adapterOf(after)).reduce((sum, matrix, i) => sum + denseDistance(matrix, means[i] ?? matrix) ** 2, 0);
  const { discarded_energy: discarded = Number.NaN } = strategy.measures?.(after) ?? {};
  expect(Math.abs(off / total - discarded)).toBeLessThan(1e-6);
  expect(discarded).toBeGreaterThan(0.01);
});

test("A and B have orthonormal directions, also where the mean has none", () => {
  // Nobody trained anything, and B was zero.
  const start = strategy.init(initialAdapter());
  const idle = [makeUpdate("ana", 1, new Array<number>(loraLayout.numParameters).fill(0))];
  for (const state of [runRound(start, 1).after, strategy.aggregate(start, idle, loraContext(1))]) {
    for (const pair of adapterPairs(loraLayout)) {
      const { a, bt } = readProduct(stateArray(state, "outer"), pair);
      for (const rows of [rowProducts(a, a), rowProducts(bt, bt)])
        rows.data.forEach((value, i) => { expect(Math.abs(value - (i % (pair.rank + 1) === 0 ? 1 : 0))).toBeLessThan(1e-6); });
    }
  }
});

test("later rounds train, send and average the inner matrices alone, exactly, and the outer factors keep their bits", () => {
  let state = runRound(strategy.init(initialAdapter()), 1).after;
  const outer = stateArray(state, "outer");
  for (const round of [2, 3]) {
    const { tasks, updates, after, shares } = runRound(state, round);
    const inner = stateArray(state, "inner");
    expect(tasks.map(({ weights }) => weights)).toEqual(tasks.map(() => inner));
    expect(updates.map(uploadBytes)).toEqual(tasks.map(() => 4 * numInner));
    expect(tasks.map((task) => expectedUploadBytes(task, loraLayout))).toEqual(tasks.map(() => 4 * numInner));
    const trained = updates.map(({ update }) => composeInner(loraLayout, outer, inner.map((weight, i) => weight + (update[i] ?? Number.NaN))));
    const means = denseMeans(trained, shares);
    for (const [index, matrix] of denseProducts(adapterOf(after)).entries()) expect(denseDistance(matrix, means[index] ?? matrix)).toBeLessThan(ROUNDING);
    expect(stateArray(after, "outer")).toEqual(outer);
    state = after;
  }
});

test("a client gets the outer factors once, whenever it comes", () => {
  const { tasks, after } = runRound(runRound(strategy.init(initialAdapter()), 1).after, 2, ["ana"]);
  const whole = 4 * loraLayout.numParameters;
  expect(tasks.map(downloadBytes)).toEqual([whole + 4 * numInner]);
  expect(runRound(after, 3).tasks.map(downloadBytes)).toEqual([4 * numInner, whole + 4 * numInner, whole + 4 * numInner]);
});
