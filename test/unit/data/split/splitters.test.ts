/** Splitters by what each promises, and the measures of skew by examples that can be checked by hand. */
import { describe, expect, test } from "vitest";
import { PythonRandom } from "../../../../src/data/python-random.js";
import { drawDirichlet } from "../../../../src/data/split/dirichlet.js";
import { binByQuantile, measureSkew, totalVariation } from "../../../../src/data/split/skew.js";
import { splitDirichlet, splitIid, splitPathological, splitQuantity } from "../../../../src/data/split/splitters.js";
import type { SplitInput } from "../../../../src/data/split/splitters.js";

const NUM_SAMPLES = 2000;
const NUM_CLASSES = 5;
const NUM_CLIENTS = 10;

/** Five classes of 400 samples, mixed. */
const input = (seed = 0): SplitInput => ({
  classes: Uint32Array.from({ length: NUM_SAMPLES }, (_, index) => index % NUM_CLASSES),
  numClasses: NUM_CLASSES,
  numClients: NUM_CLIENTS,
  random: new PythonRandom(seed),
});

const METHODS = {
  iid: splitIid,
  dirichlet: (given: SplitInput) => splitDirichlet(given, 0.3),
  quantity: (given: SplitInput) => splitQuantity(given, 0.3),
  pathological: (given: SplitInput) => splitPathological(given, 2),
};

function skewOf(owners: Uint32Array) {
  const { classes, numClasses } = input();
  const ids = Array.from({ length: NUM_CLIENTS }, (_, index) => String(index));
  return measureSkew(ids, owners, { classes, numClasses, lengths: Uint32Array.from(owners, (_, index) => index) });
}

describe("every method", () => {
  test.each(Object.entries(METHODS))("%s gives each sample to one client, the same with the same seed, another with another, and 0 is a seed", (_name, split) => {
    const owners = split(input(0));
    expect(owners).toHaveLength(NUM_SAMPLES);
    expect(owners.every((owner) => owner < NUM_CLIENTS)).toBe(true);
    expect(split(input(0))).toEqual(owners);
    expect(split(input(1))).not.toEqual(owners);
  });
});

describe("single methods", () => {
  test("iid makes equal shares that are alike", () => {
    const skew = skewOf(splitIid(input()));
    expect([skew.smallest, skew.largest]).toEqual([200, 200]);
    // The expected distance of 200 draws from five equal classes is about 0.05.
    expect(skew.classDistance).toBeLessThan(0.1);
    const uneven = splitIid({ ...input(), classes: new Uint32Array(23), numClasses: 1 });
    const sizes = Array.from({ length: NUM_CLIENTS }, (_, client) => uneven.filter((owner) => owner === client).length);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBe(1);
  });

  test("dirichlet is the more uneven the smaller alpha is, and near iid for a large one", () => {
    const distances = [0.01, 0.3, 3, 1000].map((alpha) => skewOf(splitDirichlet(input(), alpha)).classDistance);
    expect(distances).toEqual([...distances].sort((left, right) => right - left));
    expect(distances[0]).toBeGreaterThan(0.6);
    expect(distances[3]).toBeLessThan(0.1);
  });

  test("quantity makes different sizes of alike samples", () => {
    const skew = skewOf(splitQuantity(input(), 0.3));
    expect(skew.sizeGini).toBeGreaterThan(0.4);
    const large = skew.clients.filter(({ numSamples }) => numSamples > 150);
    expect(large.length).toBeGreaterThan(0);
    for (const client of large) expect(client.classDistance).toBeLessThan(0.15);
  });

  test("pathological gives each client few classes and equal sizes", () => {
    const skew = skewOf(splitPathological(input(), 2));
    expect([skew.smallest, skew.largest]).toEqual([200, 200]);
    // Twenty shards of 100 samples: each lies in one class of 400.
    for (const { numClasses } of skew.clients) expect(numClasses).toBeLessThanOrEqual(2);
  });
});

describe("Dirichlet draws", () => {
  test.each([0.001, 0.1, 1, 7.5])("with alpha %d add up to 1 and have the distribution's mean and variance", (alpha) => {
    const random = new PythonRandom(0);
    const numDraws = 4000;
    const count = 4;
    const firsts = Array.from({ length: numDraws }, () => {
      const shares = drawDirichlet(count, alpha, random);
      expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12);
      return shares[0] ?? 0;
    });
    const mean = firsts.reduce((sum, share) => sum + share, 0) / numDraws;
    const variance = firsts.reduce((sum, share) => sum + (share - mean) ** 2, 0) / numDraws;
    // Of the marginal Beta(alpha, 3 alpha); 4000 draws are within five standard errors of it.
    const expectedVariance = (0.25 * 0.75) / (count * alpha + 1);
    expect(Math.abs(mean - 0.25)).toBeLessThan(5 * Math.sqrt(expectedVariance / numDraws));
    expect(Math.abs(variance / expectedVariance - 1)).toBeLessThan(0.15);
  });
});

describe("skew", () => {
  test("by hand: two clients of three and one samples", () => {
    const owners = Uint32Array.of(0, 0, 0, 1);
    const skew = measureSkew(["a", "b", "c"], owners, { classes: Uint32Array.of(0, 0, 1, 1), numClasses: 2, lengths: Uint32Array.of(1, 1, 1, 1) });
    // All: (1/2, 1/2). a: (2/3, 1/3), distance 1/6. b: (0, 1), distance 1/2. Weighted: (3 * 1/6 + 1/2) / 4 = 1/4.
    expect(skew.clients.map(({ numSamples, numClasses }) => [numSamples, numClasses])).toEqual([[3, 2], [1, 1], [0, 0]]);
    expect(skew.clients[0]?.classDistance).toBeCloseTo(1 / 6, 12);
    expect(skew.clients[1]?.classDistance).toBeCloseTo(1 / 2, 12);
    expect(skew.clients[2]).not.toHaveProperty("classDistance");
    expect(skew.classDistance).toBeCloseTo(1 / 4, 12);
    expect(skew.lengthDistance).toBe(0);
    // Sizes 0, 1, 3: 2 * (1*0 + 2*1 + 3*3) / (3 * 4) - 4/3 = 1/2.
    expect(skew.sizeGini).toBeCloseTo(0.5, 12);
    expect([skew.smallest, skew.largest]).toEqual([0, 3]);
  });

  test("total variation is 0 for the same shares and 1 for nothing in common", () => {
    expect(totalVariation([1, 3], [2, 6])).toBe(0);
    expect(totalVariation([5, 0], [0, 2])).toBe(1);
  });

  test("numbers are binned by quantile, equal ones together", () => {
    expect([...binByQuantile(Uint32Array.of(5, 1, 3, 2, 4, 6), 3)]).toEqual([2, 0, 1, 0, 1, 2]);
    expect([...binByQuantile(Uint32Array.of(7, 7, 7, 7), 2)]).toEqual([1, 1, 1, 1]);
  });
});
