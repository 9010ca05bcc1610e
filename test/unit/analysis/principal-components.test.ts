/** Principal components against an example worked out by hand and against a full decomposition; UMAP against what it must keep. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeMatrix } from "../../../src/adapter/matrix.js";
import { singularValues } from "../../../src/adapter/decompositions.js";
import { principalComponents } from "../../../src/analysis/principal-components.js";
import { projectEmbeddings } from "../../../src/analysis/projection.js";
import { AnalysisStore } from "../../../src/analysis/store.js";
import { PythonRandom } from "../../../src/data/python-random.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

test("four points worked out by hand", () => {
  // Around (5, 5): two steps along (3, 4) / 5, one step across it. Variances 8 and 2 of 10.
  const vectors = [[5 + 1.2, 5 + 1.6], [5 - 1.2, 5 - 1.6], [5 - 0.8, 5 + 0.6], [5 + 0.8, 5 - 0.6]];
  const { points, explained } = principalComponents(vectors, 0);
  const expected = [[2, 0], [-2, 0], [0, -1], [0, 1]];
  for (const [index, [x = 0, y = 0]] of expected.entries()) {
    expect(points[index]?.[0]).toBeCloseTo(x, 10);
    expect(points[index]?.[1]).toBeCloseTo(y, 10);
  }
  expect(explained[0]).toBeCloseTo(0.8, 10);
  expect(explained[1]).toBeCloseTo(0.2, 10);
});

test("many vectors: the same as a full singular value decomposition", () => {
  const random = new PythonRandom(7);
  const [numVectors, width] = [40, 30];
  const vectors = Array.from({ length: numVectors }, () => Array.from({ length: width }, (_, index) => (random.random() - 0.5) * (1 + 4 / (1 + index))));
  const { points, explained } = principalComponents(vectors, 0);
  const means = Array.from({ length: width }, (_, index) => vectors.reduce((sum, vector) => sum + (vector[index] ?? 0), 0) / numVectors);
  const { s } = singularValues(makeMatrix(numVectors, width, Float64Array.from(vectors.flatMap((vector) => vector.map((value, index) => value - (means[index] ?? 0))))));
  const total = s.reduce((sum, value) => sum + value * value, 0);
  for (const axis of [0, 1] as const) {
    const square = points.reduce((sum, point) => sum + point[axis] ** 2, 0);
    // The iteration ends when the variance grows by less than 1e-12.
    expect(Math.sqrt(square)).toBeCloseTo(s[axis] ?? 0, 6);
    expect(explained[axis]).toBeCloseTo((s[axis] ?? 0) ** 2 / total, 8);
  }
  // Another start changes rounding only.
  const other = principalComponents(vectors, 1).points;
  for (const [index, [x, y]] of points.entries()) {
    expect(other[index]?.[0]).toBeCloseTo(x, 4);
    expect(other[index]?.[1]).toBeCloseTo(y, 4);
  }
});

test("equal vectors, and a single one, lie at 0", () => {
  expect(principalComponents([[1, 2], [1, 2]], 0)).toEqual({ points: [[0, 0], [0, 0]], explained: [0, 0] });
  expect(principalComponents([[3, 4, 5]], 0)).toEqual({ points: [[0, 0]], explained: [0, 0] });
  const line = principalComponents([[0], [2], [4]], 0);
  expect(line.points.map(([x]) => Number(x.toFixed(9)))).toEqual([-2, 0, 2]);
});

test("UMAP keeps two clouds apart, and the same seed gives the same points, from the store or not", async () => {
  const random = new PythonRandom(1);
  const vectors = Array.from({ length: 40 }, (_, index) => Float32Array.from({ length: 8 }, () => random.random() + (index < 20 ? 0 : 10)));
  // The last text is the first one again.
  vectors[39] = vectors[0] ?? new Float32Array(0);
  const hashes = vectors.map((_, index) => (index === 39 ? "h0" : `h${String(index)}`));
  const project = async (store: AnalysisStore) => projectEmbeddings({ hashes, vectors, analysis: "a", seed: 0 }, { store });
  const store = new AnalysisStore(join(makeTemporaryFolder(), "a.sqlite"));
  const { umap = [] } = await project(store);
  expect((await project(store)).umap).toEqual(umap);
  const fresh = new AnalysisStore(join(makeTemporaryFolder(), "a.sqlite"));
  expect((await project(fresh)).umap).toEqual(umap);
  expect(umap[39]).toEqual(umap[0]);
  const distance = (left: number, right: number) => Math.hypot((umap[left]?.[0] ?? 0) - (umap[right]?.[0] ?? 0), (umap[left]?.[1] ?? 0) - (umap[right]?.[1] ?? 0));
  const nearest = (from: number) => umap.map((_, index) => index).filter((index) => index !== from && index !== 39).sort((left, right) => distance(from, left) - distance(from, right))[0] ?? -1;
  expect(umap.slice(0, 39).every((_, index) => index < 20 === nearest(index) < 20)).toBe(true);
  const few = await projectEmbeddings({ hashes: hashes.slice(0, 4), vectors: vectors.slice(0, 4), analysis: "a", seed: 0 }, { store });
  expect(few.umap).toBeUndefined();
  store.close();
  fresh.close();
});
