/**
 * Renyi differential privacy of the Gaussian mechanism on a sample of fixed size without replacement, when one unit is replaced by
 * another (Wang, Balle, Kasiviswanathan 2019, "Subsampled Renyi Differential Privacy and Analytical Moments Accountant", theorem 27):
 * at integer orders, with c(j) = j (j - 1) / (2 sigma^2),
 *   A <= 1 + C(a, 2) q^2 min(4 (e^c(2) - 1), 2 e^c(2)) + sum_{j=3..a} C(a, j) q^j min(4 sqrt(B(2 floor(j/2)) B(2 ceil(j/2))), 2 e^c(j))
 * where B(l) = E[(e^((2x - 1) / (2 sigma^2)) - 1)^l], x ~ N(0, sigma^2); between integers log A is at most its chord (corollary 10).
 * sigma is relative to the sensitivity under replacement, which for a clipped sum is twice the clipping norm.
 */
import type { SampledGaussian } from "./rdp.js";
import { logAdd, logExpm1 } from "./special.js";

/** RDP at an order above 1 (Infinity included). */
export function rdpOfFixedSizeGaussian({ sampleRate: q, noiseMultiplier: sigma }: SampledGaussian, order: number): number {
  if (q === 0) return 0;
  if (sigma === 0 || order === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  if (q === 1) return order / sigma / sigma / 2;
  const below = Math.floor(order);
  const part = order - below;
  const logMoment = (1 - part) * logMomentBound(q, sigma, below) + (part === 0 ? 0 : part * logMomentBound(q, sigma, below + 1));
  return logMoment / (order - 1);
}

/** Above it only the second, simpler bound is taken: the central moments of all lower orders would take long. */
const CENTRAL_UP_TO = 256;

function logMomentBound(q: number, sigma: number, order: number): number {
  if (order < 2) return 0;
  const cumulant = (j: number) => (j * (j - 1)) / sigma / sigma / 2;
  const central = Array.from({ length: order <= CENTRAL_UP_TO ? order + 2 : 0 }, (_, l) => (l < 2 || l % 2 === 1 ? 0 : logCentralMoment(sigma, l)));
  let logBinomial = Math.log(order);
  let sum = Number.NEGATIVE_INFINITY;
  for (let j = 2; j <= order; j++) {
    logBinomial += Math.log((order - j + 1) / j);
    const plain = Math.log(2) + cumulant(j);
    const low = central[2 * Math.floor(j / 2)] ?? Number.POSITIVE_INFINITY;
    const high = central[2 * Math.ceil(j / 2)] ?? Number.POSITIVE_INFINITY;
    const difference = Math.log(4) + (j === 2 ? logExpm1(cumulant(2)) : (low + high) / 2);
    sum = logAdd(sum, logBinomial + j * Math.log(q) + Math.min(plain, difference));
  }
  return sum > 0 ? sum + Math.log1p(Math.exp(-sum)) : Math.log1p(Math.exp(sum));
}

const REACH = 39;

/** log E[(e^((2x - 1) / (2 sigma^2)) - 1)^l] for even l, by the trapezoidal rule, which an entire integrand makes exact to rounding. */
function logCentralMoment(sigma: number, l: number): number {
  // exp(l t) turns by l h / sigma^2 within a step, which adds to the width of the transform.
  const step = Math.min(sigma / 4, (sigma * sigma) / 4);
  const low = -REACH * sigma;
  const count = Math.ceil((l + 2 * REACH * sigma) / step);
  const logs = Float64Array.from({ length: count + 1 }, (_, i) => {
    const x = low + i * step;
    const t = (2 * x - 1) / sigma / sigma / 2;
    const logDistance = t > 0 ? logExpm1(t) : Math.log(-Math.expm1(t));
    return -(x / sigma) * (x / sigma) / 2 + l * logDistance;
  });
  const top = logs.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  return top + Math.log((logs.reduce((sum, value) => sum + Math.exp(value - top), 0) * step) / sigma / Math.sqrt(2 * Math.PI));
}
