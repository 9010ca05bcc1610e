/**
 * Draws whole numbers i with probabilities in proportion to exp(-i^2 / (2 sigma^2)), exactly: nothing is rounded, so no low bits tell what
 * the noise was added to (Mironov 2012, "On Significance of the Least Significant Bits"). The rejection scheme is algorithm D of Karney
 * 2016, "Sampling Exactly from the Normal Distribution": a number k of whole standard deviations with probability in proportion to
 * exp(-k^2 / 2), then i uniformly in [k sigma, (k + 1) sigma), kept with probability exp(-((i / sigma)^2 - k^2) / 2), and a sign.
 */
import { assert } from "../util/assert.js";
import { acceptExponential } from "./exact-exponential.js";
import type { RandomStream } from "./random-stream.js";

/** sigma is a multiple of it and has at most 49 bits, so that its first multiples are exact. */
const SIGMA_UNIT = 2 ** -16;
const SIGMA_MAX = 2 ** 49;

/** One draw; sigma a whole number up to 2^49, or a multiple of 2^-16 up to 2^33; above 0. */
export function drawDiscreteGaussian(sigma: number, stream: RandomStream): number {
  const isExact = Number.isInteger(sigma) ? sigma <= SIGMA_MAX : Number.isInteger(sigma / SIGMA_UNIT) && sigma < SIGMA_MAX * SIGMA_UNIT;
  assert(sigma > 0 && isExact, "the first multiples of sigma are exact");
  for (;;) {
    const k = drawWholeDeviations(stream);
    if (k === undefined) continue;
    const isNegative = (stream.next53() & 1) === 1;
    const first = Math.ceil(k * sigma);
    const i = first + stream.below(Math.ceil(sigma));
    if (i >= (k + 1) * sigma || (i === 0 && isNegative)) continue;
    const ratio = i / sigma;
    const exact = () => {
      const [s, n, d] = [BigInt(sigma / SIGMA_UNIT), BigInt(i), BigInt(1 / SIGMA_UNIT)];
      return [n * n * d * d - BigInt(k * k) * s * s, 2n * s * s] as const;
    };
    if (acceptExponential(((ratio - k) * (ratio + k)) / 2, exact, stream)) return isNegative ? -i : i;
  }
}

const ONE_HALF = () => [1n, 2n] as const;

/** k with probability in proportion to exp(-k^2 / 2), or undefined: a geometric draw with exp(-1/2), kept with exp(-k (k - 1) / 2). */
function drawWholeDeviations(stream: RandomStream): number | undefined {
  let k = 0;
  while (acceptExponential(0.5, ONE_HALF, stream)) k++;
  if (k < 2) return k;
  return acceptExponential((k * (k - 1)) / 2, () => [BigInt(k * (k - 1)), 2n], stream) ? k : undefined;
}

/**
 * Least sigma on the integers that hides a shift of length `sensitivity` as well as a normal variable of standard deviation
 * `multiplier` times it: such a variable, rounded at random by a discrete Gaussian of standard deviation 6, is the discrete Gaussian
 * with both variances, up to 2 exp(-2 pi^2 36) < 1e-308 for each coordinate. So whatever holds for the one holds for the other.
 */
export function discreteSigma(multiplier: number, sensitivity: number): number {
  const normal = multiplier * sensitivity;
  return Math.ceil(Math.sqrt(normal * normal + 36) * (1 + 2 ** -50));
}
