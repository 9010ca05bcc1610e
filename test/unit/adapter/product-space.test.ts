/**
 * Goal: every statement about products B A that is computed from factors agrees with the dense matrix, for random shapes,
 * ranks and seeds, rank-deficient and zero products included. Tolerances: double precision's 2^-53 times the few hundred
 * operations of one entry, relative to the size of the operands.
 */
import { describe, expect, test } from "vitest";
import { rowBasis, singularValues, solvePositiveDefinite } from "../../../src/adapter/decompositions.js";
import { makeMatrix, multiply, rowProducts, transpose, type Matrix } from "../../../src/adapter/matrix.js";
import {
  bestProduct,
  compactSvd,
  innerProduct,
  productCosine,
  productDistance,
  productNorm,
  rankOfEnergy,
  stackProducts,
  truncationEnergy,
  type CompactSvd,
  type Product,
} from "../../../src/adapter/product-space.js";
import { dense, denseDistance, denseInner, denseNorm, denseSum, makeUniform, randomMatrix, randomProduct } from "../../helpers/dense.js";

const TOLERANCE = 1e-13;
const SEEDS = Array.from({ length: 20 }, (_, seed) => seed);

const identity = (size: number): Matrix => makeMatrix(size, size, Float64Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)));

/** Between `low` and `high`, both included. */
const between = (random: () => number, low: number, high: number): number => low + Math.floor(((random() + 1) / 2) * (high - low + 1));

/** Both are decompositions of the same matrix. */
const reconstruct = ({ u, s, v }: CompactSvd): Matrix => {
  const scaled = makeMatrix(u.rows, u.cols, u.data.map((value, i) => value * (s[Math.floor(i / u.cols)] ?? 0)));
  return multiply(transpose(scaled), v);
};

/** The last row of A is a combination of the others and the first column of B a copy, so the rank is lower than it looks. */
function deficient({ a, bt }: Product): Product {
  const last = (a.rows - 1) * a.cols;
  for (let i = 0; i < a.cols; i++) a.data[last + i] = a.rows === 1 ? 0 : 2 * (a.data[i] ?? 0);
  bt.data.copyWithin(0, (bt.rows - 1) * bt.cols);
  return { a, bt };
}

const zero = ({ a, bt }: Product): Product => ({ a, bt: makeMatrix(bt.rows, bt.cols) });
const asIs = (product: Product): Product => product;

describe.each([
  ["random products", asIs],
  ["rank-deficient products", deficient],
  ["zero products", zero],
])("%s", (_name, change) => {
  test.each(SEEDS)("inner products, norms, distances and sums equal the dense ones, seed %i", (seed) => {
    const random = makeUniform(seed);
    const [dIn, dOut] = [between(random, 1, 40), between(random, 1, 40)];
    const left = change(randomProduct(between(random, 1, 9), dIn, dOut, random));
    const right = change(randomProduct(between(random, 1, 9), dIn, dOut, random));
    const [x, y] = [dense(left), dense(right)];
    const size = 1 + denseNorm(x) * denseNorm(y);
    expect(Math.abs(innerProduct(left, right) - denseInner(x, y))).toBeLessThan(TOLERANCE * size * 10);
    expect(Math.abs(productNorm(left) - denseNorm(x))).toBeLessThan(TOLERANCE * size);
    // A root of a difference of squares: half the digits when both are nearly equal.
    expect(Math.abs(productDistance(left, right) - denseDistance(x, y))).toBeLessThan(1e-7 * size);
    const sum = stackProducts([left, right], [0.25, -3]);
    expect(denseDistance(dense(sum), denseSum([x, y], [0.25, -3]))).toBeLessThan(TOLERANCE * size);
  });

  test.each(SEEDS)("the compact decomposition is orthonormal, sorted and gives the matrix back, seed %i", (seed) => {
    const random = makeUniform(100 + seed);
    const [dIn, dOut, rank] = [between(random, 1, 30), between(random, 1, 30), between(random, 1, 40)];
    const product = change(randomProduct(rank, dIn, dOut, random));
    const svd = compactSvd(product);
    expect(svd.s).toHaveLength(Math.min(rank, dIn, dOut));
    expect([...svd.s].every((value, i) => value >= (svd.s[i + 1] ?? 0))).toBe(true);
    const x = dense(product);
    const size = 1 + denseNorm(x);
    expect(denseDistance(reconstruct(svd), x)).toBeLessThan(TOLERANCE * size);
    const used = svd.s.filter((value) => value > TOLERANCE * size).length;
    for (const directions of [svd.u, svd.v]) {
      const gram = rowProducts(makeMatrix(used, directions.cols, directions.data.subarray(0, used * directions.cols)), directions);
      for (let i = 0; i < used; i++) {
        for (let j = 0; j < used; j++) expect(Math.abs((gram.data[i * directions.rows + j] ?? 0) - (i === j ? 1 : 0))).toBeLessThan(1e-12);
      }
    }
  });

  test.each(SEEDS)("the best product of a rank is off by the energy that it says to discard, seed %i", (seed) => {
    const random = makeUniform(200 + seed);
    const product = change(randomProduct(between(random, 1, 12), between(random, 2, 25), between(random, 2, 25), random));
    const svd = compactSvd(product);
    const x = dense(product);
    for (const rank of [1, 2, 5, 30]) {
      for (const split of ["balanced", "inB"] as const) {
        const best = bestProduct(svd, rank, split);
        expect([best.a.rows, best.bt.rows]).toEqual([rank, rank]);
        const { discarded, total } = truncationEnergy(svd, rank);
        expect(Math.abs(total - denseNorm(x) ** 2)).toBeLessThan(TOLERANCE * (1 + total) * 10);
        expect(Math.abs(denseDistance(dense(best), x) - Math.sqrt(discarded))).toBeLessThan(TOLERANCE * (1 + Math.sqrt(total)) * 10);
      }
    }
  });
});

test("no product of that rank is nearer than the best one", () => {
  const random = makeUniform(9);
  const product = randomProduct(6, 10, 8, random);
  const least = productDistance(bestProduct(compactSvd(product), 2), product);
  for (let i = 0; i < 200; i++) {
    const { a, bt } = bestProduct(compactSvd(product), 2);
    const nudge = (matrix: Matrix) => makeMatrix(matrix.rows, matrix.cols, matrix.data.map((value) => value + 0.1 * random()));
    expect(productDistance({ a: nudge(a), bt: nudge(bt) }, product)).toBeGreaterThan(least);
  }
});

test("the factors of the best product: equal lengths when balanced, orthonormal A when all is in B", () => {
  const svd = compactSvd(randomProduct(4, 9, 7, makeUniform(3)));
  const balanced = bestProduct(svd, 4);
  const gramA = rowProducts(balanced.a, balanced.a);
  const gramB = rowProducts(balanced.bt, balanced.bt);
  expect(denseDistance(gramA, gramB)).toBeLessThan(TOLERANCE);
  const { a } = bestProduct(svd, 4, "inB");
  expect(denseDistance(rowProducts(a, a), identity(4))).toBeLessThan(TOLERANCE);
});

test("norms of more rows than are multiplied at once equal the dense ones", () => {
  for (const rank of [63, 64, 65, 150]) {
    const product = randomProduct(rank, 12, 9, makeUniform(rank));
    expect(Math.abs(productNorm(product) / denseNorm(dense(product)) - 1)).toBeLessThan(TOLERANCE);
  }
});

test("cosines: 1 with itself however factored, -1 with the opposite, none with zero", () => {
  const product = randomProduct(3, 12, 5, makeUniform(4));
  const other = bestProduct(compactSvd(product), 3);
  expect(productCosine(product, other)).toBeCloseTo(1, 13);
  expect(productCosine(product, stackProducts([other], [-2]))).toBeCloseTo(-1, 13);
  expect(productCosine(product, zero(product))).toBeUndefined();
});

test("known singular values: 3, 2 and 1 on the diagonal, and energies of 14, 5 and 1", () => {
  const diagonal = makeMatrix(3, 3, Float64Array.of(1, 0, 0, 0, 3, 0, 0, 0, 2));
  const svd = compactSvd({ a: diagonal, bt: identity(3) });
  expect([...svd.s]).toEqual([3, 2, 1]);
  expect([0, 1, 2, 3].map((rank) => truncationEnergy(svd, rank))).toEqual([14, 5, 1, 0].map((discarded) => ({ discarded, total: 14 })));
  // 9/14 = 0.64, 13/14 = 0.93
  expect([0, 0.6, 0.64, 0.65, 0.93, 1].map((part) => rankOfEnergy(svd, part, 3))).toEqual([0, 1, 1, 2, 3, 3]);
  expect(rankOfEnergy(svd, 1, 2)).toBe(2);
  expect(rankOfEnergy(compactSvd({ a: diagonal, bt: makeMatrix(3, 3) }), 1, 3)).toBe(0);
});

test("small singular values beside large ones keep their digits", () => {
  const values = [1e8, 1, 1e-6];
  const { u, v } = compactSvd(randomProduct(3, 20, 20, makeUniform(5)));
  const scaled = makeMatrix(3, 20, u.data.map((value, i) => value * (values[Math.floor(i / 20)] ?? 0)));
  const { s } = compactSvd({ a: v, bt: scaled });
  for (const [i, value] of values.entries()) expect(Math.abs((s[i] ?? 0) / value - 1)).toBeLessThan(1e-7);
});

test.each(SEEDS)("rows are a lower triangle times an orthonormal basis, seed %i", (seed) => {
  const random = makeUniform(300 + seed);
  const rows = randomMatrix(between(random, 1, 20), between(random, 1, 20), random);
  // Dependent rows and a zero row.
  if (rows.rows > 2) {
    rows.data.copyWithin(rows.cols, 0, rows.cols);
    rows.data.fill(0, 2 * rows.cols, 3 * rows.cols);
  }
  const { l, q } = rowBasis(rows);
  expect(denseDistance(multiply(l, q), rows)).toBeLessThan(TOLERANCE * (1 + denseNorm(rows)));
  expect(denseDistance(rowProducts(q, q), identity(q.rows))).toBeLessThan(TOLERANCE * q.rows);
  for (let i = 0; i < l.rows; i++) for (let j = i + 1; j < l.cols; j++) expect(l.data[i * l.cols + j]).toBe(0);
  // So a basis that is orthonormal already is its own.
  for (let i = 0; i < l.cols; i++) expect(l.data[i * l.cols + i]).toBeGreaterThanOrEqual(0);
  const again = rowBasis(q);
  expect(denseDistance(again.q, q)).toBeLessThan(TOLERANCE * q.rows);
});

test("singular values of a square rotation are 1, and of wide and tall matrices the same", () => {
  const { q } = rowBasis(randomMatrix(6, 6, makeUniform(6)));
  for (const value of singularValues(q).s) expect(Math.abs(value - 1)).toBeLessThan(TOLERANCE);
  const wide = randomMatrix(3, 8, makeUniform(7));
  const tall = singularValues(transpose(wide)).s;
  expect([...singularValues(wide).s].map((value, i) => Math.abs(value - (tall[i] ?? 0)) < TOLERANCE)).toEqual([true, true, true]);
});

test.each(SEEDS)("the solution of a positive definite system satisfies it, seed %i", (seed) => {
  const random = makeUniform(400 + seed);
  const size = between(random, 1, 12);
  const root = randomMatrix(size, size + 3, random);
  const system = denseSum([rowProducts(root, root), identity(size)], [1, 0.1]);
  const right = randomMatrix(size, 4, random);
  const solution = solvePositiveDefinite(system, right);
  // The condition number is below some hundreds here.
  expect(denseDistance(multiply(system, solution), right)).toBeLessThan(1e-11);
});
