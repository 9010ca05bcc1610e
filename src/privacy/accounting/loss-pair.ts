/**
 * The pairs of distributions between which a Gaussian release on a Poisson sample is hardest to keep apart, and their privacy loss
 * log(p(x) / q(x)), each written so that the loss rises with x. With D_m the normal density around m with standard deviation sigma, and
 * s the sample rate:
 *   remove   p = (1 - s) D_0 + s D_1,   q = D_0
 *   add      p = D_0,                   q = (1 - s) D_0 + s D_-1      (of the pair above, mirrored)
 *   replace  p = (1 - s) D_0 + s D_1,   q = (1 - s) D_0 + s D_-1
 * Zhu, Dong, Wang 2022, "Optimal Accounting of Differential Privacy via Characteristic Function", for the first two.
 */
import type { SampledGaussian } from "./rdp.js";
import { logMixture, logNormalDensity, logNormalTail } from "./special.js";

/** Which of two neighbouring data sets is the first, or that they differ in one unit's data. */
export type Direction = "remove" | "add" | "replace";

export interface LossPair {
  readonly sigma: number;
  /** log p(x) dx in units of sigma: of x / sigma as the variable. */
  logDensity(x: number): number;
  /** The mass of p above x. */
  tail(x: number): number;
  loss(x: number): number;
  /** The x with this loss; -Infinity or Infinity for a loss that is below or above all. */
  inverse(loss: number): number;
}

export function lossPair(event: SampledGaussian, direction: Direction): LossPair {
  if (direction === "remove") return removal(event);
  return direction === "add" ? addition(event) : replacement(event);
}

function removal({ sampleRate: q, noiseMultiplier: sigma }: SampledGaussian): LossPair {
  const loss = (x: number) => logMixture(q, (2 * x - 1) / sigma / sigma / 2);
  return {
    sigma,
    loss,
    logDensity: (x) => logNormalDensity(x / sigma) + loss(x),
    tail: mixtureTail(q, sigma),
    inverse: (value) => inverseOfMixture(q, sigma, value),
  };
}

function addition({ sampleRate: q, noiseMultiplier: sigma }: SampledGaussian): LossPair {
  return {
    sigma,
    loss: (x) => -logMixture(q, (-2 * x - 1) / sigma / sigma / 2),
    logDensity: (x) => logNormalDensity(x / sigma),
    tail: mixtureTail(0, sigma),
    inverse: (value) => -inverseOfMixture(q, sigma, -value),
  };
}

function mixtureTail(q: number, sigma: number): LossPair["tail"] {
  return (x) => (1 - q) * Math.exp(logNormalTail(x / sigma)) + q * Math.exp(logNormalTail((x - 1) / sigma));
}

/** The x where log(1 - q + q exp((2x - 1) / (2 sigma^2))) is `value`. */
function inverseOfMixture(q: number, sigma: number, value: number): number {
  if (value > 600) return sigma * sigma * (value - Math.log(q)) + 0.5;
  const ratio = Math.expm1(value) / q;
  return ratio <= -1 ? Number.NEGATIVE_INFINITY : sigma * sigma * Math.log1p(ratio) + 0.5;
}

function replacement({ sampleRate: q, noiseMultiplier: sigma }: SampledGaussian): LossPair {
  const part = (x: number) => logMixture(q, (2 * x - 1) / sigma / sigma / 2);
  const loss = (x: number) => part(x) - part(-x);
  return {
    sigma,
    loss,
    logDensity: (x) => logNormalDensity(x / sigma) + part(x),
    tail: mixtureTail(q, sigma),
    inverse: (value) => inverseOfReplacement(q, sigma, value),
  };
}

/** With y = exp(x / sigma^2), c = exp(-1 / (2 sigma^2)) and e = exp(loss): s c y^2 + (1 - s) (1 - e) y - s c e = 0. */
function inverseOfReplacement(q: number, sigma: number, value: number): number {
  // The loss of -x is minus that of x.
  if (value < 0) return -inverseOfReplacement(q, sigma, -value);
  const sigma2 = sigma * sigma;
  // y = g + sqrt(g^2 + e) with g = (1 - s) (e - 1) / (2 s c), in logarithms: g may be beyond the largest number.
  const logG = Math.log1p(-q) - Math.log(2 * q) + 0.5 / sigma2 + (value > 1 ? value + Math.log1p(-Math.exp(-value)) : Math.log(Math.expm1(value)));
  if (logG > 300) return sigma2 * (logG + Math.log1p(Math.sqrt(1 + Math.exp(value - 2 * logG))));
  const g = Math.exp(logG - value / 2);
  return sigma2 * (value / 2 + Math.asinh(g));
}
