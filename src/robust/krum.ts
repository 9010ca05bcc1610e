/**
 * Rules that choose updates with close neighbours, from the squared distances of all pairs [n, n] alone, in whatever space these were measured.
 *
 * Krum (Blanchard et al. 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent"): a score is the sum of the squared distances to the
 * n - f - 2 nearest others, where f clients may be hostile; the lowest wins; n >= 2f + 3. Multi-Krum takes the m lowest, m <= n - f - 2.
 *
 * Bulyan (El Mhamdi et al. 2018, "The Hidden Vulnerability of Distributed Learning in Byzantium"): Krum among those that are left, until n - 2f are chosen; of these
 * each coordinate is the mean of the n - 4f values nearest to the median (coordinates.ts); n >= 4f + 3. Towards the end so few are left that the score would be of
 * fewer than f neighbours: then it is of f, so that f clients who send the same are not close to each other alone.
 *
 * Equal scores: the first in the given order.
 */
import { rowOf, type Matrix } from "../adapter/matrix.js";
import { assert } from "../util/assert.js";

/** Each one's sum of squared distances to its n - f - 2 nearest others. */
export function krumScores(distances: Matrix, assumedHostile: number): number[] {
  const all = Array.from({ length: distances.rows }, (_, i) => i);
  assert(distances.rows - assumedHostile - 2 >= 1, "Krum has neighbours to look at");
  return all.map((i) => scoreAmong(distances, i, all, distances.rows - assumedHostile - 2));
}

/** The `count` lowest scores, as ascending places. */
export function lowestScores(scores: readonly number[], count: number): number[] {
  const order = scores.map((_, i) => i).sort((left, right) => (scores[left] ?? 0) - (scores[right] ?? 0) || left - right);
  return order.slice(0, count).sort((left, right) => left - right);
}

/** Bulyan's choice of n - 2f, as ascending places. */
export function bulyanSelection(distances: Matrix, assumedHostile: number): number[] {
  const left = Array.from({ length: distances.rows }, (_, i) => i);
  const chosen: number[] = [];
  while (chosen.length < distances.rows - 2 * assumedHostile) {
    const numNearest = Math.min(left.length - 1, Math.max(1, assumedHostile, left.length - assumedHostile - 2));
    const scores = left.map((i) => scoreAmong(distances, i, left, numNearest));
    const [best] = lowestScores(scores, 1);
    assert(best !== undefined, "there is a lowest score while some are left");
    chosen.push(...left.splice(best, 1));
  }
  return chosen.sort((a, b) => a - b);
}

function scoreAmong(distances: Matrix, place: number, others: readonly number[], numNearest: number): number {
  const row = rowOf(distances, place);
  const sorted = Float64Array.from(others.filter((other) => other !== place), (other) => row[other] ?? 0).sort();
  return sorted.subarray(0, numNearest).reduce((sum, distance) => sum + distance, 0);
}
