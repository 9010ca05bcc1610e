/** Distances between clients, each with an example that can be worked out by hand. */
import { expect, test } from "vitest";
import { cosineSimilarity, lengthScale, shareDistance, wassersteinDistance } from "../../../src/analysis/distances.js";

test("languages: half the sum of the differences of shares", () => {
  const client = new Map([["en", 3], ["fr", 1]]);
  const all = new Map([["en", 2], ["ru", 2]]);
  // |3/4 - 1/2| + |1/4 - 0| + |0 - 1/2| = 1, half of it.
  expect(shareDistance(client, all)).toBe(0.5);
  expect(shareDistance(client, client)).toBe(0);
  expect(shareDistance(new Map([["en", 5]]), new Map([["te", 1]]))).toBe(1);
});

test("numbers: how far they must be moved on average", () => {
  expect(wassersteinDistance([1, 2], [3, 4])).toBe(2);
  expect(wassersteinDistance([0, 0, 6], [0, 0, 0])).toBe(2);
  // One half stays at 0, the other goes from 0 to 4.
  expect(wassersteinDistance([0], [0, 4])).toBe(2);
  expect(wassersteinDistance([1, 5, 5], [1, 5, 5])).toBe(0);
  expect(wassersteinDistance([3, 4], [1, 2])).toBe(2);
});

test("lengths: a distance of 1 is twice as long", () => {
  expect([...lengthScale([7, 1, 3])]).toEqual([1, 2, 3]);
  expect(wassersteinDistance(lengthScale([1, 3]), lengthScale([3, 7]))).toBe(1);
});

test("vectors: the cosine of their angle", () => {
  expect(cosineSimilarity([3, 4], [4, 3])).toBeCloseTo(24 / 25, 12);
  expect(cosineSimilarity([1, 0], [0, 2])).toBe(0);
  expect(cosineSimilarity([1, 2], [-2, -4])).toBeCloseTo(-1, 12);
  expect(cosineSimilarity([0, 0], [1, 1])).toBe(0);
});
