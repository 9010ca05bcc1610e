/**
 * FedYogi (Reddi et al. 2021, algorithm 2). With d the mean of w_k - w in which every client counts once:
 *   v <- v - (1 - b2) x^2 sign(v - x^2);  w <- w + eta m / (sqrt(v) + tau);  v starts at tau^2
 *   reference fedllm-bench: x = m;  m <- d in the first round, then b1 m + (1 - b1) d
 *   reference textbook:     x = d;  m <- b1 m + (1 - b1) d from m = 0
 * The second moment of a momentum is not that of the changes: where they alternate in sign it is far smaller, and the
 * steps are larger. The defaults are FedLLM-Bench's in both.
 */
import { adaptiveRule, createServerOptimizer, type CoordinateRule } from "../server-optimizer.js";
import type { Strategy } from "../strategy.js";
import type { AdaptiveOptions, Reference } from "./options.js";

export function fedYogiDefaults(reference: Reference): AdaptiveOptions {
  return { reference, serverLearningRate: 1e-3, tau: 1e-3, beta1: 0.5, beta2: 0.99 };
}

export function fedYogiRule(options: AdaptiveOptions): CoordinateRule {
  const { beta2 } = options;
  return adaptiveRule(options, (previous, observed) => {
    const square = observed * observed;
    return previous - (1 - beta2) * square * Math.sign(previous - square);
  });
}

/** Server state: `adapter`, `momentum`, `secondMoment`. Clients keep nothing. */
export function createFedYogi(options: AdaptiveOptions = fedYogiDefaults("fedllm-bench")): Strategy {
  return createServerOptimizer({ name: "fedyogi", rule: fedYogiRule(options), weighting: "equal" });
}
