/**
 * Updates as whole numbers: each coordinate is cut towards zero to a multiple of clipNorm / 2^30, after the whole vector was brought to a
 * length of at most clipNorm. Cutting never lengthens a vector, and the length is checked in integers, so the L2 sensitivity of a sum
 * is exactly 2^30 units; sums of up to 2^23 clients are exact in double precision.
 */
import { assert } from "../util/assert.js";

/** Units of the clipping norm. */
export const NORM_UNITS = 2 ** 30;
/** A sum of so many vectors stays below 2^53 in every coordinate. */
export const MAX_TERMS = 2 ** 23;

/** A vector in units, and whether it had to be shortened. */
export interface GridVector {
  readonly units: Float64Array;
  readonly isClipped: boolean;
}

/** weight * values, shortened to weight * clipNorm where it is longer; 0 <= weight <= 1, values finite. */
export function toGrid(values: Float32Array, clipNorm: number, weight = 1): GridVector {
  assert(clipNorm > 0 && weight >= 0 && weight <= 1, "a clipping norm is above 0 and a weight at most 1");
  let squares = 0;
  for (const value of values) squares += value * value;
  const norm = Math.sqrt(squares);
  assert(Number.isFinite(norm), "updates are finite");
  const isClipped = norm > clipNorm;
  const perUnit = (weight * NORM_UNITS) / clipNorm;
  const units = new Float64Array(values.length);
  // When the norm was rounded down the units are too long: then a little shorter.
  for (let factor = isClipped ? perUnit * (clipNorm / norm) : perUnit; ; factor *= 1 - 2 ** -24) {
    for (let i = 0; i < units.length; i++) units[i] = Math.trunc((values[i] ?? 0) * factor);
    if (isWithin(units, NORM_UNITS)) return { units, isClipped };
  }
}

/** Coordinates whose partial sums of squares of 15-bit halves stay below 2^53. */
const CHUNK = 1 << 20;

/** Whether the sum of squares is at most length^2, without rounding. */
function isWithin(units: Float64Array, length: number): boolean {
  let total = 0n;
  for (let start = 0; start < units.length; start += CHUNK) {
    let [high, cross, low] = [0, 0, 0];
    const end = Math.min(units.length, start + CHUNK);
    for (let i = start; i < end; i++) {
      const value = Math.abs(units[i] ?? 0);
      if (value > length) return false;
      const upper = Math.floor(value / 2 ** 15);
      const rest = value - upper * 2 ** 15;
      high += upper * upper;
      cross += upper * rest;
      low += rest * rest;
    }
    total += (BigInt(high) << 30n) + (BigInt(cross) << 16n) + BigInt(low);
  }
  return total <= BigInt(length) * BigInt(length);
}
