/**
 * How far two judges agree on the same items: Cohen's kappa (Cohen 1960) for verdicts, quadratic weighted kappa (Cohen 1968), Spearman's
 * rank correlation and the mean absolute difference for ratings. Items that one of them could not judge are left out before.
 */
import { assert } from "../util/assert.js";

/** What two judges say of one item. */
export type Pair<T> = readonly [left: T, right: T];

/** Pairs of what both could judge, from lists in the same order. */
export function judgedByBoth<T>(left: readonly (T | null)[], right: readonly (T | null)[]): Pair<T>[] {
  assert(left.length === right.length, "both judges have the same items");
  return left.flatMap((value, index): Pair<T>[] => {
    const other = right[index];
    return value === null || other === null || other === undefined ? [] : [[value, other]];
  });
}

/**
 * Cohen's kappa, (p_o - p_e) / (1 - p_e): agreement beyond what two judges with these shares of labels would have by chance. 1: always the
 * same; 0: as by chance. NaN without pairs, and where both gave one and the same label to all, of which chance explains everything.
 */
export function cohensKappa<T>(pairs: readonly Pair<T>[]): number {
  const labels = [...new Set(pairs.flat())];
  return weightedKappa(pairs, labels, (left, right) => (left === right ? 0 : 1));
}

/**
 * Quadratic weighted kappa: a disagreement counts by the square of the ratings' difference. Ratings may be any numbers. NaN without
 * pairs, and where both gave one and the same rating to all.
 */
export function quadraticWeightedKappa(pairs: readonly Pair<number>[]): number {
  const labels = [...new Set(pairs.flat())];
  return weightedKappa(pairs, labels, (left, right) => (left - right) ** 2);
}

/** 1 minus the mean disagreement of the pairs by that of independent judges with the same shares. */
function weightedKappa<T>(pairs: readonly Pair<T>[], labels: readonly T[], disagreement: (left: T, right: T) => number): number {
  const share = (side: 0 | 1, label: T) => pairs.filter((pair) => pair[side] === label).length / pairs.length;
  const leftShares = labels.map((label) => share(0, label));
  const rightShares = labels.map((label) => share(1, label));
  const observed = pairs.reduce((sum, [left, right]) => sum + disagreement(left, right), 0) / pairs.length;
  let expected = 0;
  for (const [i, left] of labels.entries()) {
    for (const [j, right] of labels.entries()) expected += (leftShares[i] ?? 0) * (rightShares[j] ?? 0) * disagreement(left, right);
  }
  return expected === 0 ? Number.NaN : 1 - observed / expected;
}

/** Spearman's rank correlation: Pearson's of the ranks, equal ratings having their mean rank. NaN for fewer than two pairs or a constant side. */
export function spearman(pairs: readonly Pair<number>[]): number {
  const left = ranks(pairs.map(([value]) => value));
  const right = ranks(pairs.map(([, value]) => value));
  const mean = (pairs.length + 1) / 2;
  let product = 0;
  let leftSquares = 0;
  let rightSquares = 0;
  for (const [index, rank] of left.entries()) {
    const a = rank - mean;
    const b = (right[index] ?? mean) - mean;
    product += a * b;
    leftSquares += a * a;
    rightSquares += b * b;
  }
  const scale = Math.sqrt(leftSquares * rightSquares);
  return scale === 0 ? Number.NaN : product / scale;
}

/** Ranks from 1, ascending; equal values share the mean of their ranks. */
function ranks(values: readonly number[]): number[] {
  const order = values.map((_, index) => index).sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0));
  const result = new Array<number>(values.length).fill(0);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (end < order.length && values[order[end] ?? 0] === values[order[start] ?? 0]) end++;
    for (let place = start; place < end; place++) result[order[place] ?? 0] = (start + 1 + end) / 2;
    start = end;
  }
  return result;
}

/** Mean of |left - right|; NaN without pairs. */
export function meanAbsoluteDifference(pairs: readonly Pair<number>[]): number {
  return pairs.reduce((sum, [left, right]) => sum + Math.abs(left - right), 0) / pairs.length;
}

/** Everything about two lists of ratings of the same items; null where a judge gave none. */
export interface RatingAgreement {
  readonly numItems: number;
  /** Items with a rating by both, which the measures are of. */
  readonly numCompared: number;
  readonly spearman: number;
  readonly meanAbsoluteDifference: number;
  readonly quadraticWeightedKappa: number;
  /** Mean of right minus left. */
  readonly meanDifference: number;
}

export function compareRatings(left: readonly (number | null)[], right: readonly (number | null)[]): RatingAgreement {
  const pairs = judgedByBoth(left, right);
  return {
    numItems: left.length,
    numCompared: pairs.length,
    spearman: spearman(pairs),
    meanAbsoluteDifference: meanAbsoluteDifference(pairs),
    quadraticWeightedKappa: quadraticWeightedKappa(pairs),
    meanDifference: pairs.reduce((sum, [a, b]) => sum + (b - a), 0) / pairs.length,
  };
}
