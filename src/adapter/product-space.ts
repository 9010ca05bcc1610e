/**
 * Geometry of adapters in the space of their products B A, without ever making such a product: inner products by the Gram
 * identity <B1 A1, B2 A2> = sum of (B1^T B2) o (A1 A2^T), and the singular values of a sum of products by QR of the
 * stacked factors and the SVD of the small core between them. A product costs O(r^2 (d_in + d_out)), a decomposition of
 * stacked rank R O(R^2 (d_in + d_out) + R^3). All in double precision.
 */
import { assert } from "../util/assert.js";
import { rowBasis, singularValues } from "./decompositions.js";
import { dot, makeMatrix, multiply, multiplyTransposed, rowOf, rowProducts, rowRange, scaleInPlace, type Matrix } from "./matrix.js";

/** A product B A of some rank; a: [rank, d_in], A as it is; bt: [rank, d_out], B transposed. */
export interface Product {
  readonly a: Matrix;
  readonly bt: Matrix;
}

/** sum of u_i s_i v_i^T over singular directions; u: [k, d_out], v: [k, d_in], orthonormal rows, s descends. */
export interface CompactSvd {
  readonly u: Matrix;
  readonly s: Float64Array;
  readonly v: Matrix;
}

/** The Frobenius inner product of two products; ranks may differ. */
export function innerProduct(left: Product, right: Product): number {
  return dot(rowProducts(left.bt, right.bt).data, rowProducts(left.a, right.a).data);
}

/** ||B A||_F. */
export function productNorm(product: Product): number {
  return Math.sqrt(squaredNorm(product));
}

/** Rows of a Gram matrix that are computed at once. */
const GRAM_ROWS = 64;

/** The inner product with itself, by half of the symmetric Gram matrices. Rounding below 0 counts as 0. */
export function squaredNorm({ a, bt }: Product): number {
  let sum = 0;
  for (let start = 0; start < a.rows; start += GRAM_ROWS) {
    const end = Math.min(a.rows, start + GRAM_ROWS);
    const block = { a: rowRange(a, start, end), bt: rowRange(bt, start, end) };
    sum += innerProduct(block, block);
    if (end < a.rows) sum += 2 * innerProduct(block, { a: rowRange(a, end, a.rows), bt: rowRange(bt, end, bt.rows) });
  }
  return Math.max(0, sum);
}

/** ||B1 A1 - B2 A2||_F; differences below 1e-8 of the norms are rounding. */
export function productDistance(left: Product, right: Product): number {
  return productNorm(stackProducts([left, right], [1, -1]));
}

/** Cosine of the angle between two products; undefined when one of them is zero. */
export function productCosine(left: Product, right: Product): number | undefined {
  const lengths = productNorm(left) * productNorm(right);
  return lengths === 0 ? undefined : innerProduct(left, right) / lengths;
}

/** The product that equals sum of weights[k] * products[k]; its rank is the sum of theirs. The weights go into B. */
export function stackProducts(products: readonly Product[], weights: readonly number[]): Product {
  const [first] = products;
  assert(first !== undefined && products.length === weights.length, "a sum of products has a weight for each");
  const rank = products.reduce((sum, { a }) => sum + a.rows, 0);
  const a = makeMatrix(rank, first.a.cols);
  const bt = makeMatrix(rank, first.bt.cols);
  let row = 0;
  for (const [k, product] of products.entries()) {
    assert(product.a.cols === a.cols && product.bt.cols === bt.cols, "summed products have one shape");
    a.data.set(product.a.data, row * a.cols);
    bt.data.set(product.bt.data, row * bt.cols);
    scaleInPlace(bt.data.subarray(row * bt.cols, (row + product.bt.rows) * bt.cols), weights[k] ?? 0);
    row += product.a.rows;
  }
  return { a, bt };
}

/** The singular value decomposition of B A; as many directions as the smallest of rank, d_in and d_out. */
export function compactSvd({ a, bt }: Product): CompactSvd {
  const left = rowBasis(bt);
  const right = rowBasis(a);
  // B A = (Lb Qb)^T (La Qa) = Qb^T (Lb^T La) Qa
  const core = singularValues(multiplyTransposed(left.l, right.l));
  return { u: multiply(core.u, left.q), s: core.s, v: multiply(core.v, right.q) };
}

/** How a decomposition's singular values are split between the factors: sqrt(s) to each, or all to B. */
export type FactorSplit = "balanced" | "inB";

/**
 * The product of at most `rank` that is nearest to the decomposed one (Eckart and Young 1936), padded with zero rows up to
 * `rank`. With `inB` A has orthonormal rows.
 */
export function bestProduct({ u, s, v }: CompactSvd, rank: number, split: FactorSplit = "balanced"): Product {
  const a = makeMatrix(rank, v.cols);
  const bt = makeMatrix(rank, u.cols);
  const kept = Math.min(rank, s.length);
  a.data.set(rowRange(v, 0, kept).data);
  bt.data.set(rowRange(u, 0, kept).data);
  for (let i = 0; i < kept; i++) {
    const value = s[i] ?? 0;
    scaleInPlace(rowOf(bt, i), split === "inB" ? value : Math.sqrt(value));
    if (split === "balanced") scaleInPlace(rowOf(a, i), Math.sqrt(value));
  }
  return { a, bt };
}

/** Squared singular values from `rank` on, and all of them: what a truncation discards, of what there is. */
export interface Energy {
  readonly discarded: number;
  readonly total: number;
}

/** What keeping the first `rank` directions discards. */
export function truncationEnergy({ s }: CompactSvd, rank: number): Energy {
  let discarded = 0;
  let total = 0;
  // From the smallest, so that small ones are not lost in the sum.
  for (let i = s.length - 1; i >= 0; i--) {
    total += (s[i] ?? 0) ** 2;
    if (i === rank) discarded = total;
  }
  return { discarded, total };
}

/** The smallest rank that keeps this part of the energy (FLoRIST's threshold), at most `maxRank`; 0 for a zero product. */
export function rankOfEnergy(svd: CompactSvd, part: number, maxRank: number): number {
  const limit = Math.min(maxRank, svd.s.length);
  for (let rank = 0; rank < limit; rank++) {
    const { discarded, total } = truncationEnergy(svd, rank);
    if (total - discarded >= part * total) return rank;
  }
  return limit;
}
