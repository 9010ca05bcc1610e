/**
 * Numbers with a wanted mean and standard deviation: log-normal, as sizes and lengths of real data are, and fitted to the drawn
 * sample itself, so that heavy tails leave no error of drawing.
 */
import type { PythonRandom } from "../python-random.js";
import type { Spread } from "./profiles.js";

/** Steps of the search for the width of the distribution; each halves what is left of [0, WIDTH_MAX]. */
const WIDTH_STEPS = 32;
/** Largest standard deviation of the logarithm: the largest of a thousand numbers is then 10^5 times the median. */
const WIDTH_MAX = 4;
/** Repetitions that find the scale when values are cut at both ends; the error falls by a factor each time. */
const SCALE_STEPS = 8;

/** Two independent standard normal numbers of the Box-Muller transform; only the first is used, so that draws stay in step. */
export function drawNormal(random: PythonRandom): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.random()));
  return radius * Math.cos(2 * Math.PI * random.random());
}

/**
 * exp(width z + offset) for standard normal z, cut to [least, most], with width and offset such that mean and deviation are the
 * wanted ones; where the cuts or the count do not allow the deviation, the nearest that they do.
 */
export function fitLogNormal(z: Float64Array, { mean, deviation }: Spread, least: number, most: number): Float64Array {
  const values = new Float64Array(z.length);
  if (z.length === 0) return values;
  let [low, high] = [0, WIDTH_MAX];
  for (let step = 0; step < WIDTH_STEPS; step++) {
    const width = (low + high) / 2;
    scaleToMean(z, width, mean, { least, most }, values);
    if (deviationOf(values) < deviation) low = width;
    else high = width;
  }
  scaleToMean(z, low, mean, { least, most }, values);
  return values;
}

/** Fills `values` with exp(width z), scaled to the mean and cut. */
function scaleToMean(z: Float64Array, width: number, mean: number, cut: { readonly least: number; readonly most: number }, values: Float64Array): void {
  let offset = Math.log(mean) - (width * width) / 2;
  for (let step = 0; step < SCALE_STEPS; step++) {
    for (let i = 0; i < z.length; i++) values[i] = Math.min(cut.most, Math.max(cut.least, Math.exp(width * (z[i] ?? 0) + offset)));
    const ratio = mean / meanOf(values);
    if (Math.abs(ratio - 1) < 1e-4) return;
    offset += Math.log(ratio);
  }
}

/**
 * Whole numbers of at least `least` that add up to `total`, with about this standard deviation: the least plus a log-normal part,
 * rounded so that the largest remainders go up.
 */
export function drawSizes(random: PythonRandom, count: number, total: number, least: number, deviation: number): number[] {
  const z = Float64Array.from({ length: count }, () => drawNormal(random));
  const spare = total / count - least;
  const parts = spare > 0 ? fitLogNormal(z, { mean: spare, deviation }, 0, Number.MAX_VALUE) : new Float64Array(count);
  const sum = parts.reduce((before, part) => before + part, 0);
  const exact = Array.from(parts, (part) => (sum > 0 ? (part / sum) * (total - least * count) : 0));
  return apportion(exact, total - least * count).map((extra) => least + extra);
}

/** Whole numbers near the exact ones that add up to the total; the largest remainders are rounded up, of equals the first. */
export function apportion(exact: readonly number[], total: number): number[] {
  const result = exact.map(Math.floor);
  const missing = total - result.reduce((sum, value) => sum + value, 0);
  const order = exact.map((value, index) => [value - Math.floor(value), index] as const).sort(([left, i], [right, j]) => right - left || i - j);
  for (const [, index] of order.slice(0, missing)) result[index] = (result[index] ?? 0) + 1;
  return result;
}

function meanOf(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function deviationOf(values: Float64Array): number {
  const mean = meanOf(values);
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  return Math.sqrt(squares / values.length);
}
