/**
 * Intervals by the percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13): items are drawn
 * again with replacement, and the interval has the middle 95 % of the statistic. Where the statistic is a mean of categories'
 * means, items are drawn within their categories, whose number is part of the question set's design. Seeded, so that a
 * table can be printed again.
 */
import { createWordStream } from "../util/random.js";

/** One item: its value and how much it counts in its category's mean. */
export interface WeightedValue {
  readonly value: number;
  readonly weight: number;
}

export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface BootstrapOptions {
  readonly seed: number;
  /** Default: 10,000. */
  readonly numResamples?: number;
}

const NUM_RESAMPLES = 10_000;
const TAIL = 0.025;

/** Mean over strata of the weighted means within them; with one stratum the weighted mean. NaN for no stratum or an empty one. */
export function meanOfStrata(strata: readonly (readonly WeightedValue[])[]): number {
  return strata.reduce((sum, stratum) => sum + weightedMean(stratum), 0) / strata.length;
}

/** NaN for no values. */
export function weightedMean(values: readonly WeightedValue[]): number {
  let sum = 0;
  let total = 0;
  for (const { value, weight } of values) {
    sum += value * weight;
    total += weight;
  }
  return sum / total;
}

/** The 95 % interval of meanOfStrata; undefined where a stratum has fewer than two items, which say nothing of their spread. */
export function bootstrapInterval(strata: readonly (readonly WeightedValue[])[], { seed, numResamples = NUM_RESAMPLES }: BootstrapOptions): Interval | undefined {
  if (strata.length === 0 || strata.some(({ length }) => length < 2)) return undefined;
  const packed = strata.map((stratum) => ({
    products: Float64Array.from(stratum, ({ value, weight }) => value * weight),
    weights: Float64Array.from(stratum, ({ weight }) => weight),
  }));
  const nextWord = createWordStream(seed);
  const statistics = new Float64Array(numResamples);
  for (let resample = 0; resample < numResamples; resample++) {
    let total = 0;
    for (const { products, weights } of packed) {
      const { length } = products;
      const scale = length / 2 ** 32;
      let sum = 0;
      let weight = 0;
      for (let draw = 0; draw < length; draw++) {
        const index = Math.floor(nextWord() * scale);
        sum += products[index] ?? 0;
        weight += weights[index] ?? 0;
      }
      total += sum / weight;
    }
    statistics[resample] = total / packed.length;
  }
  statistics.sort();
  return { low: quantile(statistics, TAIL), high: quantile(statistics, 1 - TAIL) };
}

/** Of sorted values, with linear interpolation between neighbours. */
function quantile(sorted: Float64Array, part: number): number {
  const place = part * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below] ?? Number.NaN;
  const high = sorted[below + 1] ?? low;
  return low + (high - low) * (place - below);
}
