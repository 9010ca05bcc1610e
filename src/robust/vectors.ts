/** The clients' vectors of a round: flat arrays of one length, in an order that the caller fixes (the server's: ascending by client id). */
import { makeMatrix, type Matrix } from "../adapter/matrix.js";
import { findNonFinite, weightsNorm } from "../adapter/weights.js";
import { problemError } from "../errors.js";

export type Vector = Float32Array | Float64Array;

/** Throws ADAPTER_INVALID unless there is at least one vector, all have one length and only finite numbers. */
export function checkVectors(vectors: readonly Vector[]): void {
  const [first] = vectors;
  if (first === undefined) throw problemError("ADAPTER_INVALID", { subject: "robust aggregation", expected: "at least one update", received: "none" });
  for (const [index, vector] of vectors.entries()) {
    const subject = `update number ${String(index)} of a robust aggregation`;
    if (vector.length !== first.length) {
      throw problemError("ADAPTER_INVALID", { subject, expected: `${String(first.length)} numbers like the first`, received: String(vector.length) });
    }
    const place = findNonFinite(vector);
    if (place !== undefined) {
      throw problemError("ADAPTER_INVALID", { subject, expected: "finite numbers", received: `${String(vector[place])} at index ${String(place)}` });
    }
  }
}

/** Euclidean norms. */
export function vectorNorms(vectors: readonly Vector[]): number[] {
  return vectors.map((vector) => weightsNorm(vector));
}

/** ||x_i - x_j||^2 of all pairs [n, n], from the differences themselves: nothing cancels where vectors have a large part in common. */
export function squaredDistances(vectors: readonly Vector[]): Matrix {
  const n = vectors.length;
  const distances = makeMatrix(n, n);
  for (const [i, left] of vectors.entries()) {
    for (let j = i + 1; j < n; j++) {
      const distance = squaredDistance(left, vectors[j] ?? left);
      distances.data[i * n + j] = distance;
      distances.data[j * n + i] = distance;
    }
  }
  return distances;
}

/** ||left - right||^2, summed in double precision. */
export function squaredDistance(left: Vector, right: Vector): number {
  let sum = 0;
  for (let k = 0; k < left.length; k++) sum += ((left[k] ?? 0) - (right[k] ?? 0)) ** 2;
  return sum;
}

/** The middle of the values, or the mean of both middle ones. */
export function medianOf(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  return ((sorted[(sorted.length - 1) >> 1] ?? 0) + (sorted[sorted.length >> 1] ?? 0)) / 2;
}
