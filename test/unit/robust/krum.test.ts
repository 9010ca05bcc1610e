/** Krum, Multi-Krum and Bulyan's choice: against the worked case, a naive version on the vectors, and what they promise of hostile clients. */
import { describe, expect, test } from "vitest";
import { bulyanSelection, krumScores, lowestScores } from "../../../src/robust/krum.js";
import { squaredDistances } from "../../../src/robust/vectors.js";
import { RandomNumbers } from "../../helpers/random-numbers.js";
import { permuted, WORKED } from "./worked-case.js";

describe("the worked case", () => {
  const scores = krumScores(squaredDistances(WORKED), 2);

  test("scores, of which the first is the lowest", () => {
    const expected = [0.12, 0.28, 0.28, 0.2, 0.2, 10369.1, 10646.3];
    for (const [i, score] of scores.entries()) expect(Math.abs(score - (expected[i] ?? 0))).toBeLessThan(1e-9);
    expect(lowestScores(scores, 1)).toEqual([0]);
  });

  test("equal scores go to the first", () => {
    expect(lowestScores([2, 1, 1, 1], 2)).toEqual([1, 2]);
    expect(lowestScores([1, 1, 1], 1)).toEqual([0]);
  });
});

/** Bulyan's choice from the vectors, each time with Krum as written down. */
function naiveBulyan(vectors: readonly Float64Array[], numHostile: number): number[] {
  const left = new Map(vectors.entries());
  const chosen: number[] = [];
  while (chosen.length < vectors.length - 2 * numHostile) {
    const scores = [...left].map(([i, x]) => {
      const others = [...left].filter(([j]) => j !== i).map(([, y]) => x.reduce((sum, value, k) => sum + (value - (y[k] ?? 0)) ** 2, 0));
      const nearest = others.sort((a, b) => a - b).slice(0, Math.max(1, numHostile, left.size - numHostile - 2));
      return [i, nearest.reduce((sum, value) => sum + value, 0)] as const;
    });
    const [best] = scores.reduce((lowest, score) => (score[1] < lowest[1] ? score : lowest));
    chosen.push(best);
    left.delete(best);
  }
  return chosen.sort((a, b) => a - b);
}

test("Bulyan repeats Krum among those that are left", () => {
  const random = new RandomNumbers(5);
  for (const f of [0, 1, 2, 3]) {
    for (let n = 4 * f + 3; n < 4 * f + 7; n++) {
      const vectors = Array.from({ length: n }, () => Float64Array.from({ length: 4 }, () => random.normal()));
      expect(bulyanSelection(squaredDistances(vectors), f)).toEqual(naiveBulyan(vectors, f));
    }
  }
});

test("the choice goes with the vectors and not with their order", () => {
  const random = new RandomNumbers(6);
  const vectors = Array.from({ length: 15 }, () => Float64Array.from({ length: 6 }, () => random.normal()));
  const order = random.permutation(15);
  const turned = squaredDistances(permuted(vectors, order));
  const distances = squaredDistances(vectors);
  expect(krumScores(turned, 3)).toEqual(permuted(krumScores(distances, 3), order));
  const back = (places: readonly number[]) => places.map((place) => order[place] ?? -1).sort((a, b) => a - b);
  expect(back(lowestScores(krumScores(turned, 3), 5))).toEqual(lowestScores(krumScores(distances, 3), 5));
  expect(back(bulyanSelection(turned, 3))).toEqual(bulyanSelection(distances, 3));
});

test("distances have nothing of a large part that all vectors share", () => {
  const random = new RandomNumbers(7);
  const vectors = Array.from({ length: 7 }, () => Float64Array.from({ length: 4 }, () => Math.fround(random.normal())));
  // Whole numbers of 2^20, so that the shifted vectors are exact.
  const shifted = vectors.map((vector) => vector.map((value) => Math.round(value * 2 ** 20) / 2 ** 20 + 2 ** 30));
  const plain = vectors.map((vector) => vector.map((value) => Math.round(value * 2 ** 20) / 2 ** 20));
  expect(krumScores(squaredDistances(shifted), 2)).toEqual(krumScores(squaredDistances(plain), 2));
});

test("f hostile vectors far from all others are never chosen, even when they are alike", () => {
  const random = new RandomNumbers(8);
  for (const f of [1, 2, 3]) {
    for (const size of [20, 1e4, 1e30]) {
      const n = 4 * f + 3;
      const honest = Array.from({ length: n - f }, () => Float64Array.from({ length: 4 }, () => random.normal()));
      const hostile = Array.from({ length: f }, () => new Float64Array(4).fill(size));
      const distances = squaredDistances([...hostile, ...honest]);
      expect(Math.min(...lowestScores(krumScores(distances, f), n - f - 2))).toBeGreaterThanOrEqual(f);
      expect(Math.min(...bulyanSelection(distances, f))).toBeGreaterThanOrEqual(f);
    }
  }
});
