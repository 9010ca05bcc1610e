/**
 * The loops over long vectors that a server's work is made of. `plainArithmetic` says what each computes and in which order it
 * rounds; the addon has the same loops for the processor's vectors (native/core/cpu/vector-kernel.cpp), with the same bits, so
 * results do not depend on which ran. Once the addon is loaded it does the long ones.
 */

/** Lengths are the caller's to check. Outputs overlap inputs only where they are the same argument. */
export interface Arithmetic {
  /** sum[i] += weights[k] * terms[k][i], term after term. */
  addTerms(sum: Float64Array, weights: Float64Array, terms: readonly Float32Array[]): void;
  /** target += factor * source. */
  addScaled(target: Float64Array, factor: number, source: Float64Array): void;
  /** values *= factor. */
  scale(values: Float64Array, factor: number): void;
  /** values /= divisor. */
  divide(values: Float64Array, divisor: number): void;
  /** difference = minuend - subtrahend. */
  subtract(minuend: Float32Array, subtrahend: Float32Array, difference: Float32Array): void;
  /** sum = weights + update, rounded once. */
  add(weights: Float32Array, update: Float32Array | Float64Array, sum: Float32Array): void;
  /**
   * The inner product in double precision: eight partial sums, of the numbers whose index leaves the same remainder, so that an
   * addition need not wait for the one before it. Both sides have one type.
   */
  dot<T extends Float32Array | Float64Array>(left: T, right: T): number;
  /** products[i * n + j]: the inner product of row i of left [m, cols] and row j of right [n, cols]. */
  rowProducts(left: Float64Array, right: Float64Array, cols: number, products: Float64Array): void;
}

export const plainArithmetic: Arithmetic = {
  addTerms: (sum, weights, terms) => {
    for (const [k, term] of terms.entries()) {
      const weight = weights[k] ?? 0;
      for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + weight * (term[i] ?? 0);
    }
  },
  addScaled: (target, factor, source) => {
    for (let i = 0; i < target.length; i++) target[i] = (target[i] ?? 0) + factor * (source[i] ?? 0);
  },
  scale: (values, factor) => {
    for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * factor;
  },
  divide: (values, divisor) => {
    for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) / divisor;
  },
  subtract: (minuend, subtrahend, difference) => {
    for (let i = 0; i < difference.length; i++) difference[i] = (minuend[i] ?? 0) - (subtrahend[i] ?? 0);
  },
  add: (weights, update, sum) => {
    for (let i = 0; i < sum.length; i++) sum[i] = (weights[i] ?? 0) + (update[i] ?? 0);
  },
  dot: dotByLanes,
  rowProducts: (left, right, cols, products) => {
    const [m, n] = [left.length / cols, right.length / cols];
    for (let i = 0; i < m; i++) {
      const row = left.subarray(i * cols, (i + 1) * cols);
      for (let j = 0; j < n; j++) products[i * n + j] = dotByLanes(row, right.subarray(j * cols, (j + 1) * cols));
    }
  },
};

const LANES = 8;

function dotByLanes(x: Float32Array | Float64Array, y: Float32Array | Float64Array): number {
  const whole = x.length - (x.length % LANES);
  let [a, b, c, d, e, f, g, h] = [0, 0, 0, 0, 0, 0, 0, 0];
  for (let i = 0; i < whole; i += LANES) {
    a += (x[i] ?? 0) * (y[i] ?? 0);
    b += (x[i + 1] ?? 0) * (y[i + 1] ?? 0);
    c += (x[i + 2] ?? 0) * (y[i + 2] ?? 0);
    d += (x[i + 3] ?? 0) * (y[i + 3] ?? 0);
    e += (x[i + 4] ?? 0) * (y[i + 4] ?? 0);
    f += (x[i + 5] ?? 0) * (y[i + 5] ?? 0);
    g += (x[i + 6] ?? 0) * (y[i + 6] ?? 0);
    h += (x[i + 7] ?? 0) * (y[i + 7] ?? 0);
  }
  const parts = [a, b, c, d, e, f, g, h];
  for (let i = whole; i < x.length; i++) parts[i - whole] = (parts[i - whole] ?? 0) + (x[i] ?? 0) * (y[i] ?? 0);
  [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = parts;
  return a + b + (c + d) + (e + f + (g + h));
}

/** Shorter vectors are done here: a call into the addon takes as long as some hundred numbers. */
const LONG_LENGTH = 512;

let longArithmetic: Arithmetic = plainArithmetic;

/** Long vectors are this one's from now on, in this thread; its bits must be those of `plainArithmetic`. */
export function useForLongVectors(arithmetic: Arithmetic): void {
  longArithmetic = arithmetic;
}

/** The arithmetic for vectors of this length. */
export function arithmeticFor(length: number): Arithmetic {
  return length < LONG_LENGTH ? plainArithmetic : longArithmetic;
}
