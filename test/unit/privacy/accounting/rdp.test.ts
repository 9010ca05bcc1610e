/** Accounting against published and independently computed values: the tolerances are those of the printed digits, at most 1e-9. */
import { describe, expect, test } from "vitest";
import { rdpOfSampledGaussian } from "../../../../src/privacy/accounting/rdp.js";
import { rdpOfFixedSizeGaussian } from "../../../../src/privacy/accounting/without-replacement.js";

const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

// log A, 30 digits elsewhere, 12 of them printed.
const MOMENTS: readonly (readonly [number, number, number, number])[] = [
  [1e-7, 0.1, 1.01, 4.00341232253e-8],
  [1e-6, 0.1, 256, 3260463.2293],
  [1e-5, 0.1, 256.1, 3263607.03979],
  [1e-6, 1, 27, 8.76951130485e-10],
  [1e-4, 1, 1.5, 6.44268695384e-9],
  [1e-3, 1, 2, 1.71828035221e-6],
  [0.01, 10, 20, 1.91296999128e-4],
  [0.1, 100, 20.5, 1.99918184581e-4],
  [0.99, 0.1, 256, 3263997.42711],
  [0.999, 100, 256.1, 3.26010803797],
];

const STEPS: readonly (readonly [number, number, number, number])[] = [
  [0.05, 1, 1.5, 0.0030543256031705],
  [0.05, 1, 2, 0.004286504370419],
  [0.05, 1, 3, 0.0072612432527815],
  [0.05, 1, 4.6, 0.015093282950957],
  [0.05, 1, 8, 0.601268913989254],
  [0.04, 1.5, 3.9, 0.00183320219958386],
  [0.1, 1, 3.7, 0.048331624426029],
  [0.01, 0.8, 5.5, 0.002262577633592],
  [0.25, 2, 5.1, 0.054194725649811],
  [0.02, 0.5, 2.4, 0.054571890029454],
  [0.1, 0.7, 32, 30.276199193012],
  [0.1, 2, 5, 0.00773696848979587],
];

describe("the Gaussian on a Poisson sample", () => {
  test.each(MOMENTS)("q %d, sigma %d, order %d: log A = %d", (sampleRate, noiseMultiplier, order, expected) => {
    const rdp = rdpOfSampledGaussian({ sampleRate, noiseMultiplier }, order);
    expect(relative(rdp * (order - 1), expected)).toBeLessThan(5e-12);
  });

  test.each(STEPS)("q %d, sigma %d, order %d: RDP = %d", (sampleRate, noiseMultiplier, order, expected) => {
    expect(relative(rdpOfSampledGaussian({ sampleRate, noiseMultiplier }, order), expected)).toBeLessThan(2e-13);
  });
});

/** exp(x / 2^80) * 2^80 for x >= 0, by the series after halving: an oracle to 20 digits. */
function bigExp(x: bigint): bigint {
  const one = 1n << 80n;
  const halvings = BigInt(Math.max(0, x.toString(2).length - 80));
  let [term, sum] = [one, one];
  for (let n = 1n; term > 0n; n++) {
    term = (term * (x >> halvings)) / one / n;
    sum += term;
  }
  for (let i = 0n; i < halvings; i++) sum = (sum * sum) / one;
  return sum;
}

describe("the Gaussian on a Poisson sample at extremes", () => {
  test.each([
    [2n, 1n, 8n, 2n],
    [5n, 3n, 1024n, 1n],
    [17n, 1n, 1n << 30n, 4n],
    [32n, 1n << 10n, (1n << 10n) + 1n, 2n],
  ])("order %d, q %d/%d, sigma %d equals the binomial sum in integers", (order, numerator, denominator, sigma) => {
    const one = 1n << 80n;
    let [sum, binomial] = [0n, 1n];
    for (let k = 0n; k <= order; k++) {
      const moment = bigExp((one * k * (k - 1n)) / (2n * sigma * sigma)) - one;
      sum += binomial * (denominator - numerator) ** (order - k) * numerator ** k * (k < 2n ? 0n : moment);
      binomial = (binomial * (order - k)) / (k + 1n);
    }
    // More bits than a double has before the division, so that nothing is lost in it.
    const excess = Number((sum << 200n) / denominator ** order) / Number(one) / 2 ** 200;
    const rdp = rdpOfSampledGaussian({ sampleRate: Number(numerator) / Number(denominator), noiseMultiplier: Number(sigma) }, Number(order));
    expect(relative(rdp, Math.log1p(excess) / (Number(order) - 1))).toBeLessThan(1e-12);
  });

  test.each([1.0000001, 1.5, 2, 63, 256.5])("order %d: nobody sampled, everybody sampled, no noise, and noise beyond measure", (order) => {
    const rdp = (sampleRate: number, noiseMultiplier: number) => rdpOfSampledGaussian({ sampleRate, noiseMultiplier }, order);
    expect(rdp(0, 1)).toBe(0);
    expect(rdp(1, 3)).toBeCloseTo(order / 18, 12);
    expect(rdp(0.5, 0)).toBe(Number.POSITIVE_INFINITY);
    expect(relative(rdp(1 - 2 ** -40, 3), order / 18)).toBeLessThan(1e-9);
    // For large sigma RDP is q^2 a / (2 sigma^2), up to terms of relative size a / sigma.
    expect(relative(rdp(0.01, 1e6), (1e-4 * order) / 2e12)).toBeLessThan(1e-3);
    expect(rdp(1e-12, 1e-2)).toBeGreaterThan(0);
    expect(Number.isFinite(rdp(0.5, 1e-2))).toBe(true);
  });

  test("RDP at fractional orders lies on one curve with that at integers", () => {
    // (a - 1) RDP is convex and smooth in a, so an order beside an integer gives the mean of its neighbours to the second difference.
    for (const [sampleRate, noiseMultiplier] of [[0.05, 1], [1e-4, 0.7], [0.3, 5], [0.01, 40]] as const) {
      for (const order of [2, 5, 19]) {
        const moment = (a: number) => (a - 1) * rdpOfSampledGaussian({ sampleRate, noiseMultiplier }, a);
        const beside = (moment(order - 1e-4) + moment(order + 1e-4)) / 2;
        expect(relative(beside, moment(order))).toBeLessThan(1e-6);
        expect(beside).toBeGreaterThanOrEqual(moment(order) * (1 - 1e-12));
      }
    }
  });
});

describe("the Gaussian on a sample of fixed size", () => {
  test.each([
    [1.001, 0.00347],
    [1.5, 0.00347],
    [2.5, 0.004638],
    [5, 0.0087633],
    [50, 0.098474],
    [100, 167.766388],
    [256, 792.974427],
    [512, 1817.35871],
    [1024, 3865.55029],
  ])("order %d: 50 releases have %d", (order, expected) => {
    const rdp = 50 * rdpOfFixedSizeGaussian({ sampleRate: 0.01, noiseMultiplier: 2.5 }, order);
    // The published values have four to nine digits, cut off and not rounded.
    expect(relative(rdp, expected)).toBeLessThan(2e-4);
  });
});
