/**
 * FedAdagrad (Reddi et al. 2021, algorithm 2 with beta1 = 0), which FedLLM-Bench computes as printed. With d the mean of
 * w_k - w in which every client counts once:
 *   v <- v + d^2;  w <- w + eta d / (sqrt(v) + tau);  v starts at tau^2
 */
import { adaptiveStep, createServerOptimizer, type CoordinateRule } from "../server-optimizer.js";
import type { Strategy } from "../strategy.js";
import type { AdagradOptions } from "./options.js";

export const FEDADAGRAD_DEFAULTS: AdagradOptions = { serverLearningRate: 1e-3, tau: 1e-3 };

export function fedAdagradRule({ serverLearningRate, tau }: AdagradOptions): CoordinateRule {
  return {
    secondMoment: { initial: tau * tau, next: (previous, change) => previous + change * change },
    step: adaptiveStep(serverLearningRate, tau),
  };
}

/** Server state: `adapter`, `secondMoment`. Clients keep nothing. */
export function createFedAdagrad(options: AdagradOptions = FEDADAGRAD_DEFAULTS): Strategy {
  return createServerOptimizer({ name: "fedadagrad", rule: fedAdagradRule(options), weighting: "equal" });
}
