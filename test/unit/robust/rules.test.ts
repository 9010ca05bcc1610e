/** The rules by name on vectors as they are: the worked case, the fewest clients, and how much of each client is in a result. */
import { describe, expect, test } from "vitest";
import { createFactorSpace } from "../../../src/robust/factor-space.js";
import { applyRule, neededUpdates, type RobustOptions, type RobustRule } from "../../../src/robust/rules.js";
import { WORKED } from "./worked-case.js";

const SPACE = createFactorSpace(WORKED.map((vector) => Float32Array.from(vector)));

function optionsOf(rule: RobustRule, rest: Partial<RobustOptions> = {}): RobustOptions {
  return { rule, medianFactor: 2, overBound: "clip", ...rest };
}

describe("the worked case", () => {
  test.each<readonly [string, RobustOptions, readonly number[]]>([
    ["median", optionsOf("median"), [1.1, 1.9]],
    ["trimmed mean", optionsOf("trimmedMean", { assumedHostile: 2 }), [1.1, 1.9]],
    ["Krum", optionsOf("krum", { assumedHostile: 2 }), [1, 2]],
    ["Multi-Krum of three", optionsOf("multiKrum", { assumedHostile: 2, numSelected: 3 }), [1, 2]],
    ["norm bound", optionsOf("normBound", { maxNorm: 3 }), [1.37392446, 0.88779701]],
    ["norm bound that rejects", optionsOf("normBound", { maxNorm: 3, overBound: "reject" }), [1, 2]],
  ])("%s", (_name, options, expected) => {
    const { change } = applyRule(options, SPACE);
    // The points are rounded to single precision, 6e-8 of numbers up to 60.
    for (const [i, value] of change.entries()) expect(Math.abs(value - (expected[i] ?? Number.NaN))).toBeLessThan(1e-6);
  });

  test("tells what each client counted and by what it was judged", () => {
    const krum = applyRule(optionsOf("multiKrum", { assumedHostile: 2, numSelected: 3 }), SPACE);
    expect(krum.shares).toEqual([1 / 3, 0, 0, 1 / 3, 1 / 3, 0, 0]);
    const rejected = applyRule(optionsOf("normBound", { overBound: "reject" }), SPACE);
    expect(rejected.shares).toEqual([0.2, 0.2, 0.2, 0.2, 0.2, 0, 0]);
    // Twice the fourth of the norms: sqrt(1.2^2 + 1.8^2), sqrt(5), sqrt(0.9^2 + 1.9^2), ... in order 2.102, 2.163, 2.236, 2.341, 2.371.
    expect(rejected.bound).toBeCloseTo(2 * Math.hypot(0.8, 2.2), 6);
    const median = applyRule(optionsOf("median"), SPACE);
    expect(median.shares.every((share) => share === undefined)).toBe(true);
    expect(median.scores[5]).toBeCloseTo(Math.hypot(48.9, 51.9), 4);
  });
});

test("Bulyan by hand", () => {
  // Chosen are 2 (scores 30 15 10 10 15 30), 3 (of 0 1 3 4 5: 26 14 9 11 21), 1 (17 10 10 17), 4 (16 1 1) and 0 (25 25); the three values nearest to 2 are 1, 2 and 3.
  const space = createFactorSpace([0, 1, 2, 3, 4, 5, 100].map((value) => Float32Array.of(value)));
  const { change, shares } = applyRule(optionsOf("bulyan", { assumedHostile: 1 }), space);
  expect([...change]).toEqual([2]);
  expect(shares).toEqual([undefined, undefined, undefined, undefined, undefined, 0, 0]);
});

test("with fewer clients than a rule needs there is no result", () => {
  const needed = (rule: RobustRule, rest: Partial<RobustOptions>) => neededUpdates(optionsOf(rule, rest));
  expect(needed("krum", { assumedHostile: 2 })).toBe(7);
  expect(needed("multiKrum", { assumedHostile: 2, numSelected: 9 })).toBe(13);
  expect(needed("bulyan", { assumedHostile: 2 })).toBe(11);
  expect(needed("trimmedMean", { assumedHostile: 2 })).toBe(5);
  expect(needed("median", {})).toBe(1);
  expect(() => applyRule(optionsOf("krum", { assumedHostile: 3 }), SPACE)).toThrow(/at least 9 updates for 3 hostile ones, received 7/u);
  expect(() => applyRule(optionsOf("bulyan", { assumedHostile: 2 }), SPACE)).toThrow(/at least 11 updates/u);
});

test("a bound that nobody keeps leaves no change, and f of n shortened updates move the mean by at most 2 f / n bounds", () => {
  const none = applyRule(optionsOf("normBound", { maxNorm: 1e-3, overBound: "reject" }), SPACE);
  expect([...none.change]).toEqual([0, 0]);
  const honest = [0, 1, 2, 3, 4].map((k) => Float32Array.of(Math.cos(k), Math.sin(k)));
  const options = optionsOf("normBound", { maxNorm: 1.5 });
  const clean = applyRule(options, createFactorSpace([...honest, ...honest.slice(0, 2)])).change;
  const attacked = applyRule(options, createFactorSpace([...honest, Float32Array.of(-1e30, 0), Float32Array.of(0, -3e38)])).change;
  expect(Math.hypot((clean[0] ?? 0) - (attacked[0] ?? 0), (clean[1] ?? 0) - (attacked[1] ?? 0))).toBeLessThanOrEqual((2 * 2 * 1.5) / 7);
});
