/** Draws from a symmetric Dirichlet distribution, in logarithms, so that even a tiny alpha gives proportions and no 0 / 0. */
import type { PythonRandom } from "../python-random.js";

/** `count` proportions that add up to 1; alpha above 0. */
export function drawDirichlet(count: number, alpha: number, random: PythonRandom): number[] {
  const logs = Array.from({ length: count }, () => drawLogGamma(alpha, random));
  const largest = logs.reduce((most, value) => Math.max(most, value), -Infinity);
  const weights = logs.map((value) => Math.exp(value - largest));
  const total = weights.reduce((sum, value) => sum + value, 0);
  return weights.map((value) => value / total);
}

/**
 * The logarithm of a draw from the gamma distribution with shape alpha and scale 1. A shape below 1 is drawn as that of alpha + 1
 * times u^(1 / alpha) (Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables", ACM TOMS 26(3), 2000).
 */
function drawLogGamma(alpha: number, random: PythonRandom): number {
  if (alpha < 1) return drawLogGamma(alpha + 1, random) + Math.log(drawPositive(random)) / alpha;
  const d = alpha - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = drawNormal(random);
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(drawPositive(random)) < 0.5 * x * x + d - d * v + d * Math.log(v)) return Math.log(d * v);
  }
}

/** Standard normal by Box and Muller; the second number of each pair is not used. */
function drawNormal(random: PythonRandom): number {
  return Math.sqrt(-2 * Math.log(drawPositive(random))) * Math.cos(2 * Math.PI * random.random());
}

/** Uniform in (0, 1]. */
function drawPositive(random: PythonRandom): number {
  return 1 - random.random();
}
