/** Rules by coordinate: against numbers from hand, a naive version and the promise that f hostile clients cannot move a coordinate out of the honest range. */
import { describe, expect, test } from "vitest";
import { byCoordinate, meanNearMedian, median, trimmedMean, type CoordinateRule } from "../../../src/robust/coordinates.js";
import { RandomNumbers } from "../../helpers/random-numbers.js";
import { permuted, WORKED } from "./worked-case.js";

describe("the worked case", () => {
  test.each<readonly [string, CoordinateRule, readonly number[]]>([
    ["median", median, [1.1, 1.9]],
    ["trimmed mean of 2", trimmedMean(2), [1.1, 1.9]],
    ["mean without trimming", trimmedMean(0), [115 / 7, -80 / 7]],
    // Nearest to 1.1: 1.1, 1.2 and 1 (as far as 1.2); nearest to 1.9: 1.9, 2 and 1.8.
    ["mean of the 3 nearest to the median", meanNearMedian(3), [1.1, 1.9]],
  ])("%s", (_name, rule, expected) => {
    for (const [i, value] of byCoordinate(WORKED, rule).entries()) expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 12);
  });

  test("an even number of clients has the mean of both middle values", () => {
    expect([...byCoordinate([4, 1, 3, 100].map((value) => Float32Array.of(value)), median)]).toEqual([3.5]);
  });

  test("of two values as far from the median the lower one stays", () => {
    expect([...byCoordinate([2, 4, 6].map((value) => Float32Array.of(value)), meanNearMedian(2))]).toEqual([3]);
  });
});

/** The rules as their definitions say, without sorting in place or windows. */
const naive = {
  median: (values: number[]) => {
    const sorted = values.toSorted((a, b) => a - b);
    return sorted.length % 2 === 1 ? (sorted[(sorted.length - 1) / 2] ?? 0) : ((sorted[sorted.length / 2 - 1] ?? 0) + (sorted[sorted.length / 2] ?? 0)) / 2;
  },
  trimmed: (values: number[], count: number) => mean(values.toSorted((a, b) => a - b).slice(count, values.length - count)),
  near: (values: number[], count: number) => {
    const middle = naive.median(values);
    return mean(values.toSorted((a, b) => Math.abs(a - middle) - Math.abs(b - middle) || a - b).slice(0, count));
  },
};

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

test("agree with the definitions on random cohorts of all sizes, in every order of the clients with the same bits", () => {
  const random = new RandomNumbers(3);
  for (let n = 1; n <= 40; n++) {
    const vectors = Array.from({ length: n }, () => Float32Array.from({ length: 5 }, () => random.normal()));
    const numTrimmed = Math.floor((n - 1) / 2);
    const count = 1 + Math.floor(n / 3);
    const order = random.permutation(n);
    for (const [rule, plain] of [
      [median, naive.median],
      [trimmedMean(numTrimmed), (values: number[]) => naive.trimmed(values, numTrimmed)],
      [meanNearMedian(count), (values: number[]) => naive.near(values, count)],
    ] as const) {
      const result = byCoordinate(vectors, rule);
      // Sums of at most 40 numbers of size 1 in another order.
      for (const [i, value] of result.entries()) expect(Math.abs(value - plain(vectors.map((vector) => vector[i] ?? 0)))).toBeLessThan(1e-14);
      expect(byCoordinate(permuted(vectors, order), rule)).toEqual(result);
    }
  }
});

test("f hostile clients of 2f + 1 leave every coordinate within the honest values, whatever they send; one more does not", () => {
  const random = new RandomNumbers(4);
  for (const f of [1, 2, 5]) {
    const honest = Array.from({ length: f + 1 }, () => Float32Array.from({ length: 8 }, () => random.normal()));
    for (const size of [1, -1e3, 3e38]) {
      const hostile = Array.from({ length: f }, () => new Float32Array(8).fill(size));
      for (const rule of [median, trimmedMean(f)]) {
        for (const [i, value] of byCoordinate([...hostile, ...honest], rule).entries()) {
          const values = honest.map((vector) => vector[i] ?? 0);
          expect(value).toBeGreaterThanOrEqual(Math.min(...values));
          expect(value).toBeLessThanOrEqual(Math.max(...values));
        }
      }
    }
    const many = Array.from({ length: f + 2 }, () => new Float32Array(8).fill(1e9));
    expect(byCoordinate([...many, ...honest], median)[0]).toBeGreaterThan(1e8);
  }
});

test("numbers that are not finite, other lengths and no clients are refused", () => {
  expect(() => byCoordinate([Float32Array.of(1, 2), Float32Array.of(1, Number.NaN)], median)).toThrow(/finite numbers, received NaN at index 1/u);
  expect(() => byCoordinate([Float64Array.of(Number.POSITIVE_INFINITY)], median)).toThrow(/received Infinity at index 0/u);
  expect(() => byCoordinate([Float32Array.of(1, 2), Float32Array.of(1)], median)).toThrow(/2 numbers like the first, received 1/u);
  expect(() => byCoordinate([], median)).toThrow(/at least one update/u);
});
