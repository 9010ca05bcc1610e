/** Updates as whole numbers: the sum never wraps, rounding is within its bound, and what would break either is refused. */
import { describe, expect, test } from "vitest";
import { FixedPoint } from "../../../src/secagg/fixed-point.js";
import { packWords, packedBytes, unpackWords } from "../../../src/secagg/messages.js";
import { createWordStream } from "../../../src/util/random.js";

const OPTIONS = { bits: 32, clip: 1, maxWeight: 10, numClients: 4 };

/** Adds modulo 2^bits, as the protocol does. */
function addWords(all: readonly Uint32Array[], bits: number): Uint32Array {
  return Uint32Array.from(all[0] ?? [], (_, i) => Number(all.reduce((sum, words) => sum + BigInt(words[i] ?? 0), 0n) % 2n ** BigInt(bits)));
}

describe("encoding", () => {
  test("rounds to a power of two by hand", () => {
    const fixed = new FixedPoint({ ...OPTIONS, bits: 16, clip: 2, maxWeight: 1, numClients: 4 });
    // Each may be up to floor(32767 / 4) = 8191, and 2 / 2^-11 = 4096 is not more.
    expect(fixed.step).toBe(2 ** -11);
    const words = fixed.encode(Float32Array.of(0, 1, -1, 2 ** -12, -(2 ** -12), 0.3), 1);
    expect([...words.subarray(0, 6)].map((word) => word | 0)).toEqual([0, 2048, -2048, 1, 0, 614]);
    expect([...words.subarray(6)]).toEqual([1, 0]);
    expect([...fixed.decode(words).values]).toEqual([0, 1, -1, 2 ** -11, 0, 614 / 2048]);
  });

  test("brings larger values to the clip and says that it did", () => {
    const fixed = new FixedPoint({ ...OPTIONS, clip: 0.1 });
    const { values, totalWeight, numClipped } = fixed.decode(fixed.encode(Float32Array.of(0.5, -0.5, 0.05), 3));
    expect(values[0]).toBe(-(values[1] ?? 0));
    expect(Math.abs((values[0] ?? 0) / 3 - 0.1)).toBeLessThan(1e-7);
    expect([totalWeight, numClipped]).toEqual([3, 1]);
    expect(fixed.decode(fixed.encode(Float32Array.of(Math.fround(0.0999)), 1)).numClipped).toBe(0);
  });

  test.each([
    ["not a number", Float32Array.of(Number.NaN), 1],
    ["infinite", Float32Array.of(Number.NEGATIVE_INFINITY), 1],
    ["too heavy", Float32Array.of(0), 11],
    ["of half a sample", Float32Array.of(0), 0.5],
    ["of negative weight", Float32Array.of(0), -1],
  ])("refuses an update that is %s", (_name, values, weight) => {
    expect(() => new FixedPoint(OPTIONS).encode(values, weight)).toThrow(expect.objectContaining({ code: "UPDATE_REJECTED" }));
  });
});

describe("sums", () => {
  test.each([
    [16, 1, 1, 2], [16, 1e-9, 1, 255], [17, 3, 4, 100], [24, 0.7, 100, 100], [31, 1e6, 1000, 1000], [32, 0.1, 1, 2], [32, 1, 100_000, 100], [32, 2 ** -20, 7, 3], [32, 1.5, 1, 65534],
  ])("of %d bits, clip %d, weight %d and %d clients do not wrap at the ends", (bits, clip, maxWeight, numClients) => {
    const fixed = new FixedPoint({ bits, clip, maxWeight, numClients });
    for (const sign of [1, -1]) {
      const words = fixed.encode(Float32Array.of(sign * clip, sign * 1e30), maxWeight);
      const units = ((words[0] ?? 0) << (32 - bits)) >> (32 - bits);
      expect(Math.abs(units) * numClients).toBeLessThanOrEqual(2 ** (bits - 1) - 1);
      // The grid is the finest power of two for which this holds.
      expect((2 * maxWeight * Math.fround(clip)) / fixed.step).toBeGreaterThan(Math.floor((2 ** (bits - 1) - 1) / numClients) * (1 - 1e-6));
      expect(words[1]).toBe(words[0]);
      expect(numClients * maxWeight).toBeLessThan(2 ** bits);
    }
  });

  test("are within the bound of the exact weighted mean, whatever is summed", () => {
    const next = createWordStream(3);
    for (const [bits, clip, maxWeight, numClients] of [[32, 1, 50, 7], [20, 0.01, 3, 20], [32, 1e-4, 5000, 3]] as const) {
      const fixed = new FixedPoint({ bits, clip, maxWeight, numClients });
      const terms = Array.from({ length: numClients }, () => ({
        values: Float32Array.from({ length: 200 }, () => Math.fround((next() / 2 ** 31 - 1) * clip * 0.999)),
        weight: 1 + (next() % maxWeight),
      }));
      const { values, totalWeight, numClipped } = fixed.decode(addWords(terms.map(({ values: own, weight }) => fixed.encode(own, weight)), bits));
      expect(totalWeight).toBe(terms.reduce((sum, { weight }) => sum + weight, 0));
      expect(numClipped).toBe(0);
      const bound = fixed.meanErrorBound(numClients, totalWeight);
      for (const [i, sum] of values.entries()) {
        const exact = terms.reduce((total, { values: own, weight }) => total + weight * (own[i] ?? 0), 0) / totalWeight;
        // Beside the bound only the double precision of the check itself.
        expect(Math.abs(sum / totalWeight - exact)).toBeLessThanOrEqual(bound + 1e-14 * clip);
      }
    }
  });

  test.each([
    [16, 1, 256],
    [16, 2, 128],
    [32, 2 ** 29, 1],
    [32, 167_773, 100],
  ])("too coarse for %d bits, weight %d and %d clients are refused with the bits that would do", (bits, maxWeight, numClients) => {
    expect(() => new FixedPoint({ bits, clip: 1, maxWeight, numClients })).toThrow(/federation\.secureAggregation\.bits.*clients of weight/u);
  });

  test("the bits that are named are enough where there are so many", () => {
    let message = "";
    try {
      new FixedPoint({ bits: 16, clip: 1, maxWeight: 20, numClients: 100 });
    } catch (error) {
      message = (error as Error).message;
    }
    const [, needed] = /: (\d+) bits/u.exec(message) ?? [];
    expect(() => new FixedPoint({ bits: Number(needed), clip: 1, maxWeight: 20, numClients: 100 })).not.toThrow();
    expect(() => new FixedPoint({ bits: Number(needed) - 1, clip: 1, maxWeight: 20, numClients: 100 })).toThrow();
  });
});

test.each([16, 17, 23, 24, 31, 32])("words of %d bits are packed without gaps and come back", (bits) => {
  const next = createWordStream(bits);
  for (const length of [1, 2, 7, 100]) {
    const words = Uint32Array.from({ length }, next);
    const bytes = packWords(words, bits);
    expect(bytes.length).toBe(Math.ceil((length * bits) / 8));
    expect(bytes.length).toBe(packedBytes(length, bits));
    expect(unpackWords(bytes, length, bits)).toEqual(words.map((word) => word % 2 ** bits));
  }
});
