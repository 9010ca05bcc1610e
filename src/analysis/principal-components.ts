/**
 * The two directions in which vectors differ most, and the vectors' coordinates along them: principal components by subspace
 * iteration, which never forms the covariance matrix. A few directions more than asked for are carried along, since the error of the
 * first two falls with the ratio of the eigenvalues behind them.
 */
import { makeMatrix, multiply, rowOf, rowProducts, dot, addScaled, scaleInPlace } from "../adapter/matrix.js";
import type { Matrix } from "../adapter/matrix.js";
import { rotateRows } from "../adapter/decompositions.js";
import { PythonRandom } from "../data/python-random.js";

export type Point = readonly [x: number, y: number];

export interface Projection {
  /** In the order of the vectors; their mean is at 0. */
  readonly points: readonly Point[];
  /** Part of the whole variance along each direction. */
  readonly explained: Point;
}

const EXTRA_DIRECTIONS = 8;
const ITERATIONS_MAX = 500;
/** Relative growth of the variance within the directions at which the iteration ends. */
const GROWTH_WITHIN = 1e-12;
/** Rows shorter than this part of what they were lie in the span of the rows before them. */
const DEPENDENT_WITHIN = 1e-10;

/** Projects vectors of one length. The sign of a direction is chosen so that its largest entry is positive. The seed starts the iteration; it changes no more than rounding. */
export function principalComponents(vectors: readonly ArrayLike<number>[], seed: number): Projection {
  const data = centred(vectors);
  const total = dot(data.data, data.data);
  if (total === 0) return { points: vectors.map(() => [0, 0]), explained: [0, 0] };
  const { rotation, rows, basis } = iterate(data, startBasis(data, seed));
  const directions = multiply(rotation, basis);
  const scores = [0, 1].map((index) => {
    if (index >= rows.rows) return new Float64Array(data.rows);
    const row = rowOf(rows, index).slice();
    if (largestEntry(rowOf(directions, index)) < 0) scaleInPlace(row, -1);
    return row;
  });
  const variance = scores.map((score) => dot(score, score) / total);
  return {
    points: vectors.map((_, index) => [scores[0]?.[index] ?? 0, scores[1]?.[index] ?? 0]),
    explained: [variance[0] ?? 0, variance[1] ?? 0],
  };
}

/** Turns the basis [k, d] towards the directions of most variance; rows [k, n] are the vectors' coordinates along them, longest first. */
function iterate(data: Matrix, start: Matrix): { rotation: Matrix; rows: Matrix; basis: Matrix } {
  let basis = start;
  let coordinates = rowProducts(basis, data);
  for (let iteration = 0; iteration < ITERATIONS_MAX; iteration++) {
    const before = dot(coordinates.data, coordinates.data);
    basis = orthonormalRows(multiply(coordinates, data));
    coordinates = rowProducts(basis, data);
    const after = dot(coordinates.data, coordinates.data);
    if (after - before <= GROWTH_WITHIN * after) break;
  }
  return { ...rotateRows(coordinates), basis };
}

function centred(vectors: readonly ArrayLike<number>[]): Matrix {
  const width = vectors[0]?.length ?? 0;
  const matrix = makeMatrix(vectors.length, width);
  const mean = new Float64Array(width);
  for (const vector of vectors) for (let i = 0; i < width; i++) mean[i] = (mean[i] ?? 0) + (vector[i] ?? 0) / vectors.length;
  for (const [row, vector] of vectors.entries()) {
    for (let i = 0; i < width; i++) matrix.data[row * width + i] = (vector[i] ?? 0) - (mean[i] ?? 0);
  }
  return matrix;
}

function startBasis({ rows, cols }: Matrix, seed: number): Matrix {
  const random = new PythonRandom(seed);
  const start = makeMatrix(Math.min(2 + EXTRA_DIRECTIONS, rows, cols), cols);
  for (let i = 0; i < start.data.length; i++) start.data[i] = random.random() - 0.5;
  return orthonormalRows(start);
}

/** Gram-Schmidt, each row twice; rows that depend on earlier ones become zero. */
function orthonormalRows(matrix: Matrix): Matrix {
  const result = makeMatrix(matrix.rows, matrix.cols, Float64Array.from(matrix.data));
  for (let i = 0; i < result.rows; i++) {
    const row = rowOf(result, i);
    const length = Math.sqrt(dot(row, row));
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < i; j++) addScaled(row, -dot(row, rowOf(result, j)), rowOf(result, j));
    }
    const rest = Math.sqrt(dot(row, row));
    if (rest <= DEPENDENT_WITHIN * length) row.fill(0);
    else scaleInPlace(row, 1 / rest);
  }
  return result;
}

function largestEntry(values: Float64Array): number {
  return values.reduce((largest, value) => (Math.abs(value) > Math.abs(largest) ? value : largest), 0);
}
