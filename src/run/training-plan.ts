/** The rounds and steps of an arm's configuration in the words of the federation, and how many steps they come to. */
import { DEFAULT_TOTAL_EPOCHS } from "../config/objective.js";
import type { TrainingConfig } from "../config/schema.js";
import { splitByGroup } from "../federated/groups.js";
import { expectedParticipations, localStepsOf } from "../federated/local-steps.js";
import type { CohortMember } from "../federated/protocol.js";
import type { Strategy, TrainingPlan } from "../federated/strategy.js";

/** The plan of an arm. */
export function planTraining(training: TrainingConfig): TrainingPlan {
  const { localSteps } = training;
  return {
    numRounds: training.numRounds,
    clientsPerRound: training.clientsPerRound,
    ...(localSteps === "dynamic" ? { localSteps: 1, totalEpochs: training.totalEpochs ?? DEFAULT_TOTAL_EPOCHS } : { localSteps }),
    batchSize: training.batchSize,
    initialLearningRate: training.initialLearningRate,
    finalLearningRate: training.finalLearningRate,
    ...(training.pooledSteps === undefined ? {} : { pooledSteps: training.pooledSteps }),
    ...(training.fixedClients === undefined ? {} : { fixedClients: training.fixedClients }),
  };
}

/** Clients whose updates a round takes: an asynchronous server's buffer, otherwise the cohort, or the cohorts of all groups. */
export function answersPerRound(
  plan: Pick<TrainingPlan, "fixedClients" | "clientsPerRound">,
  strategy: Strategy,
  members: readonly CohortMember[],
): number {
  const wanted = strategy.asynchronous?.bufferSize ?? (strategy.cohort === "fixed" ? plan.fixedClients?.length : undefined);
  if (wanted !== undefined) return Math.min(wanted, members.length);
  const groups = splitByGroup(members, strategy.groups, ({ clientId }) => clientId);
  return groups.reduce((sum, group) => sum + Math.min(plan.clientsPerRound, group.length), 0);
}

/** Optimizer steps of all clients of a round together; with dynamic steps the mean over all cohorts. */
export function stepsPerRound(plan: TrainingPlan, strategy: Strategy, members: readonly CohortMember[]): number {
  const { numRounds, clientsPerRound, localSteps, pooledSteps, totalEpochs } = plan;
  const numClients = members.length;
  if (strategy.groups !== undefined) {
    const { groups, ...inner } = strategy;
    return splitByGroup(members, groups, ({ clientId }) => clientId).reduce(
      (sum, group) => sum + stepsPerRound(planOfGroup(plan, group), inner, group),
      0,
    );
  }
  const cohort = answersPerRound(plan, strategy, members);
  const numTrainings = strategy.clientSide?.personalTask === undefined ? 1 : 2;
  const total = members.reduce((sum, { numExamples }) => sum + numExamples, 0);
  if (strategy.participants === "pooled") {
    if (pooledSteps !== undefined) return pooledSteps;
    return totalEpochs === undefined ? localSteps * Math.min(clientsPerRound, numClients) : localStepsOf(plan, { numExamples: total }, numRounds);
  }
  const participations = strategy.cohort === "fixed" ? numRounds : expectedParticipations(plan, numClients);
  const steps = members.map((member) => localStepsOf(plan, member, participations));
  return (numTrainings * cohort * steps.reduce((sum, count) => sum + count, 0)) / numClients;
}

/** The named clients of a fixed cohort that are in the group. */
function planOfGroup(plan: TrainingPlan, group: readonly CohortMember[]): TrainingPlan {
  if (plan.fixedClients === undefined) return plan;
  const ids = new Set(group.map(({ clientId }) => clientId));
  return { ...plan, fixedClients: plan.fixedClients.filter((clientId) => ids.has(clientId)) };
}
