/**
 * Two subjects on the same items: the mean difference with a paired bootstrap interval, who was better how often, and the
 * p-value of a two-sided randomization test that flips the signs of the items' differences (Fisher 1935; Edgington and Onghena,
 * "Randomization Tests", 2007, chapter 6). With at most 20 differences all sign patterns are counted, so the p-value is
 * exact; with more, 10,000 are drawn and p = (1 + at least as extreme) / (1 + drawn) (Phipson and Smyth 2010).
 */
import { createWordStream, deriveSeed } from "../util/random.js";
import { bootstrapInterval, meanOfStrata } from "./bootstrap.js";
import type { Interval } from "./bootstrap.js";

/** One item's values of both subjects. */
export interface Pair {
  readonly left: number;
  readonly right: number;
  readonly weight: number;
}

export interface Comparison {
  readonly numItems: number;
  /** Left minus right, by the measure's way of summing up. */
  readonly difference: number;
  /** Absent with fewer than two items. */
  readonly interval?: Interval;
  /** Items on which the left one is better. */
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
  readonly pValue: number;
  /** Whether all sign patterns were counted. */
  readonly isExact: boolean;
}

const MAX_EXACT = 20;
const NUM_DRAWN = 10_000;
/** Sums of the same numbers in another order differ by rounding and are as extreme as each other. */
const RELATIVE_TOLERANCE = 1e-9;

/** Strata as in bootstrap.ts; at least one pair. */
export function comparePairs(strata: readonly (readonly Pair[])[], { seed, higherIsBetter }: { readonly seed: number; readonly higherIsBetter: boolean }): Comparison {
  const differences = strata.map((stratum) => stratum.map(({ left, right, weight }) => ({ value: left - right, weight })));
  const all = differences.flat();
  const numPositive = all.filter(({ value }) => value > 0).length;
  const numNegative = all.filter(({ value }) => value < 0).length;
  const interval = bootstrapInterval(differences, { seed: deriveSeed(seed, "compare") });
  return {
    numItems: all.length,
    difference: meanOfStrata(differences),
    ...(interval === undefined ? {} : { interval }),
    wins: higherIsBetter ? numPositive : numNegative,
    ties: all.length - numPositive - numNegative,
    losses: higherIsBetter ? numNegative : numPositive,
    ...signFlipTest(termsOf(differences), seed),
  };
}

/** What each item adds to the mean difference; items without a difference add nothing under any sign. */
function termsOf(strata: readonly (readonly { readonly value: number; readonly weight: number }[])[]): Float64Array {
  const terms = strata.flatMap((stratum) => {
    const total = stratum.reduce((sum, { weight }) => sum + weight, 0) * strata.length;
    return stratum.map(({ value, weight }) => (value * weight) / total);
  });
  return Float64Array.from(terms.filter((term) => term !== 0));
}

/** Two-sided: how often random signs give a sum at least as far from 0. */
export function signFlipTest(terms: Float64Array, seed: number): { readonly pValue: number; readonly isExact: boolean } {
  const observed = Math.abs(terms.reduce((sum, term) => sum + term, 0));
  const scale = terms.reduce((sum, term) => sum + Math.abs(term), 0);
  const isExtreme = (sum: number) => Math.abs(sum) >= observed - RELATIVE_TOLERANCE * scale;
  if (terms.length <= MAX_EXACT) {
    let numExtreme = 0;
    const numPatterns = 2 ** terms.length;
    for (let pattern = 0; pattern < numPatterns; pattern++) {
      let sum = 0;
      for (let index = 0; index < terms.length; index++) sum += (pattern >>> index) & 1 ? (terms[index] ?? 0) : -(terms[index] ?? 0);
      if (isExtreme(sum)) numExtreme += 1;
    }
    return { pValue: numExtreme / numPatterns, isExact: true };
  }
  const nextWord = createWordStream(deriveSeed(seed, "sign flips"));
  let numExtreme = 0;
  for (let draw = 0; draw < NUM_DRAWN; draw++) {
    let sum = 0;
    let bits = 0;
    for (let index = 0; index < terms.length; index++) {
      if (index % 32 === 0) bits = nextWord();
      sum += (bits >>> (index % 32)) & 1 ? (terms[index] ?? 0) : -(terms[index] ?? 0);
    }
    if (isExtreme(sum)) numExtreme += 1;
  }
  return { pValue: (1 + numExtreme) / (1 + NUM_DRAWN), isExact: false };
}

/** Holm's step-down correction for several tests at once (Holm 1979): adjusted p-values in the given order. */
export function holmAdjusted(pValues: readonly number[]): number[] {
  const order = [...pValues.keys()].sort((left, right) => (pValues[left] ?? 0) - (pValues[right] ?? 0));
  const adjusted = new Array<number>(pValues.length);
  let largest = 0;
  for (const [rank, index] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (pValues.length - rank) * (pValues[index] ?? 1)));
    adjusted[index] = largest;
  }
  return adjusted;
}
