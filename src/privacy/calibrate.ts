/** The least noise for a target epsilon. */
import { problemError } from "../errors.js";
import { epsilonOfEvents, type AccountingMethod, type Sampling } from "./accounting/accountant.js";
import { BUDGET_POINTS } from "./budget.js";

/** What is to be released, and what it may cost. */
export interface CalibrationTarget {
  readonly epsilon: number;
  readonly delta: number;
  readonly sampleRate: number;
  readonly numRounds: number;
  readonly accountant: AccountingMethod;
  readonly sampling?: Sampling;
}

const LEAST = 1e-2;
const MOST = 1e5;
/** Relative width in which the answer lies. */
const TOLERANCE = 1e-4;

/**
 * A noise multiplier whose epsilon is at most the target, and which is at most 0.01 % above the least one that an eighth of the usual
 * grid finds. Throws CONFIG_INVALID where no noise up to 1e5 is enough.
 */
export function calibrateNoise({ epsilon, delta, sampleRate, numRounds, accountant, sampling = "poisson" }: CalibrationTarget): number {
  const isEnough = (noiseMultiplier: number, method: AccountingMethod) =>
    epsilonOfEvents([{ sampling, sampleRate, noiseMultiplier, count: numRounds }], delta, method, BUDGET_POINTS) <= epsilon;
  if (!isEnough(MOST, "rdp")) {
    throw problemError("CONFIG_INVALID", {
      subject: "privacy.epsilon",
      expected: "a value that some noise up to 1e5 times the clipping norm reaches",
      received: `${String(epsilon)} for delta ${String(delta)} in ${String(numRounds)} rounds`,
    });
  }
  // RDP is quick and encloses: what is enough by it is enough by the tighter count.
  const byRdp = leastEnough(LEAST, MOST, (noise) => isEnough(noise, "rdp"));
  return accountant === "rdp" ? byRdp : leastEnough(Math.max(LEAST, byRdp / 4), byRdp, (noise) => isEnough(noise, accountant));
}

/** Bisection of the logarithm; the upper end is always enough. */
function leastEnough(low: number, high: number, isEnough: (noise: number) => boolean): number {
  if (isEnough(low)) return low;
  let [a, b] = [low, high];
  while (b / a > 1 + TOLERANCE) {
    const middle = Math.sqrt(a * b);
    if (isEnough(middle)) b = middle;
    else a = middle;
  }
  // Four digits more than the tolerance has, rounded up: a number that can be read and copied.
  const rounded = Math.ceil(b * 1e6) / 1e6;
  return isEnough(rounded) ? rounded : b;
}
