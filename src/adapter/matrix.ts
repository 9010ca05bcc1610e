/**
 * Small dense matrices in double precision and the few operations that the geometry of adapters needs. Everything is
 * row-major, and long vectors are always rows, so that inner loops run over neighbouring numbers.
 */
import { assert } from "../util/assert.js";

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
  const { cols } = left;
  for (let i = 0; i < left.rows; i++) {
    const x = rowOf(left, i);
    let j = 0;
    // Four rows at once read x only once.
    for (; j + 4 <= right.rows; j += 4) {
      const base = j * cols;
      let s0 = 0;
      let s1 = 0;
      let s2 = 0;
      let s3 = 0;
      for (let k = 0; k < cols; k++) {
        const value = x[k] ?? 0;
        s0 += value * (right.data[base + k] ?? 0);
        s1 += value * (right.data[base + cols + k] ?? 0);
        s2 += value * (right.data[base + 2 * cols + k] ?? 0);
        s3 += value * (right.data[base + 3 * cols + k] ?? 0);
      }
      result.data.set([s0, s1, s2, s3], i * right.rows + j);
    }
    for (; j < right.rows; j++) result.data[i * right.rows + j] = dot(x, rowOf(right, j));
  }
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
  let sum = 0;
  for (let i = 0; i < left.length; i++) sum += (left[i] ?? 0) * (right[i] ?? 0);
  return sum;
}

/** target += factor * source, in place. */
export function addScaled(target: Float64Array, factor: number, source: Float64Array): void {
  for (let i = 0; i < target.length; i++) target[i] = (target[i] ?? 0) + factor * (source[i] ?? 0);
}

/** Multiplies in place. */
export function scaleInPlace(values: Float64Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * factor;
}
