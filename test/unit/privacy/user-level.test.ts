/** The mechanism on cohorts whose sums are known: sensitivity, weights, empty cohorts, clipping that adapts, and what is drawn from the secret. */
import { describe, expect, test } from "vitest";
import type { Release } from "../../../src/privacy/budget.js";
import { insecureSecret } from "../../../src/privacy/random-stream.js";
import { multiplierBesideCount, UserLevelPrivacy, type ReleaseSink, type UserLevelOptions } from "../../../src/privacy/user-level.js";

const OPTIONS: UserLevelOptions = { sampling: "poisson", cohortSize: 4, noiseMultiplier: 0, clipNorm: 1 };

function memorySink(): ReleaseSink & { readonly charged: { release: Release; digest: string; clipNorm: number }[] } {
  const charged: { release: Release; digest: string; clipNorm: number }[] = [];
  return {
    charged,
    isAffordable: () => true,
    charge: (release, digest, clipNorm) => charged.push({ release, digest, clipNorm }),
    epsilonSpent: () => charged.length,
  };
}

function make(options: Partial<UserLevelOptions> = {}, numClients = 8, seed = 0, totalWeight = numClients) {
  const sink = memorySink();
  return { sink, privacy: new UserLevelPrivacy({ ...OPTIONS, ...options }, { numClients, totalWeight }, insecureSecret(seed), sink) };
}

function meanOf({ privacy }: ReturnType<typeof make>, updates: readonly (readonly [readonly number[], number?])[], round = 1, clipNorm = privacy.options.clipNorm) {
  const length = updates[0]?.[0].length ?? 2;
  const sum = privacy.startRound(round, clipNorm, length);
  for (const [values, numExamples = 1] of updates) sum.add(Float32Array.from(values), numExamples);
  return sum.finish();
}

describe("without noise", () => {
  test("the sum of clipped updates is divided by the expected cohort, whoever came", () => {
    const { mean } = meanOf(make(), [[[3, 4]], [[0.5, 0]]]);
    // (0.6 + 0.5) / 4 and 0.8 / 4, to a unit of 2^-30 for each client.
    expect(mean[0]).toBeCloseTo(1.1 / 4, 8);
    expect(mean[1]).toBeCloseTo(0.8 / 4, 8);
  });

  test("weights are capped, and the divisor is the expected weight", () => {
    const mechanism = make({ exampleCap: 10 }, 8, 0, 6);
    const { mean } = meanOf(mechanism, [[[0.5, 0], 5], [[0, 0.5], 1000]]);
    // The rate is 4 / 8, so 3 of the weight 6 are expected.
    expect(mean[0]).toBeCloseTo(0.25 / 3, 8);
    expect(mean[1]).toBeCloseTo(0.5 / 3, 8);
  });

  test("one client more moves the sum by at most the clipping norm, whatever it sends", () => {
    const other: [number[]] = [[0.1, -0.2, 0.3]];
    const without = meanOf(make(), [other]).mean;
    for (const attack of [[1e38, 1e38, -1e38], [0, 0, 1e-30], [0.57735, 0.57735, 0.57736], [-3, 2, 1]]) {
      const { mean } = meanOf(make(), [other, [attack, 1e9]]);
      const moved = Math.hypot(...mean.map((value, i) => (value - (without[i] ?? 0)) * OPTIONS.cohortSize));
      // Rounding of the three differences, not of the sum, which is exact.
      expect(moved).toBeLessThanOrEqual(1 + 1e-15 * 8);
    }
  });

  test("nobody is an answer too", () => {
    expect([...meanOf(make(), [], 3).mean]).toEqual([0, 0]);
  });
});

describe("noise", () => {
  test("has the standard deviation of the multiplier times the clipping norm over the expected cohort, also for nobody", () => {
    const mechanism = make({ noiseMultiplier: 2, clipNorm: 0.5 });
    const { mean } = mechanism.privacy.startRound(1, 0.5, 40_000).finish();
    const std = Math.sqrt(mean.reduce((sum, value) => sum + value * value, 0) / mean.length);
    // 2 * 0.5 / 4, and four standard errors.
    expect(std / 0.25).toBeGreaterThan(1 - 4 / Math.sqrt(80_000));
    expect(std / 0.25).toBeLessThan(1 + 4 / Math.sqrt(80_000));
  });

  test("is the same for the same sum, and another for another sum, round or secret", () => {
    const options = { noiseMultiplier: 1 };
    const noiseOf = (seed: number, round: number, value: number) => meanOf(make(options, 8, seed), [[[value, 0]]], round).mean[1];
    expect(noiseOf(0, 1, 0.5)).toBe(noiseOf(0, 1, 0.5));
    expect(new Set([noiseOf(0, 1, 0.5), noiseOf(0, 2, 0.5), noiseOf(1, 1, 0.5), noiseOf(0, 1, 0.25)]).size).toBe(4);
  });

  test("is charged before it is given out, and not given out when it cannot be charged", () => {
    const mechanism = make({ noiseMultiplier: 1.5 });
    meanOf(mechanism, [[[1, 0]]], 7);
    expect(mechanism.sink.charged).toEqual([
      { release: { round: 7, sampling: "poisson", sampleRate: 0.5, noiseMultiplier: 1.5 }, digest: expect.stringMatching(/^[0-9a-f]{64}$/u) as string, clipNorm: 1 },
    ]);
    const refusing: ReleaseSink = {
      ...memorySink(),
      charge: () => {
        throw new Error("spent");
      },
    };
    const sum = new UserLevelPrivacy({ ...OPTIONS, noiseMultiplier: 1 }, { numClients: 8, totalWeight: 8 }, insecureSecret(0), refusing).startRound(1, 1, 1);
    expect(() => sum.finish()).toThrow("spent");
  });

  test("with a cohort of fixed size counts half as much, since one client takes another's place", () => {
    const mechanism = make({ noiseMultiplier: 3, sampling: "fixedSize" });
    meanOf(mechanism, [[[1, 0]]]);
    expect(mechanism.sink.charged[0]?.release).toEqual({ round: 1, sampling: "fixedSize", sampleRate: 0.5, noiseMultiplier: 1.5 });
  });
});

describe("cohorts", () => {
  test("each client takes part with the rate, on its own, and nobody or everybody may", () => {
    const { privacy } = make({ cohortSize: 2 }, 4);
    const cohorts = Array.from({ length: 4000 }, (_, round) => privacy.drawCohort(round + 1, 4));
    for (let client = 0; client < 4; client++) {
      const times = cohorts.filter((cohort) => cohort.includes(client)).length;
      // Four standard deviations of 32.
      expect(Math.abs(times - 2000)).toBeLessThan(127);
    }
    const sizes = [0, 1, 2, 3, 4].map((size) => cohorts.filter((cohort) => cohort.length === size).length);
    for (const [size, expected] of [250, 1000, 1500, 1000, 250].entries()) expect(Math.abs((sizes[size] ?? 0) - expected)).toBeLessThan(4 * Math.sqrt(expected));
    expect(privacy.drawCohort(1, 4)).toEqual(privacy.drawCohort(1, 4));
  });

  test("of fixed size have it, and every client comes as often", () => {
    const { privacy } = make({ cohortSize: 3, sampling: "fixedSize" }, 5);
    const counts = new Array<number>(5).fill(0);
    for (let round = 1; round <= 2000; round++) {
      const cohort = privacy.drawCohort(round, 5);
      expect(new Set(cohort).size).toBe(3);
      for (const client of cohort) counts[client] = (counts[client] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1200)).toBeLessThan(4 * Math.sqrt(2000 * 0.24));
  });

  test("have everybody in them where as many are wanted", () => {
    expect(make({ cohortSize: 8 }).privacy.drawCohort(1, 8)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe("clipping that adapts", () => {
  const adaptive = { targetQuantile: 0.5, learningRate: 0.2, countNoise: 1 };

  test.each([
    [1, 5, 1.005037815259],
    [1, 1, 1.154700538379],
    [0.5, 2.5, 0.50251890763],
  ])("multiplier %d beside a count with noise %d leaves %d for the sum", (z, countNoise, expected) => {
    expect(multiplierBesideCount(z, countNoise)).toBeCloseTo(expected, 11);
  });

  test("refuses a count that takes all of the budget", () => {
    expect(() => multiplierBesideCount(2, 1)).toThrow(/more than half of the noise multiplier/u);
  });

  // All updates have norm 1, so the norm must come to 1 and not run away from it (the sign of Andrew et al., algorithm 1).
  test.each([0.1, 10])("starting at %d it comes to the norm of the updates", (start) => {
    const mechanism = make({ adaptive, clipNorm: start, cohortSize: 8 });
    let clipNorm = start;
    for (let round = 1; round <= 60; round++) clipNorm = meanOf(mechanism, Array.from({ length: 8 }, () => [[0.6, 0.8]] as const), round, clipNorm).nextClipNorm;
    // A step is at most exp(0.1), and it oscillates around 1.
    expect(clipNorm).toBeGreaterThan(0.9);
    expect(clipNorm).toBeLessThan(1.11);
  });

  test("absent clients count for neither side", () => {
    const { nextClipNorm } = meanOf(make({ adaptive }), []);
    expect(nextClipNorm).toBe(1);
  });
});
