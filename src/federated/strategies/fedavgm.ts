/**
 * FedAvgM, FedAvg with momentum at the server. With d = sum p_k (w_k - w), weighted as in FedAvg:
 *   reference fedllm-bench: m <- d in the first round, then b1 m + (1 - b1) d;  w <- w + m
 *   reference textbook (Hsu et al. 2019, section 4.2): m <- b1 m + d from m = 0;  w <- w + eta m
 * The first averages changes, so its step stays as long as FedAvg's; the second sums them, so that a steady change moves
 * the adapter eta / (1 - b1) times as far. The default b1 is FedLLM-Bench's 0.5 in both; eta is 1.
 */
import { averageFromFirst, createServerOptimizer, type CoordinateRule } from "../server-optimizer.js";
import type { Strategy } from "../strategy.js";
import type { Reference, ServerMomentumOptions } from "./options.js";

export function fedAvgMDefaults(reference: Reference): ServerMomentumOptions {
  return reference === "textbook" ? { reference, beta1: 0.5, serverLearningRate: 1 } : { reference, beta1: 0.5 };
}

export function fedAvgMRule({ reference, beta1, serverLearningRate = 1 }: ServerMomentumOptions): CoordinateRule {
  return reference === "textbook"
    ? {
        momentum: (previous, change) => beta1 * (previous ?? 0) + change,
        step: (momentum) => serverLearningRate * momentum,
      }
    : { momentum: averageFromFirst(beta1), step: (momentum) => momentum };
}

/** Server state: `adapter`, `momentum`. Clients keep nothing. */
export function createFedAvgM(options: ServerMomentumOptions = fedAvgMDefaults("fedllm-bench")): Strategy {
  return createServerOptimizer({ name: "fedavgm", rule: fedAvgMRule(options) });
}
