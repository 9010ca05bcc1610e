/** Measures of agreement on examples that were worked out by hand. */
import { describe, expect, test } from "vitest";
import { cohensKappa, compareRatings, judgedByBoth, meanAbsoluteDifference, quadraticWeightedKappa, spearman } from "../../../src/judge/agreement.js";
import type { Pair } from "../../../src/judge/agreement.js";

const repeat = <T>(count: number, left: T, right: T): Pair<T>[] => Array.from({ length: count }, () => [left, right] as const);

describe("Cohen's kappa", () => {
  test("20 times both yes, 15 times both no, 5 and 10 times not the same: (0.7 - 0.5) / (1 - 0.5)", () => {
    const pairs = [...repeat(20, "yes", "yes"), ...repeat(5, "yes", "no"), ...repeat(10, "no", "yes"), ...repeat(15, "no", "no")];
    expect(cohensKappa(pairs)).toBeCloseTo(0.4, 12);
  });

  test("three verdicts: 4 of 6 agree, chance gives a third", () => {
    // Both say left, right and tie twice each, so p_e = 3 (1/3)^2 = 1/3 and kappa = (2/3 - 1/3) / (2/3).
    const pairs = [...repeat(2, "left", "left"), ...repeat(1, "right", "right"), ...repeat(1, "right", "tie"), ...repeat(1, "tie", "right"), ...repeat(1, "tie", "tie")];
    expect(cohensKappa(pairs)).toBeCloseTo(0.5, 12);
  });

  test("1 when they always agree, below 0 when they never do, none when nothing can be told", () => {
    expect(cohensKappa([...repeat(3, "a", "a"), ...repeat(2, "b", "b")])).toBe(1);
    expect(cohensKappa([...repeat(1, "a", "b"), ...repeat(1, "b", "a")])).toBe(-1);
    expect(cohensKappa([])).toBeNaN();
    expect(cohensKappa(repeat(5, "a", "a"))).toBeNaN();
  });
});

describe("ratings", () => {
  test("quadratic weighted kappa: squares 0, 1, 1 against a mean of 4/3 by chance", () => {
    expect(quadraticWeightedKappa([[1, 1], [2, 3], [3, 2]])).toBeCloseTo(1 - 2 / 3 / (4 / 3), 12);
    // A miss by two counts four times as much: 4/3 against 4/3 is chance.
    expect(quadraticWeightedKappa([[1, 3], [2, 2], [3, 3]])).toBeCloseTo(0, 12);
    expect(quadraticWeightedKappa(repeat(4, 7, 7))).toBeNaN();
  });

  test("Spearman's correlation without ties is 1 - 6 sum d^2 / (n (n^2 - 1))", () => {
    expect(spearman([[1, 20], [2, 10], [3, 40], [4, 30], [5, 50]])).toBeCloseTo(1 - (6 * 4) / (5 * 24), 12);
    expect(spearman([[1, 3], [2, 2], [3, 1]])).toBeCloseTo(-1, 12);
  });

  test("with ties it is Pearson's of the mean ranks", () => {
    // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    expect(spearman([[1, 1], [2, 2], [2, 3], [3, 4]])).toBeCloseTo(4.5 / Math.sqrt(22.5), 12);
    expect(spearman([[5, 1], [5, 2]])).toBeNaN();
    expect(spearman([[5, 1]])).toBeNaN();
  });

  test("mean absolute difference, and items that one judge could not rate are left out", () => {
    expect(meanAbsoluteDifference([[1, 3], [5, 4], [2, 2]])).toBe(1);
    expect(judgedByBoth([1, null, 3, 4], [2, 2, null, 5])).toEqual([[1, 2], [4, 5]]);
    expect(compareRatings([1, null, 5, 2], [3, 9, 4, 2])).toMatchObject({ numItems: 4, numCompared: 3, meanAbsoluteDifference: 1, meanDifference: 1 / 3 });
    expect(() => judgedByBoth([1], [1, 2])).toThrow("same items");
  });
});
