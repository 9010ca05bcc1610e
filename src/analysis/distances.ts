/** How far apart clients are: distances between distributions, and the angle between mean embeddings. */
import { totalVariation } from "../data/split/skew.js";

/** Half the sum of the differences of the shares of two counts by name: 0 for equal shares, 1 for nothing in common. Neither may be empty. */
export function shareDistance(left: ReadonlyMap<string, number>, right: ReadonlyMap<string, number>): number {
  const names = [...new Set([...left.keys(), ...right.keys()])];
  const countsOf = (counts: ReadonlyMap<string, number>) => names.map((name) => counts.get(name) ?? 0);
  return totalVariation(countsOf(left), countsOf(right));
}

/**
 * First Wasserstein distance between two lists of numbers, each ascending and not empty: the area between their cumulative
 * distribution functions, which is how far a number must be moved on average to make one list of the other.
 */
export function wassersteinDistance(left: ArrayLike<number>, right: ArrayLike<number>): number {
  let [leftSeen, rightSeen, distance] = [0, 0, 0];
  let previous = Math.min(left[0] ?? 0, right[0] ?? 0);
  while (leftSeen < left.length || rightSeen < right.length) {
    const next = Math.min(left[leftSeen] ?? Infinity, right[rightSeen] ?? Infinity);
    distance += Math.abs(leftSeen / left.length - rightSeen / right.length) * (next - previous);
    while (left[leftSeen] === next) leftSeen++;
    while (right[rightSeen] === next) rightSeen++;
    previous = next;
  }
  return distance;
}

/** Lengths on the scale on which they are compared, ascending: a distance of 1 means twice as long. */
export function lengthScale(lengths: readonly number[]): Float64Array {
  return Float64Array.from(lengths, (length) => Math.log2(1 + length)).sort();
}

/** Cosine of the angle between two vectors of one length; 0 if one of them is zero. */
export function cosineSimilarity(left: ArrayLike<number>, right: ArrayLike<number>): number {
  let [product, leftSquares, rightSquares] = [0, 0, 0];
  for (let i = 0; i < left.length; i++) {
    const [a, b] = [left[i] ?? 0, right[i] ?? 0];
    product += a * b;
    leftSquares += a * a;
    rightSquares += b * b;
  }
  const norms = Math.sqrt(leftSquares * rightSquares);
  return norms === 0 ? 0 : product / norms;
}
