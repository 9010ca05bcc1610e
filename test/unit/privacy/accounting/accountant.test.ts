/**
 * Epsilon against published values and against what can be computed in another way: exactly without sampling and for a single release,
 * by brute force for two. Tolerances are the printed digits of the published values, or said beside them.
 */
import { describe, expect, test } from "vitest";
import { epsilonOfEvents, pldEpsilon, rdpEpsilon, rdpOfEvents, type PrivacyEvent } from "../../../../src/privacy/accounting/accountant.js";
import { epsilonOfGaussian, gaussianNoiseFor, logDeltaOfGaussian } from "../../../../src/privacy/accounting/analytic-gaussian.js";
import { deltaOfRdp, epsilonAtOrder, epsilonOfRdp } from "../../../../src/privacy/accounting/conversion.js";
import { transform } from "../../../../src/privacy/accounting/fft.js";

const range = (first: number, count: number, step = 1) => Array.from({ length: count }, (_, i) => first + i * step);
const TENTHS = range(11, 99).map((tenths) => tenths / 10);
const ORDERS = [...TENTHS, ...range(12, 52)];
const event = (sampleRate: number, noiseMultiplier: number, count: number): PrivacyEvent => ({ sampleRate, noiseMultiplier, count });
/** Fast, and fine enough for the tolerances here. */
const POINTS = 2 ** 15;

describe("epsilon by RDP", () => {
  test.each([
    [0.04, 1.5, 2250, 1e-5, 7.32911117148, 8.07384827712],
    [1, 0.7, 2, 1e-5, 10.8602036, undefined],
    [150 / 60000, 1.3, 6000, 1e-5, 0.7242234026109595, undefined],
    [0.001, 1, 30000, 1e-7, 1.4154988495444842, 1.70928734],
    [0.0064, 1, 782, 1e-6, 1.616394051, undefined],
    [0.05, 1, 100, 1e-5, 4.03833615969, 4.69782815382],
    [0.1, 1, 50, 1e-5, 5.88097893219, 6.68062768981],
    [0.02, 0.5, 30, 1e-5, 8.69634357702, 9.86067489015],
    [1, 1, 1, 1e-5, 4.72850706722, 5.29852613854],
    [1, 1, 10, 1e-5, 19.0535975316, 20.1752836433],
    [0.04, 1.416, 2250, 1e-5, 7.998162, undefined],
  ])("q %d, sigma %d, %d rounds, delta %d", (q, sigma, count, delta, improved, classic) => {
    const events = [event(q, sigma, count)];
    expect(rdpEpsilon(events, delta, { orders: ORDERS }).epsilon).toBeCloseTo(improved, 6);
    if (classic !== undefined) expect(rdpEpsilon(events, delta, { orders: ORDERS, conversion: "classic" }).epsilon).toBeCloseTo(classic, 6);
  });

  test("the largest cost that was published, without overflow", () => {
    const orders = [1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5, ...range(5, 59)];
    const { epsilon, order } = rdpEpsilon([event(1024 / 1e8, 0.1, 976563)], 1e-7, { orders });
    expect(Math.abs(epsilon / 5907982.311382 - 1)).toBeLessThan(1e-9);
    expect(order).toBe(1.25);
  });

  test("one Gaussian at fine orders, a constant RDP, and releases of two kinds", () => {
    expect(rdpEpsilon([event(1, 4.530877117, 1)], 1e-6, { orders: range(4, 20000, 0.001) }).epsilon).toBeCloseTo(1, 6);
    expect(epsilonOfRdp(() => 1.1, range(2, 31), 1e-5).epsilon).toBeCloseTo(1.32783806176, 10);
    const orders = [1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 64, 256];
    const events = [event(1e-4, 0.4, 40000), event(0.1, 2, 100)];
    expect(rdpEpsilon(events, 1e-5, { orders, conversion: "classic" })).toEqual({ epsilon: expect.closeTo(8.509656044, 8) as number, order: 2.5 });
    expect(rdpEpsilon(events, 1e-5, { orders }).epsilon).toBeCloseTo(7.387969932, 8);
  });

  test("fixed-size cohorts cost what replacement costs", () => {
    const fixed = (q: number, sigma: number, count: number) => [{ ...event(q, sigma / 2, count), sampling: "fixedSize" as const }];
    expect(rdpEpsilon(fixed(0.05, 1, 100), 1e-5, { orders: ORDERS }).epsilon).toBeCloseTo(34.263536, 5);
    expect(rdpEpsilon(fixed(0.1, 1, 50), 1e-5, { orders: ORDERS }).epsilon).toBeCloseTo(47.031774, 5);
    expect(rdpEpsilon(fixed(0.02, 0.5, 30), 1e-5, { orders: ORDERS }).epsilon).toBeCloseTo(276.203886, 5);
    expect(pldEpsilon(fixed(0.05, 1, 100), 1e-5)).toBe(Number.POSITIVE_INFINITY);
  });

  test("delta for an epsilon and epsilon for that delta are inverse", () => {
    const rdpOf = (order: number) => rdpOfEvents([event(0.05, 1, 100)], order);
    for (const delta of [1e-3, 1e-6, 1e-12]) {
      const { epsilon, order } = epsilonOfRdp(rdpOf, ORDERS, delta);
      expect(Math.abs(deltaOfRdp(rdpOf, [order], epsilon) / delta - 1)).toBeLessThan(1e-9);
      expect(epsilonAtOrder(rdpOf(order), order, delta, "classic")).toBeGreaterThan(epsilon);
    }
  });
});

describe("the Gaussian without sampling", () => {
  test.each([
    [0.5, 9.997256146434],
    [1, 4.377178095681],
    [2, 1.993091404415],
    [4, 0.926341503998],
  ])("sigma %d: epsilon %d for delta 1e-5", (sigma, expected) => {
    expect(epsilonOfGaussian(1 / sigma, 1e-5)).toBeCloseTo(expected, 11);
    expect(pldEpsilon([event(1, sigma, 1)], 1e-5)).toBeCloseTo(expected, 11);
  });

  test.each([
    [0.5, 7.031826675583],
    [1, 3.730631634816],
    [3, 1.390593456675],
    [8, 0.600229072199],
  ])("epsilon %d needs sigma %d", (epsilon, expected) => {
    expect(gaussianNoiseFor(epsilon, 1e-5)).toBeCloseTo(expected, 11);
  });

  test.each([
    [1, 1, 0.126936737507],
    [2, 1, 0.020923635821],
    [1, 3, 0.78760074136],
  ])("delta at epsilon %d, mu %d", (epsilon, mu, expected) => {
    expect(Math.exp(logDeltaOfGaussian(mu, epsilon))).toBeCloseTo(expected, 11);
  });

  test("small and large mu join without a step", () => {
    // The two ways of computing meet at mu = 0.5, where a change of 1e-9 moves log delta by less than 1e-6.
    for (const epsilon of [0, 0.1, 2, 8]) {
      expect(Math.abs(logDeltaOfGaussian(0.5 - 1e-12, epsilon) - logDeltaOfGaussian(0.5, epsilon))).toBeLessThan(1e-8);
    }
    expect(Math.exp(logDeltaOfGaussian(1e-6, 0)) / (1e-6 / Math.sqrt(2 * Math.PI))).toBeCloseTo(1, 6);
  });
});

describe("epsilon by the privacy loss", () => {
  test.each([
    [0.04, 1.5, 2249, 1e-5, 6.767051],
    [0.0064, 1, 782, 1e-6, 1.198651],
    [0.001, 0.8, 100, 1e-6, 0.260339],
    [0.001, 1.5, 100, 1e-6, 0.029269],
    [0.05, 0.8, 100, 1e-6, 6.730629],
    [0.05, 0.8, 1000, 1e-6, 19.515033],
    [0.05, 1.5, 1000, 1e-6, 6.199695],
    [0.05, 3, 1000, 1e-6, 2.517457],
    [0.05, 1, 100, 1e-5, 3.502149],
    [0.1, 1, 50, 1e-5, 5.148263],
    [0.02, 0.5, 30, 1e-5, 7.032805],
  ])("q %d, sigma %d, %d rounds, delta %d: %d, below RDP", (q, sigma, count, delta, expected) => {
    const events = [event(q, sigma, count)];
    const epsilon = pldEpsilon(events, delta, { points: POINTS });
    // Eight times coarser than by default, which costs 64 times its error of up to 1.6e-5.
    expect(epsilon).toBeGreaterThan(expected - 1e-5);
    expect(epsilon).toBeLessThan(expected + 2e-3);
    expect(epsilon).toBeLessThan(rdpEpsilon(events, delta).epsilon);
  });

  test("more points only lower the bound, and the default is within 1e-6 of the published value", () => {
    const events = [event(0.05, 1, 100)];
    const [coarse, fine] = [pldEpsilon(events, 1e-5, { points: 2 ** 14 }), pldEpsilon(events, 1e-5)];
    expect(coarse).toBeGreaterThan(fine);
    expect(fine).toBeCloseTo(3.502149, 6);
  });

  test.each([
    [0.05, 1, 100, 4.889491],
    [0.1, 1, 50, 7.185539],
    [0.02, 0.5, 30, 7.23758],
    [1, 1, 10, 46.21121],
  ])("replacing one unit: q %d, sigma %d, %d rounds", (q, sigma, count, expected) => {
    const epsilon = pldEpsilon([event(q, sigma, count)], 1e-5, { adjacency: "replaceOne", points: POINTS });
    expect(Math.abs(epsilon - expected)).toBeLessThan(1e-4);
  });

  test.each([
    [0.1, 1, 1e-5],
    [0.5, 3, 1e-12],
    [0.001, 0.5, 1e-8],
    [0.9, 20, 1e-3],
  ])("one release: q %d, sigma %d, delta %d is the amplified Gaussian", (q, sigma, delta) => {
    // delta of the sample is q times the Gaussian's at the epsilon for which e^epsilon - 1 is q times as large.
    const exact = Math.log1p(q * Math.expm1(epsilonOfGaussian(1 / sigma, delta / q)));
    const epsilon = pldEpsilon([event(q, sigma, 1)], delta, { points: POINTS });
    expect(epsilon).toBeGreaterThanOrEqual(exact * (1 - 1e-9));
    expect(epsilon).toBeLessThan(exact * (1 + 1e-6));
  });

  test.each([
    [1 - 2 ** -40, 0.2, 8, 1e-7],
    [1 - 2 ** -40, 30, 5000, 1e-12],
    [1 - 2 ** -30, 0.5, 1, 0.3],
    [1 - 2 ** -30, 1000, 1e6, 1e-6],
  ])("at a rate of nearly 1 it is the exact Gaussian: q %d, sigma %d, %d rounds, delta %d", (q, sigma, count, delta) => {
    const exact = epsilonOfGaussian(Math.sqrt(count) / sigma, delta);
    const epsilon = pldEpsilon([event(q, sigma, count)], delta, { points: 2 ** 13 });
    // The rate takes off as much as it is below 1; the grid is 32 times coarser than by default.
    expect(epsilon).toBeGreaterThan(exact * (1 - 1e-6));
    expect(epsilon).toBeLessThan(exact * 1.02);
  });

  test.each([
    [1 - 2 ** -40, 0.01, 8, 1e-7],
    [0.5, 0.02, 1e6, 1e-12],
    [1e-9, 1e6, 1e6, 1e-12],
    [1e-9, 0.03, 20000, 0.4],
  ])("beyond all use it is a number or no bound, and epsilon is a number: q %d, sigma %d, %d rounds, delta %d", (q, sigma, count, delta) => {
    const events = [event(q, sigma, count)];
    expect(pldEpsilon(events, delta, { points: 2 ** 13 })).toBeGreaterThanOrEqual(0);
    const epsilon = epsilonOfEvents(events, delta, "pld", 2 ** 13);
    expect(Number.isFinite(epsilon) && epsilon >= 0).toBe(true);
  });

  test("two different releases equal their joint density, summed point by point", () => {
    const [first, second] = [event(0.3, 0.9, 1), event(0.6, 1.4, 1)];
    const epsilon = pldEpsilon([first, second], 1e-3, { points: POINTS });
    const log = ({ sampleRate: q, noiseMultiplier: s }: PrivacyEvent, x: number) => Math.log(1 - q + q * Math.exp((2 * x - 1) / (2 * s * s)));
    const density = (s: number, x: number) => Math.exp(-(x * x) / (2 * s * s)) / s / Math.sqrt(2 * Math.PI);
    const h = 0.02;
    let delta = 0;
    for (let x = -9; x < 12; x += h) {
      const [lossOfFirst, weight] = [log(first, x), density(0.9, x) * h * h];
      for (let y = -12; y < 15; y += h) {
        const loss = lossOfFirst + log(second, y);
        if (loss > epsilon) delta += weight * density(1.4, y) * (Math.exp(loss) - Math.exp(epsilon));
      }
    }
    // The summand has an edge where it begins, which leaves an error of the order of h^2.
    expect(Math.abs(delta / 1e-3 - 1)).toBeLessThan(3e-4);
  });

  test("the cost grows with the rate, the rounds and the confidence, and falls with the noise", () => {
    let seed = 1;
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    for (let i = 0; i < 3; i++) {
      const [q, sigma, count, delta] = [0.01 + 0.5 * random(), 0.6 + 2 * random(), 1 + Math.floor(200 * random()), 10 ** (-3 - 6 * random())];
      for (const cost of [
        (q: number, s: number, n: number, d: number) => rdpEpsilon([event(q, s, n)], d).epsilon,
        (q: number, s: number, n: number, d: number) => pldEpsilon([event(q, s, n)], d, { points: 2 ** 13 }),
      ]) {
        const base = cost(q, sigma, count, delta);
        // A twentieth more of anything outweighs the grid's coarseness.
        expect(cost(q * 1.05, sigma, count, delta)).toBeGreaterThanOrEqual(base);
        expect(cost(q, sigma * 1.05, count, delta)).toBeLessThanOrEqual(base);
        expect(cost(q, sigma, Math.ceil(count * 1.05) + 1, delta)).toBeGreaterThanOrEqual(base);
        expect(cost(q, sigma, count, delta / 1.5)).toBeGreaterThanOrEqual(base);
      }
    }
  });

  test("the order of releases does not matter, and nothing costs nothing", () => {
    const [a, b] = [event(0.1, 1, 5), event(0.2, 2, 7)];
    expect(pldEpsilon([a, b], 1e-5, { points: POINTS })).toBeCloseTo(pldEpsilon([b, a], 1e-5, { points: POINTS }), 9);
    expect(pldEpsilon([event(0, 1, 5), event(0.1, 1, 0)], 1e-5)).toBe(0);
    expect(pldEpsilon([event(0.1, 0, 1)], 1e-5)).toBe(Number.POSITIVE_INFINITY);
  });
});

test("the transform is the sum it stands for, and its inverse undoes it", () => {
  const re = Float64Array.from({ length: 16 }, (_, i) => Math.sin(i * i));
  const im = Float64Array.from({ length: 16 }, (_, i) => Math.cos(3 * i));
  const turned = { re: Float64Array.from(re), im: Float64Array.from(im) };
  transform(turned);
  for (let k = 0; k < 16; k++) {
    const sum = re.reduce((total, x, j) => total + x * Math.cos((2 * Math.PI * j * k) / 16) + (im[j] ?? 0) * Math.sin((2 * Math.PI * j * k) / 16), 0);
    expect(turned.re[k]).toBeCloseTo(sum, 12);
  }
  transform(turned, true);
  expect([...turned.im].map((value, i) => value - (im[i] ?? 0)).every((error) => Math.abs(error) < 1e-14)).toBe(true);
});
