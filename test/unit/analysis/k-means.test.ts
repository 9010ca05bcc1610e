/** k-means: numbers that one can cluster by hand, against all partitions of a few points, and blobs that lie apart. */
import { describe, expect, test } from "vitest";
import { kMeans } from "../../../src/analysis/k-means.js";
import { uniform } from "../../../src/util/random.js";

describe("k-means", () => {
  test("six numbers in three pairs: the means are 0.5, 10.5 and 20.5, and every number is half away from its own", () => {
    const found = kMeans([[10], [0], [21], [1], [11], [20]], 3, 0);
    // Numbered as they first come: 10 is in the first, 0 in the second, 21 in the third.
    expect([...found.labels]).toEqual([0, 1, 2, 1, 0, 2]);
    expect(found).toMatchObject({ numClusters: 3, inertia: 6 * 0.25 });
  });

  test("one cluster has the variance about the mean", () => {
    expect(kMeans([[1, 0], [3, 0], [2, 3]], 1, 0)).toEqual({ labels: Uint32Array.of(0, 0, 0), numClusters: 1, inertia: 1 + 1 + 1 + 1 + 4 });
  });

  test("a search from some seeds finds the best of all partitions of a few points into two", () => {
    for (let seed = 0; seed < 10; seed++) {
      const points = Array.from({ length: 9 }, (_, index) => [uniform(seed, "x", index), uniform(seed, "y", index)] as const);
      const inertias = Array.from({ length: 2 ** 8 - 1 }, (_, mask) => {
        const sides = [0, 1].map((side) => points.filter((__, index) => (((mask + 1) >> index) & 1) === side));
        return sides.reduce((sum, side) => sum + spreadOf(side), 0);
      });
      const found = Array.from({ length: 10 }, (_, start) => kMeans(points, 2, start).inertia);
      expect(Math.min(...found)).toBeCloseTo(Math.min(...inertias), 12);
    }
  });

  test("blobs that lie apart are found whatever the seed, and the same seed gives the same", () => {
    const centres = [[0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8], [8, 8, 8]];
    const blobOf = (index: number) => (index * 7) % centres.length;
    const points = Array.from({ length: 200 }, (_, index) => (centres[blobOf(index)] ?? []).map((value, axis) => value + uniform(3, "blob", index, axis) - 0.5));
    for (let seed = 0; seed < 20; seed++) {
      const { labels, numClusters } = kMeans(points, 5, seed);
      expect(numClusters).toBe(5);
      const pairs = new Set(points.map((_, index) => `${String(blobOf(index))} ${String(labels[index])}`));
      expect(pairs.size).toBe(5);
      expect(kMeans(points, 5, seed).labels).toEqual(labels);
    }
  });

  test("there are no more clusters than vectors that differ", () => {
    expect(kMeans([[1], [1], [2]], 3, 0)).toEqual({ labels: Uint32Array.of(0, 0, 1), numClusters: 2, inertia: 0 });
  });
});

/** Sum of the squared distances from the mean. */
function spreadOf(points: readonly (readonly [number, number])[]): number {
  if (points.length === 0) return 0;
  const [x, y] = [0, 1].map((axis) => points.reduce((sum, point) => sum + (point[axis] ?? 0), 0) / points.length);
  return points.reduce((sum, point) => sum + (point[0] - (x ?? 0)) ** 2 + (point[1] - (y ?? 0)) ** 2, 0);
}
