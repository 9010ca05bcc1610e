/** Dense matrices for comparison: the naive way of everything that the program does in factors. */
import { makeMatrix, multiplyTransposed, type Matrix } from "../../src/adapter/matrix.js";
import type { Product } from "../../src/adapter/product-space.js";

/** A generator in [-1, 1) (mulberry32). */
export function makeUniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

export function randomMatrix(rows: number, cols: number, random: () => number): Matrix {
  return makeMatrix(rows, cols, Float64Array.from({ length: rows * cols }, random));
}

export function randomProduct(rank: number, dIn: number, dOut: number, random: () => number): Product {
  return { a: randomMatrix(rank, dIn, random), bt: randomMatrix(rank, dOut, random) };
}

/** B A as a dense matrix [d_out, d_in]. */
export function dense({ a, bt }: Product): Matrix {
  return multiplyTransposed(bt, a);
}

/** sum of weights[k] * matrices[k]. */
export function denseSum(matrices: readonly Matrix[], weights: readonly number[]): Matrix {
  const [first] = matrices;
  if (first === undefined) throw new Error("there is a matrix");
  const sum = makeMatrix(first.rows, first.cols);
  for (const [k, { data }] of matrices.entries()) data.forEach((value, i) => (sum.data[i] = (sum.data[i] ?? 0) + (weights[k] ?? 0) * value));
  return sum;
}

export function denseInner(left: Matrix, right: Matrix): number {
  return left.data.reduce((sum, value, i) => sum + value * (right.data[i] ?? Number.NaN), 0);
}

export function denseNorm(matrix: Matrix): number {
  return Math.sqrt(denseInner(matrix, matrix));
}

/** Frobenius distance. */
export function denseDistance(left: Matrix, right: Matrix): number {
  return denseNorm(denseSum([left, right], [1, -1]));
}
