/**
 * The statistics of a study: intervals of a mean by Student's t, paired tests (Student's t beside sign flips), effect sizes.
 * Pure functions over lists of numbers; sign flips and Holm's correction are those of the benchmarks (benchmarks/compare.ts).
 *
 * References: Student (1908), The probable error of a mean; Fisher (1935), The design of experiments, 21 (signs of paired
 * differences); Hedges (1981), Distribution theory for Glass's estimator of effect size.
 */
import { signFlipTest } from "../../benchmarks/compare.js";
import { assert } from "../../util/assert.js";

/** Part of intervals that hold the true mean, when values are drawn from a normal distribution. */
export const CONFIDENCE = 0.95;
/** Fewer pairs say next to nothing about the spread of their differences. */
export const PAIRS_MIN = 3;
/** Of the signs that are drawn where there are too many pairs for all: the same every time, so that a report does not change when it is made again. */
const SIGNS_SEED = 0;

/** A mean over repetitions and where the true mean lies. */
export interface Estimate {
  readonly count: number;
  readonly mean: number;
  /** Ends of the 95 % interval; absent with one value, which says nothing about spread. */
  readonly low?: number;
  readonly high?: number;
  readonly min: number;
  readonly max: number;
}

/** Mean and t interval with count - 1 degrees of freedom; undefined for an empty list. */
export function estimateMean(values: readonly number[]): Estimate | undefined {
  if (values.length === 0) return undefined;
  const { mean, deviation } = momentsOf(values);
  const bounds = { count: values.length, mean, min: Math.min(...values), max: Math.max(...values) };
  if (values.length === 1) return bounds;
  const half = (studentQuantile((1 + CONFIDENCE) / 2, values.length - 1) * deviation) / Math.sqrt(values.length);
  return { ...bounds, low: mean - half, high: mean + half };
}

/** Two arms on the same seeds (or clients): what their differences say. */
export interface PairedTest {
  /** Of the differences, first minus second. */
  readonly difference: Estimate;
  /** Two-sided, paired t test; absent where it is refused. */
  readonly pValue?: number;
  /** Two-sided, over signs of the differences. With n pairs it cannot be below 2 / 2^n. */
  readonly permutationPValue?: number;
  /** Mean of the differences by their standard deviation, with Hedges' correction for few pairs. */
  readonly effectSize?: number;
  /** Why there is no test, in words. */
  readonly refused?: string;
}

/** Tests whether the mean of paired differences is 0; undefined without pairs. */
export function testPairs(differences: readonly number[]): PairedTest | undefined {
  const difference = estimateMean(differences);
  if (difference === undefined) return undefined;
  const { count, mean } = difference;
  if (count < PAIRS_MIN) return { difference, refused: `${String(count)} of at least ${String(PAIRS_MIN)} pairs` };
  const { deviation } = momentsOf(differences);
  if (deviation === 0) return { difference, refused: mean === 0 ? "no difference in any pair" : "the same difference in every pair" };
  const t = mean / (deviation / Math.sqrt(count));
  return {
    difference,
    pValue: 2 * (1 - studentCdf(Math.abs(t), count - 1)),
    permutationPValue: signFlipTest(Float64Array.from(differences), SIGNS_SEED).pValue,
    effectSize: (mean / deviation) * hedgesCorrection(count - 1),
  };
}

function momentsOf(values: readonly number[]): { readonly mean: number; readonly deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  // Values that are all the same must not get a deviation from rounding of the mean.
  if (values.every((value) => value === values[0])) return { mean: values[0] ?? mean, deviation: 0 };
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / (values.length - 1)) };
}

/** J(m) = Gamma(m / 2) / (sqrt(m / 2) Gamma((m - 1) / 2)), exact; Hedges (1981), equation 6e is its approximation. */
function hedgesCorrection(degrees: number): number {
  return Math.exp(logGamma(degrees / 2) - logGamma((degrees - 1) / 2)) / Math.sqrt(degrees / 2);
}

/** P(T <= t) of Student's t distribution, for t >= 0. */
export function studentCdf(t: number, degrees: number): number {
  assert(t >= 0 && degrees > 0, "t is a magnitude and there are degrees of freedom");
  return 1 - incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2;
}

/** The t with P(T <= t) = probability, for probabilities from 1/2 to below 1; by halving, to the last bits of a double. */
export function studentQuantile(probability: number, degrees: number): number {
  assert(probability >= 0.5 && probability < 1, "the upper half is asked for");
  let [low, high] = [0, 1];
  while (studentCdf(high, degrees) < probability) high *= 2;
  for (let step = 0; step < 100 && high - low > 1e-14 * high; step++) {
    const middle = (low + high) / 2;
    if (studentCdf(middle, degrees) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Regularized incomplete beta function I_x(a, b) by its continued fraction (DLMF 8.17.22), evaluated by Lentz's method. */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
  // The fraction converges fast on one side of the mean; the other side is by symmetry.
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(x, a, b)) / a : 1 - (front * betaFraction(1 - x, b, a)) / b;
}

function betaFraction(x: number, a: number, b: number): number {
  const tiny = 1e-300;
  const guard = (value: number) => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / guard(1 - ((a + b) * x) / (a + 1));
  let result = d;
  for (let m = 1; m <= 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    let change = 1;
    for (const term of [even, odd]) {
      d = 1 / guard(1 + term * d);
      c = guard(1 + term / c);
      change = d * c;
      result *= change;
    }
    if (Math.abs(change - 1) < 1e-15) break;
  }
  return result;
}

/** log Gamma(x) for x > 0: Stirling's series after the argument was moved above 10, where five terms leave an error below 1e-14. */
function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  while (z < 10) {
    shift += Math.log(z);
    z += 1;
  }
  const inverse = 1 / (z * z);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / z;
  return (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
