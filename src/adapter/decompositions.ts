/**
 * The decompositions behind the compact SVD of adapters, in double precision: an orthonormal basis of rows by Householder
 * reflections, the singular values of a small core by one-sided Jacobi rotations, and the solution of small symmetric
 * positive definite systems by Cholesky. They cost O(m k^2) and O(k^3): k is a sum of ranks, never a model dimension.
 */
import { assert } from "../util/assert.js";
import { addScaled, dot, makeMatrix, rowOf, scaleInPlace, transpose, type Matrix } from "./matrix.js";

/**
 * Rotations stop when no pair of rows is farther from orthogonal than this, relative to their lengths: some units of the
 * rounding of an inner product, below which sweeps would only move noise.
 */
const ORTHOGONAL_WITHIN = 1e-14;
/** Jacobi converges quadratically after a few sweeps; this many are never needed. */
const MAX_SWEEPS = 60;

/** rows = l q: q [min(k, m), m] has orthonormal rows, l [k, min(k, m)] is zero above its diagonal and not negative on it. */
export interface RowBasis {
  readonly l: Matrix;
  readonly q: Matrix;
}

/** The thin QR decomposition of the transpose (Golub and Van Loan, algorithm 5.2.1); rank-deficient rows are allowed. */
export function rowBasis(rows: Matrix): RowBasis {
  const { rows: k, cols: m } = rows;
  const rank = Math.min(k, m);
  const work = makeMatrix(k, m, Float64Array.from(rows.data));
  const reflectors: Float64Array[] = [];
  for (let j = 0; j < rank; j++) {
    const reflector = makeReflector(rowOf(work, j), j);
    reflectors.push(reflector);
    for (let i = j; i < k; i++) reflect(rowOf(work, i).subarray(j), reflector);
  }
  const l = makeMatrix(k, rank);
  for (let i = 0; i < k; i++) l.data.set(work.data.subarray(i * m, i * m + Math.min(i + 1, rank)), i * rank);
  const q = makeMatrix(rank, m);
  for (let i = 0; i < rank; i++) {
    q.data[i * m + i] = 1;
    // Row i of the identity is moved by the reflections up to its own only: the later ones start behind it.
    for (let j = i; j >= 0; j--) reflect(rowOf(q, i).subarray(j), reflectors[j] ?? new Float64Array(0));
    if ((l.data[i * rank + i] ?? 0) < 0) turnDirection(l, q, i);
  }
  return { l, q };
}

/** Turns a basis vector around, with its column of coefficients. */
function turnDirection(l: Matrix, q: Matrix, index: number): void {
  scaleInPlace(rowOf(q, index), -1);
  for (let i = index; i < l.rows; i++) l.data[i * l.cols + index] = -(l.data[i * l.cols + index] ?? 0);
}

/** The unit vector whose reflection moves `row` from `start` on to its first axis; zero, which moves nothing, for a zero row. */
function makeReflector(row: Float64Array, start: number): Float64Array {
  const reflector = Float64Array.from(row.subarray(start));
  const largest = reflector.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest === 0) return reflector;
  scaleInPlace(reflector, 1 / largest);
  const length = Math.sqrt(dot(reflector, reflector));
  const first = reflector[0] ?? 0;
  // Away from the axis, so that nothing cancels.
  reflector[0] = first + (first < 0 ? -length : length);
  scaleInPlace(reflector, 1 / Math.sqrt(dot(reflector, reflector)));
  return reflector;
}

function reflect(values: Float64Array, reflector: Float64Array): void {
  addScaled(values, -2 * dot(values, reflector), reflector);
}

/** matrix = u^T diag(s) v with orthonormal rows u [k, m], v [k, n]; s descends. Rows of a zero singular value are zero. */
export interface SingularValues {
  readonly u: Matrix;
  readonly s: Float64Array;
  readonly v: Matrix;
}

/** Singular value decomposition [m, n] by Hestenes' one-sided Jacobi method; k = min(m, n). */
export function singularValues(matrix: Matrix): SingularValues {
  if (matrix.rows > matrix.cols) {
    const { u, s, v } = singularValues(transpose(matrix));
    return { u: v, s, v: u };
  }
  const { rotation: u, rows: v } = rotateRows(matrix);
  const s = new Float64Array(v.rows);
  for (let i = 0; i < v.rows; i++) {
    const row = rowOf(v, i);
    const length = Math.sqrt(dot(row, row));
    s[i] = length;
    if (length === 0) rowOf(u, i).fill(0);
    else scaleInPlace(row, 1 / length);
  }
  return { u, s, v };
}

/** rows = rotation matrix: orthogonal rows [k, n], longest first, and the orthonormal rotation [k, k] that makes them. */
export function rotateRows(matrix: Matrix): { readonly rotation: Matrix; readonly rows: Matrix } {
  const { rows: k, cols: n } = matrix;
  const work = makeMatrix(k, n, Float64Array.from(matrix.data));
  const turned = makeMatrix(k, k);
  for (let i = 0; i < k; i++) turned.data[i * k + i] = 1;
  orthogonalizeRows(work, turned);
  const squares = Array.from({ length: k }, (_, i) => dot(rowOf(work, i), rowOf(work, i)));
  const order = squares.map((_, i) => i).sort((left, right) => (squares[right] ?? 0) - (squares[left] ?? 0) || left - right);
  const rotation = makeMatrix(k, k);
  const rows = makeMatrix(k, n);
  for (const [place, i] of order.entries()) {
    rotation.data.set(rowOf(turned, i), place * k);
    rows.data.set(rowOf(work, i), place * n);
  }
  return { rotation, rows };
}

/** Rotates pairs of rows until all are orthogonal, and the rows of `rotation` alike. */
function orthogonalizeRows(work: Matrix, rotation: Matrix): void {
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    let isDone = true;
    for (let i = 0; i < work.rows; i++) {
      for (let j = i + 1; j < work.rows; j++) if (rotatePair(work, rotation, i, j)) isDone = false;
    }
    if (isDone) return;
  }
}

/** True when the rows were not orthogonal before. */
function rotatePair(work: Matrix, rotation: Matrix, i: number, j: number): boolean {
  const x = rowOf(work, i);
  const y = rowOf(work, j);
  const xx = dot(x, x);
  const yy = dot(y, y);
  const xy = dot(x, y);
  if (Math.abs(xy) <= ORTHOGONAL_WITHIN * Math.sqrt(xx * yy)) return false;
  const zeta = (yy - xx) / (2 * xy);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
  const cosine = 1 / Math.sqrt(1 + tangent * tangent);
  rotate(x, y, cosine, cosine * tangent);
  rotate(rowOf(rotation, i), rowOf(rotation, j), cosine, cosine * tangent);
  return true;
}

function rotate(x: Float64Array, y: Float64Array, cosine: number, sine: number): void {
  for (let k = 0; k < x.length; k++) {
    const xk = x[k] ?? 0;
    const yk = y[k] ?? 0;
    x[k] = cosine * xk - sine * yk;
    y[k] = sine * xk + cosine * yk;
  }
}

/** The x [k, n] with matrix x = right, for a symmetric positive definite matrix [k, k], by Cholesky's decomposition. */
export function solvePositiveDefinite(matrix: Matrix, right: Matrix): Matrix {
  assert(matrix.rows === matrix.cols && matrix.rows === right.rows, "the system is square and fits the right side");
  const { rows: k } = matrix;
  const lower = makeMatrix(k, k);
  for (let i = 0; i < k; i++) {
    for (let j = 0; j <= i; j++) {
      const rest = (matrix.data[i * k + j] ?? 0) - dot(rowOf(lower, i).subarray(0, j), rowOf(lower, j).subarray(0, j));
      if (i === j) assert(rest > 0, "the matrix of the system is positive definite");
      lower.data[i * k + j] = i === j ? Math.sqrt(rest) : rest / (lower.data[j * k + j] ?? 1);
    }
  }
  const solution = makeMatrix(k, right.cols, Float64Array.from(right.data));
  for (let i = 0; i < k; i++) {
    for (let j = 0; j < i; j++) addScaled(rowOf(solution, i), -(lower.data[i * k + j] ?? 0), rowOf(solution, j));
    scaleInPlace(rowOf(solution, i), 1 / (lower.data[i * k + i] ?? 1));
  }
  for (let i = k - 1; i >= 0; i--) {
    for (let j = i + 1; j < k; j++) addScaled(rowOf(solution, i), -(lower.data[j * k + i] ?? 0), rowOf(solution, j));
    scaleInPlace(rowOf(solution, i), 1 / (lower.data[i * k + i] ?? 1));
  }
  return solution;
}
