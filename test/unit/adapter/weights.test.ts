import { describe, expect, test } from "vitest";
import {
  addUpdate,
  checkSameShape,
  findNonFinite,
  subtractWeights,
  weightedMean,
  weightsNorm,
  type WeightedTerm,
} from "../../../src/adapter/weights.js";

const term = (clientId: string, weight: number, ...values: number[]): WeightedTerm => ({
  clientId,
  weight,
  values: Float32Array.from(values),
});

describe("weighted mean", () => {
  test("divides the weighted sum by the sum of the weights", () => {
    // (3 * 1 + 1 * 5) / 4 = 2, (3 * -2 + 1 * 2) / 4 = -1
    expect([...weightedMean([term("a", 3, 1, -2), term("b", 1, 5, 2)])]).toEqual([2, -1]);
  });

  test("does not depend on the order of the terms, bit for bit", () => {
    // With these sizes double-precision sums differ by order: 1e17 + 1 - 1e17 is 0 or 1.
    const terms = [term("a", 1, 1e17), term("b", 1, 1), term("c", 1, -1e17), term("d", 1, 0.1)];
    const reference = weightedMean(terms);
    const orders = [
      [3, 2, 1, 0],
      [1, 0, 3, 2],
      [2, 0, 3, 1],
    ];
    for (const order of orders) {
      expect(weightedMean(order.flatMap((index) => terms.slice(index, index + 1)))).toEqual(reference);
    }
  });

  test("of equal terms with whole-number weights is exactly the term", () => {
    const third = Math.fround(1 / 3);
    expect([...weightedMean([term("a", 7, third), term("b", 5016, third), term("c", 139, third)])]).toEqual([third]);
  });

  test("ignores a term of weight zero and refuses weights that sum to zero", () => {
    expect([...weightedMean([term("a", 0, 100), term("b", 2, 3)])]).toEqual([3]);
    expect(() => weightedMean([term("a", 0, 1)])).toThrow("assertion failed");
    expect(() => weightedMean([])).toThrow("assertion failed");
  });

  test("refuses terms of unequal length and weights that are not finite", () => {
    expect(() => weightedMean([term("a", 1, 1), term("b", 1, 1, 2)])).toThrow("assertion failed");
    expect(() => weightedMean([term("a", Number.NaN, 1)])).toThrow("assertion failed");
  });
});

describe("element-wise arithmetic", () => {
  test("subtraction and addition leave their arguments as they were", () => {
    const start = Float32Array.of(1, 2);
    const trained = Float32Array.of(1.5, 1);
    const update = subtractWeights(trained, start);
    expect([...update]).toEqual([0.5, -1]);
    expect([...addUpdate(start, update)]).toEqual([1.5, 1]);
    expect([...start, ...trained]).toEqual([1, 2, 1.5, 1]);
  });

  test("an update in double precision is rounded once, after the sum", () => {
    // 1 + 2^-24 lies half-way between two numbers and goes down to 1; the 2^-52 that decides would be lost if the
    // update were rounded to single precision before.
    expect([...addUpdate(Float32Array.of(1), Float64Array.of(2 ** -24 + 2 ** -52))]).toEqual([1 + 2 ** -23]);
  });

  test("the norm of 3 and 4 is 5, and that of the largest numbers is finite", () => {
    expect(weightsNorm(Float32Array.of(3, 4))).toBe(5);
    const largest = 3.4028234663852886e38;
    expect(weightsNorm(Float32Array.of(largest, largest, largest, largest))).toBe(2 * largest);
  });

  test("a NaN or an infinity is found at its place", () => {
    expect(findNonFinite(Float32Array.of(1, 2))).toBeUndefined();
    expect(findNonFinite(Float32Array.of(Number.NaN))).toBe(0);
    expect(findNonFinite(Float32Array.of(0, Number.NEGATIVE_INFINITY))).toBe(1);
  });

  test("another number of weights is an ADAPTER_INVALID that says which", () => {
    expect(() => {
      checkSameShape(new Float32Array(2), 3, "initial weights");
    }).toThrow("initial weights: expected 3 adapter weights, received 2");
  });
});
