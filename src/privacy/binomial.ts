/** Confidence bounds of a probability from counted successes (Clopper and Pearson 1934). */
import { bisect } from "./accounting/special.js";

/** log P(X >= successes) of `trials` draws with this probability. */
function logUpperTail(successes: number, trials: number, probability: number): number {
  if (successes <= 0) return 0;
  // Terms from `successes` on, each from the one before; the first by its logarithm.
  let logFirst = successes * Math.log(probability) + (trials - successes) * Math.log1p(-probability);
  for (let i = 1; i <= successes; i++) logFirst += Math.log((trials - successes + i) / i);
  let [term, sum] = [1, 1];
  for (let k = successes + 1; k <= trials; k++) {
    term *= ((trials - k + 1) / k) * (probability / (1 - probability));
    sum += term;
  }
  return logFirst + Math.log(sum);
}

/** The least probability that gives so many successes or more with a chance above 1 - confidence; 0 for none. */
export function lowerBound(successes: number, trials: number, confidence: number): number {
  if (successes === 0) return 0;
  return bisect(1e-300, 1, (p) => p === 1 || logUpperTail(successes, trials, p) >= Math.log(1 - confidence));
}

/** The greatest probability that gives so few successes or fewer with a chance above 1 - confidence; 1 for all. */
export function upperBound(successes: number, trials: number, confidence: number): number {
  return 1 - lowerBound(trials - successes, trials, confidence);
}
