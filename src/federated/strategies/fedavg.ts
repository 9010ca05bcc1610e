/**
 * FedAvg (McMahan et al. 2017, algorithm 1), with the details of FedLLM-Bench: w <- w + sum p_k (w_k - w), where p_k is
 * the client's share of the full data sizes of the cohort. A and B are averaged separately: the mean of the products
 * B A is not the product of the means, and this method computes the latter.
 */
import { addUpdate } from "../../adapter/weights.js";
import { aggregateMean, byDataSize } from "../aggregators/mean.js";
import { plainTask, stateArray, type Strategy } from "../strategy.js";

/** Server state: `adapter`. Clients keep nothing. */
export function createFedAvg(): Strategy {
  return {
    name: "fedavg",
    participants: "clients",
    cohort: "sampled",
    exchangesWeights: true,
    init: (weights) => ({ arrays: { adapter: weights }, numbers: {} }),
    configure: (state, cohort, context) =>
      cohort.map((member) => plainTask(member, stateArray(state, "adapter"), context)),
    aggregate: aggregateMean(byDataSize, (state, mean) => ({
      arrays: { adapter: addUpdate(stateArray(state, "adapter"), mean) },
      numbers: {},
    })),
    adapters: ({ server }) => ({ kind: "global", weights: stateArray(server, "adapter") }),
  };
}
