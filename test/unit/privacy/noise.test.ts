/** The noise and the grid it is added on. Statistics use fixed secrets, so they pass or fail for good. */
import { describe, expect, test } from "vitest";
import { discreteSigma, drawDiscreteGaussian } from "../../../src/privacy/discrete-gaussian.js";
import { acceptExponential, exponentialBounds } from "../../../src/privacy/exact-exponential.js";
import { NORM_UNITS, toGrid } from "../../../src/privacy/grid.js";
import { insecureSecret, newSecret, RandomStream } from "../../../src/privacy/random-stream.js";

const stream = (purpose: string) => new RandomStream(insecureSecret(0), purpose);

function draws(sigma: number, count: number): Float64Array {
  const source = stream(`sigma ${String(sigma)}`);
  return Float64Array.from({ length: count }, () => drawDiscreteGaussian(sigma, source));
}

describe("random streams", () => {
  test("repeat for a secret and a purpose, and differ for another of either", () => {
    const first = (secret: Uint8Array, purpose: string) => Array.from({ length: 4 }, ((source) => () => source.next53())(new RandomStream(secret, purpose)));
    expect(first(insecureSecret(0), "a")).toEqual(first(insecureSecret(0), "a"));
    expect(first(insecureSecret(0), "a")).not.toEqual(first(insecureSecret(0), "b"));
    expect(first(insecureSecret(0), "a")).not.toEqual(first(insecureSecret(1), "a"));
    expect(newSecret().equals(newSecret())).toBe(false);
  });

  test("chances and choices have their probabilities, at the ends exactly", () => {
    const source = stream("chances");
    const hits = Array.from({ length: 40_000 }, () => source.chance(0.3)).filter(Boolean).length;
    // Four standard deviations of 92.
    expect(Math.abs(hits - 12_000)).toBeLessThan(367);
    expect([source.chance(0), source.chance(1)]).toEqual([false, true]);
    const choices = Array.from({ length: 30_000 }, () => source.below(3));
    for (const count of [0, 1, 2].map((wanted) => choices.filter((choice) => choice === wanted).length)) expect(Math.abs(count - 10_000)).toBeLessThan(330);
  });
});

describe("probabilities exp(-x)", () => {
  test("integer bounds enclose known values", () => {
    for (const [numerator, denominator] of [[0n, 1n], [1n, 2n], [1n, 1n], [37n, 3n], [50n, 1n]] as const) {
      const [low, high] = exponentialBounds(numerator, denominator, 80n);
      const expected = Math.exp(-Number(numerator) / Number(denominator));
      expect(high - low).toBeLessThanOrEqual(3n);
      expect(Math.abs(Number(low) / 2 ** 80 - expected)).toBeLessThan(2 ** -78 + expected * 1e-12);
      expect(Number(high) / 2 ** 80).toBeGreaterThanOrEqual(expected * (1 - 1e-12));
    }
    // 1/e to 30 digits.
    const [low, high] = exponentialBounds(1n, 1n, 100n);
    const known = (367879441171442321595523770161n * (1n << 100n)) / 10n ** 30n;
    expect(low <= known && known <= high).toBe(true);
  });

  test("an approximation that is of no use leaves the decision to the integers", () => {
    // NaN compares as neither above nor below, so that every draw is decided exactly.
    const source = stream("exact");
    const hits = Array.from({ length: 2000 }, () => acceptExponential(Number.NaN, () => [1n, 1n], source)).filter(Boolean).length;
    expect(Math.abs(hits - 2000 * Math.exp(-1))).toBeLessThan(4 * Math.sqrt(2000 * 0.3679 * 0.6321));
  });
});

describe("discrete Gaussian noise", () => {
  test.each([
    [1, [0.398942278267, 0.241970723224, 0.053990966224, 0.004431848388]],
    [3, [0.132980760134, 0.125794409231, 0.106482668507, 0.080656908173]],
  ])("sigma %d has its probabilities", (sigma, known) => {
    const count = 100_000;
    const weights = Array.from({ length: 81 }, (_, i) => Math.exp(-((i - 40) ** 2) / (2 * sigma * sigma)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const [i, probability] of known.entries()) expect((weights[40 + i] ?? 0) / total).toBeCloseTo(probability, 11);
    const seen = new Map<number, number>();
    for (const value of draws(sigma, count)) seen.set(value, 1 + (seen.get(value) ?? 0));
    let chiSquare = 0;
    let classes = 0;
    for (const [i, weight] of weights.entries()) {
      const expected = (count * weight) / total;
      if (expected < 10) continue;
      chiSquare += ((seen.get(i - 40) ?? 0) - expected) ** 2 / expected;
      classes += 1;
    }
    // Above the mean of the distribution by 5 of its standard deviations: p below 1e-4.
    expect(chiSquare).toBeLessThan(classes + 5 * Math.sqrt(2 * classes));
  });

  test("a sigma below 1 is nearly always 0 and not a rounded normal", () => {
    const variance = draws(0.25, 50_000).reduce((sum, value) => sum + value * value, 0) / 50_000;
    // 34 hits are expected; their standard deviation is 5.8.
    expect(Math.abs(variance - 0.000670475417)).toBeLessThan(4 * 1.16e-4);
  });

  test("a large sigma has the moments and the tails of a normal variable", () => {
    const sigma = discreteSigma(1.1, NORM_UNITS);
    const values = draws(sigma, 100_000).map((value) => value / sigma);
    const mean = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
    // Four standard errors of each.
    expect(Math.abs(mean(1))).toBeLessThan(4 / Math.sqrt(1e5));
    expect(Math.abs(mean(2) - 1)).toBeLessThan(4 * Math.sqrt(2 / 1e5));
    expect(Math.abs(mean(4) - 3)).toBeLessThan(4 * Math.sqrt(96 / 1e5));
    expect(values.filter((value) => Math.abs(value) > 3).length).toBeGreaterThan(270 - 66);
    expect(new Set(values).size).toBeGreaterThan(99_900);
  });

  test("its sigma is above that of the normal variable by no more than rounding", () => {
    expect(discreteSigma(1, NORM_UNITS)).toBe(NORM_UNITS + 1);
    expect(discreteSigma(1e5, NORM_UNITS) / NORM_UNITS / 1e5).toBeCloseTo(1, 12);
  });
});

describe("updates as whole numbers", () => {
  const lengthSquared = (units: Float64Array) => units.reduce((sum, unit) => sum + BigInt(unit) * BigInt(unit), 0n);

  test("no update is longer than the clipping norm, by not a single unit", () => {
    const source = stream("updates");
    for (let round = 0; round < 200; round++) {
      const scale = 10 ** (source.below(80) - 40);
      const update = Float32Array.from({ length: 1 + source.below(40) }, () => (source.next53() / 2 ** 53 - 0.5) * scale);
      const clipNorm = 10 ** (source.below(12) - 6);
      const { units } = toGrid(update, clipNorm);
      expect(lengthSquared(units) <= BigInt(NORM_UNITS) ** 2n).toBe(true);
    }
  });

  test("short updates are kept to a unit, zero stays zero, and huge ones keep their direction", () => {
    expect([...toGrid(Float32Array.of(0.5, -0.25), 1).units]).toEqual([2 ** 29, -(2 ** 28)]);
    expect(toGrid(new Float32Array(3), 1)).toEqual({ units: new Float64Array(3), isClipped: false });
    const { units, isClipped } = toGrid(Float32Array.of(3e38, -3e38), 2);
    expect(isClipped).toBe(true);
    expect((units[0] ?? 0) / NORM_UNITS).toBeCloseTo(Math.SQRT1_2, 6);
    expect(units[0]).toBe(-(units[1] ?? 0));
  });

  test("weights shorten an update and never lengthen it", () => {
    const { units } = toGrid(Float32Array.of(30, 40), 5, 0.5);
    expect(Math.sqrt(Number(lengthSquared(units))) / NORM_UNITS).toBeCloseTo(0.5, 6);
  });
});
