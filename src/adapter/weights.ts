/**
 * Arithmetic on adapter weights: flat Float32Arrays in layout order (see layout.ts). Pure functions; inputs are never
 * changed. Sums run in double precision and are rounded to single precision once, at the end.
 */
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { arithmeticFor } from "./arithmetic.js";
import { WeightedSum } from "./weighted-sum.js";

/** One term of a weighted mean. */
export interface WeightedTerm {
  /** Fixes the place of the term in the sum, so that the order of arrival changes nothing bit for bit. */
  readonly clientId: string;
  /** How much the term counts; finite and not negative. */
  readonly weight: number;
  readonly values: Float32Array;
}

/** Order by code units, the same on every machine and in every locale. */
export function compareIds(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Throws ADAPTER_INVALID unless both have the same number of weights; `subject` says whose they are. */
export function checkSameShape(values: Float32Array, expectedLength: number, subject: string): void {
  if (values.length === expectedLength) return;
  throw problemError("ADAPTER_INVALID", {
    subject,
    expected: `${String(expectedLength)} adapter weights`,
    received: String(values.length),
  });
}

/** minuend - subtrahend, element by element; the lengths must be equal. */
export function subtractWeights(minuend: Float32Array, subtrahend: Float32Array): Float32Array {
  assert(minuend.length === subtrahend.length, "subtracted weights have equal lengths");
  const difference = new Float32Array(minuend.length);
  arithmeticFor(difference.length).subtract(minuend, subtrahend, difference);
  return difference;
}

/** weights + update, element by element, rounded once; the lengths must be equal. */
export function addUpdate(weights: Float32Array, update: Float32Array | Float64Array): Float32Array {
  assert(weights.length === update.length, "weights and update have equal lengths");
  const sum = new Float32Array(weights.length);
  arithmeticFor(sum.length).add(weights, update, sum);
  return sum;
}

/**
 * sum(weight * values) / sum(weight), in double precision, summed in ascending order of client id.
 * With whole-number weights equal terms give exactly the term: products and their sum are exact below 2^53.
 */
export function weightedMean(terms: readonly WeightedTerm[]): Float64Array {
  const sorted = [...terms].sort((left, right) => compareIds(left.clientId, right.clientId));
  const sum = new WeightedSum();
  for (const { values, weight } of sorted) sum.add(weight, values);
  return sum.mean();
}

/** Euclidean norm; the squares of single-precision numbers cannot overflow in double precision. */
export function weightsNorm(values: Float32Array | Float64Array): number {
  return Math.sqrt(sumOfSquares(values));
}

function sumOfSquares(values: Float32Array | Float64Array): number {
  return arithmeticFor(values.length).dot(values, values);
}

/** Index of the first weight that is NaN or infinite; undefined when all are finite. */
export function findNonFinite(values: Float32Array | Float64Array): number | undefined {
  // A finite sum of squares has finite terms, and this way of asking is many times faster.
  if (Number.isFinite(sumOfSquares(values))) return undefined;
  const index = values.findIndex((value) => !Number.isFinite(value));
  return index < 0 ? undefined : index;
}
