/** Stored scores -> what tables show: means with intervals, by category, and how evenly clients are served. */
import type { MetricsDatabase } from "../metrics/database.js";
import { deriveSeed } from "../util/random.js";
import { bootstrapInterval, meanOfStrata, weightedMean } from "./bootstrap.js";
import type { Interval, WeightedValue } from "./bootstrap.js";
import { comparePairs, holmAdjusted } from "./compare.js";
import type { Comparison } from "./compare.js";
import { fairnessOf } from "./fairness.js";
import type { Fairness } from "./fairness.js";
import type { MeasureInfo } from "./metric.js";
import { storedScores } from "./queries.js";
import type { StoredResult, StoredScore } from "./queries.js";

export interface MeasureSummary extends MeasureInfo {
  /** By the measure's way of summing up; absent where no item has a value. */
  readonly mean?: number;
  readonly interval?: Interval;
  /** Items in the mean. */
  readonly numItems: number;
  /** Items whose value could not be told. */
  readonly numExcluded: number;
  /** In the order in which categories first appear; empty where items have none. */
  readonly categories: readonly { readonly category: string; readonly mean: number; readonly numItems: number }[];
  /** Unweighted mean of the categories' means; absent where items have none. */
  readonly meanOfCategories?: number;
  /** Over clients, where categories are clients. */
  readonly fairness?: Fairness;
}

/** A measure of two subjects on the items that both have values for. */
export interface MeasureComparison extends MeasureInfo, Comparison {
  readonly metric: string;
  readonly left: number;
  readonly right: number;
  /** Items with a value of only one of them, which count for neither. */
  readonly numUnpaired: number;
  /** Corrected for the number of measures compared. */
  readonly adjustedPValue: number;
}

/** Every measure of a result, in order. */
export function summarizeResult(database: MetricsDatabase, result: StoredResult): MeasureSummary[] {
  return result.info.measures.map((measure) => {
    const scores = storedScores(database, result, measure.exponentialOf ?? measure.measure);
    return summarizeScores(scores, measure, { seed: result.seed, isByClient: result.info.categoryName === "client" });
  });
}

/** The same from scores at hand. */
export function summarizeScores(scores: readonly StoredScore[], info: MeasureInfo, { seed, isByClient }: { readonly seed: number; readonly isByClient: boolean }): MeasureSummary {
  const transform = info.exponentialOf === undefined ? (value: number) => value : Math.exp;
  const known = scores.flatMap(withValue);
  const byCategory = [...groupBy(known)];
  const strata = info.summary === "meanOfCategories" ? byCategory.map(([, values]) => values) : [known];
  const categories = byCategory.flatMap(([category, values]) => (category === null ? [] : [{ category, mean: transform(weightedMean(values)), numItems: values.length }]));
  const interval = bootstrapInterval(strata, { seed: deriveSeed(seed, "bootstrap", info.exponentialOf ?? info.measure) });
  const fairness = isByClient ? fairnessOf(categories.map(({ mean }) => mean), info.higherIsBetter) : undefined;
  return {
    ...info,
    ...(known.length === 0 ? {} : { mean: transform(meanOfStrata(strata)) }),
    ...(interval === undefined ? {} : { interval: { low: transform(interval.low), high: transform(interval.high) } }),
    numItems: known.length,
    numExcluded: scores.length - known.length,
    categories,
    ...(categories.length === 0 ? {} : { meanOfCategories: categories.reduce((sum, { mean }) => sum + mean, 0) / categories.length }),
    ...(fairness === undefined ? {} : { fairness }),
  };
}

/**
 * Compares results pair by pair, each of one metric; Holm's correction is over all measures. An exponential is left out: its difference
 * says no more than that of the mean below it.
 */
export function compareResults(
  pairs: readonly { readonly left: SourcedResult; readonly right: SourcedResult }[],
  seed: number,
): MeasureComparison[] {
  const compared = pairs.flatMap(({ left, right }) =>
    left.result.info.measures.flatMap((info) => {
      if (info.exponentialOf !== undefined) return [];
      const scores = [left, right].map(({ database, result }) => storedScores(database, result, info.measure));
      const found = compareScores(scores[0] ?? [], scores[1] ?? [], info, seed);
      return found === undefined ? [] : [{ ...found, metric: left.result.metric }];
    }),
  );
  const adjusted = holmAdjusted(compared.map(({ pValue }) => pValue));
  return compared.map((comparison, index) => ({ ...comparison, adjustedPValue: adjusted[index] ?? 1 }));
}

/** A result and the database it is in. */
export interface SourcedResult {
  readonly database: MetricsDatabase;
  readonly result: StoredResult;
}

/** Undefined where no item has values of both. */
export function compareScores(left: readonly StoredScore[], right: readonly StoredScore[], info: MeasureInfo, seed: number) {
  const others = new Map(right.map((score) => [score.itemId, score]));
  const pairs = left.flatMap((score) => {
    const other = others.get(score.itemId);
    if (score.value === null || other === undefined || other.value === null) return [];
    return [{ category: score.category, left: score.value, right: other.value, weight: score.weight }];
  });
  if (pairs.length === 0) return undefined;
  const strata = info.summary === "meanOfCategories" ? [...groupBy(pairs).values()] : [pairs];
  const meanOf = (side: "left" | "right") => meanOfStrata(strata.map((stratum) => stratum.map((pair) => ({ value: pair[side], weight: pair.weight }))));
  const numKnown = [left, right].map((scores) => scores.flatMap(withValue).length).reduce((sum, count) => sum + count, 0);
  return {
    ...info,
    ...comparePairs(strata, { seed, higherIsBetter: info.higherIsBetter }),
    left: meanOf("left"),
    right: meanOf("right"),
    numUnpaired: numKnown - 2 * pairs.length,
  };
}

function withValue({ value, weight, category }: StoredScore): (WeightedValue & { readonly category: string | null })[] {
  return value === null ? [] : [{ value, weight, category }];
}

function groupBy<T extends { readonly category: string | null }>(values: readonly T[]): Map<string | null, T[]> {
  const groups = new Map<string | null, T[]>();
  for (const value of values) {
    const group = groups.get(value.category);
    if (group === undefined) groups.set(value.category, [value]);
    else group.push(value);
  }
  return groups;
}
