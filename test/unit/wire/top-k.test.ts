/** The largest numbers against sorting, and the code of their places against its definition, bit by bit. */
import { describe, expect, test } from "vitest";
import { createWordStream } from "../../../src/util/random.js";
import { decodePlaces, encodePlaces, gapBytesBound, keptCount, largestPlaces } from "../../../src/wire/top-k.js";

const next = createWordStream(11);
const below = (limit: number): number => next() % limit;

/** By sorting; of equal magnitudes the first places. */
function naivePlaces(values: Float32Array, numKept: number): number[] {
  const byMagnitude = [...values.keys()].sort((left, right) => Math.abs(values[right] ?? 0) - Math.abs(values[left] ?? 0) || left - right);
  return byMagnitude.slice(0, numKept).sort((left, right) => left - right);
}

test("the places are those that sorting gives, with many equal magnitudes, zeros and both signs", () => {
  for (let round = 0; round < 300; round++) {
    const length = 1 + below(80);
    const spread = 1 + below(6);
    const values = Float32Array.from({ length }, () => (below(2 * spread + 1) - spread) * 2 ** (below(5) * 20 - 40));
    const numKept = 1 + below(length);
    expect([...largestPlaces(values, numKept)]).toEqual(naivePlaces(values, numKept));
  }
});

test("how many: the part rounded up, at least one of any", () => {
  expect([keptCount(1000, 0.01), keptCount(1001, 0.01), keptCount(5, 0.001), keptCount(5, 1), keptCount(0, 0.5)]).toEqual([10, 11, 1, 5, 0]);
});

describe("the code of places", () => {
  test("a hand-made one", () => {
    // 4 of 40: 2^b <= 0.69 * 40 / 4 = 6.9, so b = 2. Gaps 3, 0, 9, 1: 0 11 | 0 00 | 110 10 | 0 10, lowest bit first in each byte and gap.
    const bits = "011" + "000" + "11010" + "010";
    const bytes = encodePlaces(Uint32Array.of(3, 4, 14, 16), 40);
    const written = [...bytes].flatMap((byte) => Array.from({ length: 8 }, (_, bit) => (byte >> bit) & 1));
    expect(written.join("")).toBe(bits.padEnd(16, "0"));
    expect(decodePlaces(bytes, 40, 4)).toEqual(Uint32Array.of(3, 4, 14, 16));
  });

  test("what is written is read, within the bound, for all parts", () => {
    for (let round = 0; round < 300; round++) {
      const count = 1 + below(3000);
      const numKept = 1 + below(Math.min(count, 1 + below(count)));
      const places = largestPlaces(Float32Array.from({ length: count }, () => next()), numKept);
      const bytes = encodePlaces(places, count);
      expect(bytes.length).toBeLessThanOrEqual(gapBytesBound(count, numKept));
      expect(decodePlaces(bytes, count, numKept)).toEqual(places);
    }
    const none = encodePlaces(new Uint32Array(0), 0);
    expect([none.length, decodePlaces(none, 0, 0)]).toEqual([0, new Uint32Array(0)]);
  });

  test("the worst gaps reach the bound and do not pass it", () => {
    for (const [count, numKept] of [[1000, 10], [4097, 64], [33, 33], [100_000, 1]] as const) {
      const last = Uint32Array.from({ length: numKept }, (_, index) => count - numKept + index);
      expect(encodePlaces(last, count).length).toBe(gapBytesBound(count, numKept));
    }
  });

  test("places cost about log2(n / k) + 1.5 bits where a fixed width costs log2 n", () => {
    const count = 100_000;
    const places = largestPlaces(Float32Array.from({ length: count }, () => next()), 1000);
    const bits = (8 * encodePlaces(places, count).length) / 1000;
    expect(bits).toBeGreaterThan(Math.log2(100));
    expect(bits).toBeLessThan(Math.log2(100) + 2);
  });

  test("each list has one code: longer, shorter and padded ones are refused, and so are places beyond the end", () => {
    const places = Uint32Array.of(3, 4, 14, 16);
    const bytes = encodePlaces(places, 40);
    expect(decodePlaces(Buffer.concat([bytes, Buffer.of(0)]), 40, 4)).toBeUndefined();
    expect(decodePlaces(bytes.subarray(0, -1), 40, 4)).toBeUndefined();
    expect(decodePlaces(bytes, 40, 5)).toBeUndefined();
    expect(decodePlaces(bytes, 16, 2)).toBeUndefined();
    const padded = Buffer.from(bytes);
    padded[padded.length - 1] = (padded.at(-1) ?? 0) | 0x80;
    expect(decodePlaces(padded, 40, 4)).toBeUndefined();
    expect(decodePlaces(Buffer.alloc(4, 0xff), 40, 4)).toBeUndefined();
  });
});
