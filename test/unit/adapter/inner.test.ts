/** Goal: inner matrices between A and B mean what their file says, compared with dense products and differences. */
import { expect, test } from "vitest";
import { composeInner, innerLength, projectToInner } from "../../../src/adapter/inner.js";
import { makeMatrix, multiply, multiplyTransposed } from "../../../src/adapter/matrix.js";
import { adapterPairs, readProduct } from "../../../src/adapter/pairs.js";
import { dense, denseDistance, makeUniform } from "../../helpers/dense.js";
import { pairLayout } from "../../helpers/pair-layout.js";

const RANK = 3;
const layout = pairLayout(RANK, [
  ["blk.0.attn_q.weight", 8, 6],
  ["blk.1.attn_q.weight", 7, 9],
]);
const random = makeUniform(1);
const outer = Float32Array.from({ length: layout.numParameters }, random);
const inner = Float32Array.from({ length: innerLength(layout) }, random);

test("A and B R have the product B R A, and A keeps its bits", () => {
  expect(innerLength(layout)).toBe(2 * RANK * RANK);
  const composed = composeInner(layout, outer, inner);
  for (const [index, pair] of adapterPairs(layout).entries()) {
    const { a, bt } = readProduct(outer, pair);
    const r = makeMatrix(RANK, RANK, Float64Array.from(inner.subarray(index * RANK * RANK, (index + 1) * RANK * RANK)));
    const expected = multiplyTransposed(bt, multiply(r, a));
    // Single precision of numbers below 9.
    expect(denseDistance(dense(readProduct(composed, pair)), expected)).toBeLessThan(1e-5);
    expect(composed.subarray(pair.a.offset, pair.a.offset + RANK * pair.dIn)).toEqual(outer.subarray(pair.a.offset, pair.a.offset + RANK * pair.dIn));
  }
});

test("the projected gradient is the slope of a linear function of A and B R", () => {
  const gradient = Array.from(outer, random);
  const value = (at: Float32Array) => composeInner(layout, outer, at).reduce((sum, weight, i) => sum + weight * (gradient[i] ?? 0), 0);
  const projected = projectToInner(layout, outer, gradient);
  for (const [index, slope] of projected.entries()) {
    const [up, down] = [1, -1].map((sign) => inner.map((weight, i) => (i === index ? weight + sign : weight)));
    // Linear, so any step is exact but for single precision.
    expect(((up === undefined ? 0 : value(up)) - (down === undefined ? 0 : value(down))) / 2).toBeCloseTo(slope, 4);
  }
});
