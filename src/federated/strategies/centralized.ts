/**
 * Centralized training, the upper baseline: the data of all clients in one place, one adapter, and in each round as
 * many optimizer steps as all clients of a federated round make together. What is compared is federation, so the
 * optimizer starts anew in each round here as well.
 */
import { addUpdate } from "../../adapter/weights.js";
import { aggregateMean, byDataSize } from "../aggregators/mean.js";
import { localStepsOf } from "../local-steps.js";
import type { CohortMember } from "../protocol.js";
import { plainTask, stateArray, type RoundContext, type Strategy } from "../strategy.js";

/** Server state: `adapter`. The pooled participant keeps nothing. */
export function createCentralized(): Strategy {
  return {
    name: "centralized",
    participants: "pooled",
    cohort: "fixed",
    exchangesWeights: false,
    init: (weights) => ({ arrays: { adapter: weights }, numbers: {} }),
    configure: (state, cohort, context) =>
      cohort.map((member) => plainTask(member, stateArray(state, "adapter"), context, pooledSteps(member, context))),
    aggregate: aggregateMean(byDataSize, (state, mean) => ({
      arrays: { adapter: addUpdate(stateArray(state, "adapter"), mean) },
      numbers: {},
    })),
    adapters: ({ server }) => ({ kind: "global", weights: stateArray(server, "adapter") }),
  };
}

function pooledSteps(member: CohortMember, { plan, numClients }: RoundContext): number {
  if (plan.pooledSteps === undefined && plan.totalEpochs !== undefined) return localStepsOf(plan, member, plan.numRounds);
  return plan.pooledSteps ?? plan.localSteps * Math.min(plan.clientsPerRound, numClients);
}
