/**
 * Small dense matrices in double precision and the few operations that the geometry of adapters needs. Everything is
 * row-major, and long vectors are always rows, so that inner loops run over neighbouring numbers.
 */
import { assert } from "../util/assert.js";
import { arithmeticFor } from "./arithmetic.js";

/** `data[row * cols + col]`. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float64Array;
}

/** All zero, or over the given numbers, which are not copied. */
export function makeMatrix(rows: number, cols: number, data: Float64Array = new Float64Array(rows * cols)): Matrix {
  assert(data.length === rows * cols, "a matrix has rows times columns numbers");
  return { rows, cols, data };
}

/** left right; [m, k] x [k, n] -> [m, n]. */
export function multiply(left: Matrix, right: Matrix): Matrix {
  assert(left.cols === right.rows, "inner dimensions of a product are equal");
  const result = makeMatrix(left.rows, right.cols);
  for (let row = 0; row < left.rows; row++) {
    const target = rowOf(result, row);
    for (let k = 0; k < left.cols; k++) addScaled(target, left.data[row * left.cols + k] ?? 0, rowOf(right, k));
  }
  return result;
}

/** left^T right; [k, m] x [k, n] -> [m, n]. */
export function multiplyTransposed(left: Matrix, right: Matrix): Matrix {
  assert(left.rows === right.rows, "inner dimensions of a product are equal");
  const result = makeMatrix(left.cols, right.cols);
  for (let k = 0; k < left.rows; k++) {
    const source = rowOf(right, k);
    for (let row = 0; row < left.cols; row++) {
      addScaled(rowOf(result, row), left.data[k * left.cols + row] ?? 0, source);
    }
  }
  return result;
}

/** left right^T, the inner products of all rows; [m, k] x [n, k] -> [m, n]. */
export function rowProducts(left: Matrix, right: Matrix): Matrix {
  assert(left.cols === right.cols, "rows of a product are equally long");
  const result = makeMatrix(left.rows, right.rows);
  arithmeticFor(left.data.length).rowProducts(left.data, right.data, left.cols, result.data);
  return result;
}

export function transpose(matrix: Matrix): Matrix {
  const result = makeMatrix(matrix.cols, matrix.rows);
  for (let row = 0; row < matrix.rows; row++) {
    for (let col = 0; col < matrix.cols; col++) {
      result.data[col * matrix.rows + row] = matrix.data[row * matrix.cols + col] ?? 0;
    }
  }
  return result;
}

/** A view. */
export function rowOf({ cols, data }: Matrix, row: number): Float64Array {
  return data.subarray(row * cols, (row + 1) * cols);
}

/** The rows from `start` to before `end`, as a view. */
export function rowRange({ cols, data }: Matrix, start: number, end: number): Matrix {
  return makeMatrix(end - start, cols, data.subarray(start * cols, end * cols));
}

export function dot(left: Float64Array, right: Float64Array): number {
  assert(left.length === right.length, "the sides of an inner product are equally long");
  return arithmeticFor(left.length).dot(left, right);
}

/** target += factor * source, in place. */
export function addScaled(target: Float64Array, factor: number, source: Float64Array): void {
  assert(target.length === source.length, "added vectors are equally long");
  arithmeticFor(target.length).addScaled(target, factor, source);
}

/** Multiplies in place. */
export function scaleInPlace(values: Float64Array, factor: number): void {
  arithmeticFor(values.length).scale(values, factor);
}
