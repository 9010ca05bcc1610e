import { describe, expect, test } from "vitest";
import { WeightedSum } from "../../../src/adapter/weighted-sum.js";
import { PythonRandom } from "../../../src/data/python-random.js";

const random = new PythonRandom(5);

describe.each([1, 2, 3, 4, 5, 8, 11])("%i terms", (numTerms) => {
  test("give the bits of adding them one after another", () => {
    const terms = Array.from({ length: numTerms }, () => ({
      weight: Math.floor(random.random() * 100),
      values: Float32Array.from({ length: 33 }, () => (random.random() - 0.5) * 10 ** Math.floor(random.random() * 12 - 6)),
    }));
    const sum = new WeightedSum();
    const expected = new Float64Array(33);
    for (const { weight, values } of terms) {
      sum.add(weight, values);
      for (const [i, value] of values.entries()) expected[i] = (expected[i] ?? 0) + weight * value;
    }
    expect(sum.sum()).toEqual(expected);
  });
});

test("the mean divides by the sum of the weights", () => {
  const sum = new WeightedSum();
  sum.add(1, Float32Array.of(2));
  sum.add(3, Float32Array.of(6));
  expect(sum.mean()).toEqual(Float64Array.of(5));
});

test.each([
  ["no term", () => new WeightedSum().mean()],
  [
    "weights that sum to zero",
    () => {
      const sum = new WeightedSum();
      sum.add(0, Float32Array.of(1));
      return sum.mean();
    },
  ],
  [
    "terms of different length",
    () => {
      const sum = new WeightedSum();
      sum.add(1, Float32Array.of(1));
      sum.add(1, Float32Array.of(1, 2));
    },
  ],
  ["a weight below 0", () => { new WeightedSum().add(-1, Float32Array.of(1)); }],
])("%s is a programmer's error", (_name, work) => {
  expect(work).toThrow();
});
