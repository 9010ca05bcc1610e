/**
 * Renyi differential privacy of the Gaussian mechanism on a Poisson sample, adding or removing one unit (Mironov, Talwar, Zhang 2019,
 * "Renyi Differential Privacy of the Sampled Gaussian Mechanism"): with x ~ N(0, sigma^2) and u = q (exp((2x - 1) / (2 sigma^2)) - 1),
 *   RDP(a) = log A / (a - 1),   A = E[(1 + u)^a].
 * Since E[u] = 0, A - 1 = E[(1 + u)^a - 1 - a u] is a mean of numbers that are not negative, so it is found to full relative
 * accuracy also where A is 1 to all digits: at integer orders as the binomial sum over k >= 2, at others by quadrature.
 * sigma is the noise's standard deviation over the sensitivity, q the probability of each unit.
 */
import { logAdd, logExpm1, logMixture } from "./special.js";

/** One Gaussian release of a sum over a random sample. */
export interface SampledGaussian {
  /** Probability with which each unit takes part, 0 to 1. */
  readonly sampleRate: number;
  /** Standard deviation of the noise over the L2 sensitivity; 0: no noise. */
  readonly noiseMultiplier: number;
}

/** RDP at an order above 1 (Infinity included); infinite where there is no bound. */
export function rdpOfSampledGaussian({ sampleRate: q, noiseMultiplier: sigma }: SampledGaussian, order: number): number {
  if (q === 0) return 0;
  if (sigma === 0 || order === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  if (q === 1) return order / sigma / sigma / 2;
  const logExcess = Number.isInteger(order) ? logExcessAtInteger(q, sigma, order) : logExcessByQuadrature(q, sigma, order);
  return logOfOnePlus(logExcess) / (order - 1);
}

/** log(1 + exp(x)). */
function logOfOnePlus(x: number): number {
  return x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x));
}

/** log(A - 1) = log sum_{k=2..a} C(a, k) (1 - q)^(a - k) q^k (exp((k^2 - k) / (2 sigma^2)) - 1). */
function logExcessAtInteger(q: number, sigma: number, order: number): number {
  let logBinomial = Math.log(order);
  let sum = Number.NEGATIVE_INFINITY;
  for (let k = 2; k <= order; k++) {
    logBinomial += Math.log((order - k + 1) / k);
    const exponent = (k * (k - 1)) / sigma / sigma / 2;
    sum = logAdd(sum, logBinomial + (order - k) * Math.log1p(-q) + k * Math.log(q) + logExpm1(exponent));
  }
  return sum;
}

/** What lies so far below the largest value of an integrand adds nothing to its integral: exp(-60) is 1e-26. */
const NEGLIGIBLE_LOG = 60;
/** Standard deviations at both ends beyond which a normal density is nothing in double precision. */
const REACH = 39;

/**
 * log(A - 1) by the trapezoidal rule, whose error is exp(-2 pi d / h) for a distance d of the real line to the nearest singularity: here
 * pi sigma^2, where 1 + u = 0, and for the density alone exp(-2 pi^2 sigma^2 / h^2). Steps are taken that make both less than 1e-15.
 */
function logExcessByQuadrature(q: number, sigma: number, order: number): number {
  const low = -REACH * sigma;
  const high = order + REACH * sigma;
  const logIntegrand = (x: number) => -(x / sigma) * (x / sigma) / 2 + logConvexPart(q, (2 * x - 1) / sigma / sigma / 2, order);
  const step = Math.min(sigma / 2, (Math.PI * sigma * sigma) / 6);
  // The second derivative of the logarithm is at least -1 / sigma^2, so between two points that are sigma apart it is at most 1/8 above both.
  const cells = Math.ceil((high - low) / sigma);
  const coarse = Float64Array.from({ length: cells + 1 }, (_, i) => logIntegrand(low + i * sigma));
  const top = coarse.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  if (top === Number.NEGATIVE_INFINITY) return top;
  const inCell = Math.ceil(sigma / step);
  const counts = (cell: number) => Math.max(coarse[cell] ?? top, coarse[cell + 1] ?? top) > top - NEGLIGIBLE_LOG;
  let sum = 0;
  for (let cell = 0; cell < cells; cell++) {
    if (!counts(cell)) continue;
    for (let i = 0; i < inCell; i++) sum += Math.exp(logIntegrand(low + (cell + i / inCell) * sigma) - top);
  }
  return top + Math.log(sum / inCell / Math.sqrt(2 * Math.PI));
}

/** log((1 + u)^a - 1 - a u) for u = q (exp(t) - 1) and a > 1. */
function logConvexPart(q: number, t: number, order: number): number {
  const excess = order - 1;
  const logOneMore = logMixture(q, t);
  if (logOneMore > 1) {
    // (1 + u)^a is the largest term.
    const logRest = logOneMore + Math.log(order - excess * Math.exp(-logOneMore));
    return order * logOneMore + Math.log1p(-Math.exp(Math.min(0, logRest - order * logOneMore)));
  }
  const u = q * Math.expm1(t);
  if (Math.abs(u) * Math.max(1, order) >= 0.5) return Math.log((1 + u) * Math.expm1(excess * logOneMore) - excess * u);
  // Both terms are nearly equal: the binomial series from the square on.
  let term = (order * excess * u * u) / 2;
  let sum = 0;
  for (let k = 3; term !== 0 && Math.abs(term) > Math.abs(sum) * 1e-18; k++) {
    sum += term;
    term *= ((order - k + 1) * u) / k;
  }
  return Math.log(sum);
}
