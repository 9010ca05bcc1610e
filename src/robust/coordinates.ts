/**
 * Rules that look at each coordinate alone, over the sorted values of all clients, so the order of clients changes no bit. Every client counts
 * once: a client that counts more by the size of its data would have more than one place in a sorted row.
 *
 * Median and trimmed mean: Yin et al. 2018, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", definitions 1 and 2. A
 * coordinate of the median lies between honest values while hostile clients are fewer than half; that of the trimmed mean while at most `numTrimmed`
 * are hostile. The mean near the median is the second half of Bulyan (krum.ts). All need the same basis at all clients.
 */
import { assert } from "../util/assert.js";
import { checkVectors, type Vector } from "./vectors.js";

/** What becomes of one coordinate: a number from the clients' values in ascending order. */
export type CoordinateRule = (sorted: Float64Array) => number;

/** The middle value, or the mean of both middle ones. */
export const median: CoordinateRule = (sorted) => {
  const n = sorted.length;
  return ((sorted[(n - 1) >> 1] ?? 0) + (sorted[n >> 1] ?? 0)) / 2;
};

/** The mean without the `numTrimmed` lowest and highest values; more values than twice that. */
export function trimmedMean(numTrimmed: number): CoordinateRule {
  return (sorted) => meanBetween(sorted, numTrimmed, sorted.length - numTrimmed);
}

/** The mean of the `count` values nearest to the median; of two that are as far from it the lower one stays. */
export function meanNearMedian(count: number): CoordinateRule {
  return (sorted) => {
    const middle = median(sorted);
    let [start, end] = [0, sorted.length];
    while (end - start > count) {
      if (middle - (sorted[start] ?? 0) > (sorted[end - 1] ?? 0) - middle) start++;
      else end--;
    }
    return meanBetween(sorted, start, end);
  };
}

function meanBetween(sorted: Float64Array, start: number, end: number): number {
  assert(end > start, "a mean has at least one value");
  let sum = 0;
  for (let k = start; k < end; k++) sum += sorted[k] ?? 0;
  return sum / (end - start);
}

/** The rule for each coordinate of vectors of equal length, in double precision. Throws ADAPTER_INVALID as checkVectors. */
export function byCoordinate(vectors: readonly Vector[], rule: CoordinateRule): Float64Array {
  checkVectors(vectors);
  const result = new Float64Array(vectors[0]?.length ?? 0);
  const values = new Float64Array(vectors.length);
  for (let i = 0; i < result.length; i++) {
    for (let k = 0; k < values.length; k++) values[k] = vectors[k]?.[i] ?? 0;
    result[i] = rule(sortInPlace(values));
  }
  return result;
}

/** A cohort is small, and then a call of the built-in sort costs more than sorting. */
const SMALL_COHORT = 32;

function sortInPlace(values: Float64Array): Float64Array {
  if (values.length > SMALL_COHORT) return values.sort();
  for (let i = 1; i < values.length; i++) {
    const value = values[i] ?? 0;
    let place = i;
    while (place > 0 && (values[place - 1] ?? 0) > value) {
      values[place] = values[place - 1] ?? 0;
      place--;
    }
    values[place] = value;
  }
  return values;
}
