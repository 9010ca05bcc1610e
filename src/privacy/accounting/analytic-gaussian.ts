/**
 * The Gaussian mechanism without sampling, exactly (Balle and Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy",
 * theorem 8): with mu the sensitivity over the noise's standard deviation,
 *   delta(epsilon) = P(Z > epsilon / mu - mu / 2) - e^epsilon P(Z > epsilon / mu + mu / 2).
 * Several such releases are one with mu^2 = sum of their mu^2.
 */
import { bisect, gaussLegendre, logNormalDensity, logNormalTail, millsRatio } from "./special.js";

const RULE = gaussLegendre(12);

/** log delta at epsilon >= 0 for mu >= 0. */
export function logDeltaOfGaussian(mu: number, epsilon: number): number {
  if (mu === 0) return Number.NEGATIVE_INFINITY;
  const low = epsilon / mu - mu / 2;
  // With Mills' ratio R both terms have the density at `low`: delta = density(low) (R(low) - R(low + mu)).
  if (mu < 0.5) return logNormalDensity(low) + Math.log(fallOfMillsRatio(low, mu));
  const first = logNormalTail(low);
  const second = epsilon + logNormalTail(low + mu);
  return first + Math.log(-Math.expm1(Math.min(0, second - first)));
}

/** R(x) - R(x + width) as the integral of -R'(t) = 1 - t R(t), for terms that are nearly equal. */
function fallOfMillsRatio(x: number, width: number): number {
  let sum = 0;
  for (const [i, node] of RULE.nodes.entries()) {
    const t = x + ((node + 1) / 2) * width;
    // From 30 on the difference loses digits and 1/t^2 - 3/t^4 + 15/t^6 - 105/t^8 + 945/t^10 has them: the next term is 1e-14 of it.
    const slope = t > 30 ? (1 - (3 - (15 - (105 - 945 / (t * t)) / (t * t)) / (t * t)) / (t * t)) / (t * t) : 1 - t * millsRatio(t);
    sum += ((RULE.weights[i] ?? 0) / 2) * slope;
  }
  return sum * width;
}

/** The least epsilon >= 0 for delta in (0, 1). */
export function epsilonOfGaussian(mu: number, delta: number): number {
  if (mu === 0) return 0;
  if (!Number.isFinite(mu)) return Number.POSITIVE_INFINITY;
  const isEnough = (epsilon: number) => logDeltaOfGaussian(mu, epsilon) <= Math.log(delta);
  if (isEnough(0)) return 0;
  let high = mu;
  while (!isEnough(high)) high *= 2;
  return bisect(0, high, isEnough);
}

/** The least noise multiplier for one release, to rounding; `epsilon` >= 0, `delta` in (0, 1). */
export function gaussianNoiseFor(epsilon: number, delta: number): number {
  const isEnough = (sigma: number) => logDeltaOfGaussian(1 / sigma, epsilon) <= Math.log(delta);
  let high = 1;
  while (!isEnough(high)) high *= 2;
  return bisect(0, high, (sigma) => sigma > 0 && isEnough(sigma));
}
