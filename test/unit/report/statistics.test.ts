/** Statistics against closed forms, published tables and cases that can be worked out by hand. */
import { describe, expect, test } from "vitest";
import { estimateMean, studentCdf, studentQuantile, testPairs } from "../../../src/report/study/statistics.js";

describe("Student's t distribution", () => {
  test("with one degree of freedom it is Cauchy's, with two it has a closed form", () => {
    for (const t of [0, 0.1, 1, 3, 40]) {
      // 1e-13: the continued fraction is summed to 1e-15, its factor has a few rounding errors.
      expect(studentCdf(t, 1)).toBeCloseTo(0.5 + Math.atan(t) / Math.PI, 13);
      expect(studentCdf(t, 2)).toBeCloseTo(0.5 + t / (2 * Math.sqrt(2 + t * t)), 13);
    }
  });

  test("its 97.5 % points are those of printed tables", () => {
    const table = { 1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 19: 2.093, 100: 1.984, 100_000: 1.96 };
    for (const [degrees, point] of Object.entries(table)) expect(studentQuantile(0.975, Number(degrees))).toBeCloseTo(point, 3);
  });
});

describe("the interval of a mean", () => {
  test("is the mean plus and minus t s / sqrt(n)", () => {
    // 1, 2, 3: mean 2, s = 1, t(2) = 4.30265.
    const { mean, low, high, count } = estimateMean([1, 2, 3]) ?? {};
    expect([mean, count]).toEqual([2, 3]);
    expect(low).toBeCloseTo(2 - 4.302_652_73 / Math.sqrt(3), 7);
    expect(high).toBeCloseTo(2 + 4.302_652_73 / Math.sqrt(3), 7);
  });

  test("has no ends for one value and no width for equal ones", () => {
    expect(estimateMean([0.1])).toEqual({ count: 1, mean: 0.1, min: 0.1, max: 0.1 });
    expect(estimateMean([0.1, 0.1, 0.1])).toEqual({ count: 3, mean: 0.1, low: 0.1, high: 0.1, min: 0.1, max: 0.1 });
    expect(estimateMean([])).toBeUndefined();
  });
});

describe("a paired test", () => {
  test("gives the p-value of t, that of all signs, and the corrected effect", () => {
    // Differences 1, 2, 3: t = 2 sqrt(3), P(|T(2)| > t) = 1 - t / sqrt(2 + t^2); only +++ and --- of 8 patterns are as far from 0.
    const result = testPairs([1, 2, 3]);
    const t = 2 * Math.sqrt(3);
    expect(result?.pValue).toBeCloseTo(1 - t / Math.sqrt(2 + t * t), 12);
    expect(result?.permutationPValue).toBe(2 / 8);
    // J(2) = Gamma(1) / Gamma(1/2) = 1 / sqrt(pi).
    expect(result?.effectSize).toBeCloseTo(2 / Math.sqrt(Math.PI), 12);
  });

  test("counts signs that give the same sum as well", () => {
    // |sum| = 2 of the patterns of 1, 2, 3: 0 (2), 2 (2), 4 (2), 6 (2), so 6 of 8 are at least 2.
    expect(testPairs([1, -2, 3])?.permutationPValue).toBe(6 / 8);
  });

  test("draws signs where there are too many pairs for all of them, the same ones every time", () => {
    const differences = Array.from({ length: 30 }, (_, index) => Math.sin(index) + 0.3);
    const [first, second] = [testPairs(differences), testPairs(differences)];
    expect(first).toEqual(second);
    // Both tests are about the same thing: within three standard errors of 20,000 draws and the difference of the two null distributions.
    expect(Math.abs((first?.permutationPValue ?? 1) - (first?.pValue ?? 0))).toBeLessThan(0.02);
  });

  test("is refused where it would say nothing", () => {
    expect(testPairs([0.5, 0.7])).toMatchObject({ refused: "2 of at least 3 pairs", difference: { count: 2 } });
    expect(testPairs([0.5, 0.7])).not.toHaveProperty("pValue");
    expect(testPairs([0, 0, 0])?.refused).toBe("no difference in any pair");
    expect(testPairs([0.1, 0.1, 0.1])?.refused).toBe("the same difference in every pair");
    expect(testPairs([])).toBeUndefined();
  });
});
