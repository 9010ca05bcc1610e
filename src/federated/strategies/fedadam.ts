/**
 * FedAdam (Reddi et al. 2021, algorithm 2). With d the mean of w_k - w in which every client counts once:
 *   v <- b2 v + (1 - b2) x^2;  w <- w + eta m / (sqrt(v) + tau);  v starts at tau^2, no correction of the bias
 *   reference fedllm-bench: x = m;  m <- d in the first round, then b1 m + (1 - b1) d
 *   reference textbook:     x = d;  m <- b1 m + (1 - b1) d from m = 0
 * The defaults are FedLLM-Bench's in both.
 */
import { adaptiveRule, createServerOptimizer, type CoordinateRule } from "../server-optimizer.js";
import type { Strategy } from "../strategy.js";
import type { AdaptiveOptions, Reference } from "./options.js";

export function fedAdamDefaults(reference: Reference): AdaptiveOptions {
  return { reference, serverLearningRate: 1e-3, tau: 1e-3, beta1: 0.5, beta2: 0.99 };
}

export function fedAdamRule(options: AdaptiveOptions): CoordinateRule {
  const { beta2 } = options;
  return adaptiveRule(options, (previous, observed) => beta2 * previous + (1 - beta2) * observed * observed);
}

/** Server state: `adapter`, `momentum`, `secondMoment`. Clients keep nothing. */
export function createFedAdam(options: AdaptiveOptions = fedAdamDefaults("fedllm-bench")): Strategy {
  return createServerOptimizer({ name: "fedadam", rule: fedAdamRule(options), weighting: "equal" });
}
