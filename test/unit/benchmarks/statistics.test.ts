/** Intervals, tests and measures of spread against values worked out by hand, and the intervals' coverage by simulation. */
import { describe, expect, test } from "vitest";
import { bootstrapInterval, meanOfStrata } from "../../../src/benchmarks/bootstrap.js";
import { comparePairs, holmAdjusted, signFlipTest } from "../../../src/benchmarks/compare.js";
import { fairnessOf } from "../../../src/benchmarks/fairness.js";
import { createWordStream } from "../../../src/util/random.js";

const plain = (values: readonly number[]) => values.map((value) => ({ value, weight: 1 }));

describe("stream of words", () => {
  test("is a function of both halves of the seed and uniform over bits", () => {
    const words = (seed: number) => Array.from({ length: 4 }, createWordStream(seed));
    expect(words(7)).toEqual(words(7));
    expect(words(7)).not.toEqual(words(8));
    expect(words(7)).not.toEqual(words(7 + 2 ** 32));
    const next = createWordStream(0);
    const counts = new Array<number>(32).fill(0);
    for (let draw = 0; draw < 20_000; draw++) {
      const word = next();
      for (let bit = 0; bit < 32; bit++) counts[bit] = (counts[bit] ?? 0) + ((word >>> bit) & 1);
    }
    // Standard deviation of a bit's count: sqrt(20000) / 2 = 71; five of them.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(355);
  });
});

describe("bootstrap interval", () => {
  test("of eight items with four ones is that of a binomial distribution", () => {
    // Resampled sums have Binomial(8, 1/2): P(<= 0) = 0.004, P(<= 1) = 0.035, so the quantiles are 1 and 7.
    expect(bootstrapInterval([plain([0, 1, 0, 1, 0, 1, 0, 1])], { seed: 0 })).toEqual({ low: 1 / 8, high: 7 / 8 });
  });

  test("draws within strata, so constant strata of different levels have no spread", () => {
    const strata = [plain([1, 1, 1]), plain([0, 0])];
    expect(meanOfStrata(strata)).toBe(0.5);
    expect(bootstrapInterval(strata, { seed: 1 })).toEqual({ low: 0.5, high: 0.5 });
    const mixed = bootstrapInterval([strata.flat()], { seed: 1 });
    expect(mixed?.low).toBeLessThan(0.5);
  });

  test("weights count in the mean of every resample", () => {
    const values = [{ value: 1, weight: 3 }, { value: 0, weight: 1 }];
    expect(meanOfStrata([values])).toBe(0.75);
    expect(bootstrapInterval([values], { seed: 2 })).toEqual({ low: 0, high: 1 });
    const heavy = bootstrapInterval([[...plain([0, 0, 0, 0]), { value: 1, weight: 1000 }]], { seed: 3 });
    expect(heavy).toMatchObject({ low: 0 });
    expect(heavy?.high).toBeGreaterThan(0.99);
  });

  test("one item has none, and the same seed gives the same", () => {
    expect(bootstrapInterval([plain([1])], { seed: 0 })).toBeUndefined();
    expect(bootstrapInterval([plain([0, 1, 1]), plain([1])], { seed: 0 })).toBeUndefined();
    const values = [plain([0.3, 0.1, 0.9, 0.5, 0.2])];
    expect(bootstrapInterval(values, { seed: 4 })).toEqual(bootstrapInterval(values, { seed: 4 }));
    expect(bootstrapInterval(values, { seed: 4 })).not.toEqual(bootstrapInterval(values, { seed: 5 }));
  });

  test("covers the true mean in about 95 of 100 samples", () => {
    const next = createWordStream(11);
    const uniform = () => next() / 2 ** 32;
    const numSamples = 300;
    let numCovered = 0;
    for (let sample = 0; sample < numSamples; sample++) {
      // Two strata of 40 with means 0.5 and 1/3, whose mean is 5/12.
      const strata = [Array.from({ length: 40 }, uniform), Array.from({ length: 40 }, () => uniform() ** 2)].map(plain);
      const interval = bootstrapInterval(strata, { seed: sample, numResamples: 500 });
      if (interval !== undefined && interval.low <= 5 / 12 && 5 / 12 <= interval.high) numCovered += 1;
    }
    // The percentile bootstrap falls about a point short at 40 items; four standard errors of 0.013 around 0.945.
    expect(numCovered / numSamples).toBeGreaterThan(0.89);
    expect(numCovered / numSamples).toBeLessThan(0.995);
  });
});

describe("comparison of pairs", () => {
  test("counts wins by the measure's direction", () => {
    const pairs = [[3, 1], [2, 2], [5, 6]].map(([left = 0, right = 0]) => ({ left, right, weight: 1 }));
    expect(comparePairs([pairs], { seed: 0, higherIsBetter: true })).toMatchObject({ numItems: 3, difference: 1 / 3, wins: 1, ties: 1, losses: 1 });
    expect(comparePairs([pairs], { seed: 0, higherIsBetter: false })).toMatchObject({ wins: 1, losses: 1 });
    const better = [[1, 2], [1, 3]].map(([left = 0, right = 0]) => ({ left, right, weight: 1 }));
    expect(comparePairs([better], { seed: 0, higherIsBetter: false })).toMatchObject({ wins: 2, losses: 0, difference: -1.5, pValue: 0.5, isExact: true });
  });

  test.each([
    [[1, 1, 1, 1, 1], 2 / 32],
    [[2, 1], 2 / 4],
    [[1, 1, -1], 1],
    [[3, -1, 1], 6 / 8],
    [[3, 1, 1], 2 / 8],
    [[0.1, 0.2, -0.3], 1],
    [[], 1],
  ])("flipping the signs of %j", (terms, pValue) => {
    expect(signFlipTest(Float64Array.from(terms), 0)).toEqual({ pValue, isExact: true });
  });

  test("drawn patterns agree with all patterns", () => {
    const next = createWordStream(5);
    const terms = Float64Array.from({ length: 21 }, () => next() / 2 ** 32 - 0.35);
    const observed = Math.abs(terms.reduce((sum, term) => sum + term, 0));
    let numExtreme = 0;
    for (let pattern = 0; pattern < 2 ** 21; pattern++) {
      let sum = 0;
      for (let index = 0; index < 21; index++) sum += (pattern >>> index) & 1 ? (terms[index] ?? 0) : -(terms[index] ?? 0);
      if (Math.abs(sum) >= observed) numExtreme += 1;
    }
    const exact = numExtreme / 2 ** 21;
    const { pValue, isExact } = signFlipTest(terms, 3);
    expect(isExact).toBe(false);
    // Four standard errors of 10,000 draws.
    expect(Math.abs(pValue - exact)).toBeLessThan(4 * Math.sqrt((exact * (1 - exact)) / 10_000) + 1e-4);
  });

  test("holds its level where both are alike", () => {
    const next = createWordStream(9);
    let numSmall = 0;
    for (let trial = 0; trial < 400; trial++) {
      const terms = Float64Array.from({ length: 12 }, () => next() / 2 ** 31 - 1);
      if (signFlipTest(terms, trial).pValue <= 0.05) numSmall += 1;
    }
    // 20 expected, standard deviation 4.4.
    expect(numSmall).toBeLessThan(38);
    expect(numSmall).toBeGreaterThan(5);
  });

  test("Holm's correction steps down and never falls", () => {
    const adjusted = holmAdjusted([0.01, 0.04, 0.03]);
    for (const [index, expected] of [0.03, 0.06, 0.06].entries()) expect(adjusted[index]).toBeCloseTo(expected, 12);
    expect(holmAdjusted([0.6, 0.7])).toEqual([1, 1]);
    expect(holmAdjusted([])).toEqual([]);
  });
});

describe("fairness", () => {
  test("of equal clients and of one who has all", () => {
    expect(fairnessOf([2, 2, 2, 2], true)).toMatchObject({ mean: 2, standardDeviation: 0, variation: 0, gini: 0, jain: 1, worstTenth: 2 });
    const one = fairnessOf([0, 0, 0, 1], true);
    expect(one).toMatchObject({ numClients: 4, mean: 0.25, gini: 0.75, jain: 0.25, worstTenth: 0 });
    expect(one?.standardDeviation).toBeCloseTo(Math.sqrt(3) / 4, 12);
  });

  test("the worst are the highest where lower is better", () => {
    const values = Array.from({ length: 20 }, (_, index) => index + 1);
    expect(fairnessOf(values, true)?.worstTenth).toBe(1.5);
    expect(fairnessOf(values, false)?.worstTenth).toBe(19.5);
    // 1..n has the Gini coefficient (n - 1) / (3 n).
    expect(fairnessOf(values, true)?.gini).toBeCloseTo(19 / 60, 12);
  });

  test("shares say nothing about negative numbers", () => {
    expect(fairnessOf([-1, 1], true)).toEqual({ numClients: 2, mean: 0, worstTenth: -1, standardDeviation: 1 });
    expect(fairnessOf([], true)).toBeUndefined();
  });
});
