/** Goal: the meter's relative error equals the one of dense matrices, over all pairs and over each layer. */
import { expect, test } from "vitest";
import { measureAggregationError } from "../../../src/adapter/aggregation-error.js";
import type { AdapterLayout } from "../../../src/adapter/layout.js";
import { adapterPairs, readProduct } from "../../../src/adapter/pairs.js";
import { dense, denseDistance, denseNorm, denseSum, makeUniform } from "../../helpers/dense.js";
import { pairLayout } from "../../helpers/pair-layout.js";

const layout: AdapterLayout = pairLayout(3, [
  ["blk.0.attn_q.weight", 7, 5],
  ["blk.0.attn_v.weight", 7, 4],
  ["blk.1.attn_q.weight", 6, 9],
  ["output.weight", 5, 5],
]);

const random = makeUniform(1);
const randomWeights = () => Float32Array.from({ length: layout.numParameters }, random);

/** The same statement with dense matrices in the loops of the definition. */
function naive(clients: readonly { weights: Float32Array; share: number }[], aggregated: Float32Array, layer?: number): number {
  let [error, ideal] = [0, 0];
  for (const pair of adapterPairs(layout)) {
    if (layer !== undefined && pair.layer !== layer) continue;
    const mean = denseSum(clients.map(({ weights }) => dense(readProduct(weights, pair))), clients.map(({ share }) => share));
    error += denseDistance(mean, dense(readProduct(aggregated, pair))) ** 2;
    ideal += denseNorm(mean) ** 2;
  }
  return Math.sqrt(error / ideal);
}

test("random adapters: the whole, each layer, and nothing for weights outside of layers alone", () => {
  const clients = [0.5, 0.3, 0.2].map((share) => ({ weights: randomWeights(), share }));
  const aggregated = randomWeights();
  const rows = measureAggregationError(layout, clients, aggregated);
  expect(rows.map(({ measure, layer }) => [measure, layer])).toEqual([undefined, 0, 1].map((layer) => ["aggregation_error", layer]));
  for (const { layer, value } of rows) expect(value / naive(clients, aggregated, layer)).toBeCloseTo(1, 12);
});

test("separate means have the error of the factors' covariance; clients that agree, or a sole one, have none", () => {
  const [one, two] = [randomWeights(), randomWeights()];
  const mean = one.map((value, i) => (value + (two[i] ?? 0)) / 2);
  const half = (weights: Float32Array) => ({ weights, share: 0.5 });
  const [overall] = measureAggregationError(layout, [half(one), half(two)], mean);
  // sum p_k (B_k - B) (A_k - A), here the quarter of the product of the differences.
  const difference = one.map((value, i) => value - (two[i] ?? 0));
  const zero = new Float32Array(layout.numParameters);
  const covariance = naive([{ weights: difference, share: 0.25 }], zero) * squareRootOfIdeal([{ weights: difference, share: 0.25 }]);
  expect((overall?.value ?? 0) / (covariance / squareRootOfIdeal([half(one), half(two)]))).toBeCloseTo(1, 6);
  // Rounding of squares: 2^-53 of some hundred terms, and its root.
  for (const { value } of measureAggregationError(layout, [half(one), half(one)], one)) expect(value).toBeLessThan(1e-7);
  for (const { value } of measureAggregationError(layout, [{ weights: one, share: 1 }], one)) expect(value).toBeLessThan(1e-7);
});

function squareRootOfIdeal(clients: readonly { weights: Float32Array; share: number }[]): number {
  const squares = adapterPairs(layout).map(
    (pair) => denseNorm(denseSum(clients.map(({ weights }) => dense(readProduct(weights, pair))), clients.map(({ share }) => share))) ** 2,
  );
  return Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
}

test("an untouched layer and an adapter that is zero have no relative error", () => {
  const weights = randomWeights();
  weights.fill(0, adapterPairs(layout)[0]?.a.offset, adapterPairs(layout)[2]?.a.offset);
  const rows = measureAggregationError(layout, [{ weights, share: 1 }], weights);
  expect(rows.map(({ layer }) => layer)).toEqual([undefined, 1]);
  const zero = new Float32Array(layout.numParameters);
  expect(measureAggregationError(layout, [{ weights: zero, share: 1 }], zero)).toEqual([]);
});
