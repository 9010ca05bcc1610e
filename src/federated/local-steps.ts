/**
 * How many optimizer steps a client makes in a round: the same number for all, or by the size of its data, so that every
 * client passes over its data equally often in the whole run (FedLLM-Bench's dynamic local steps):
 *   K_i = ceil(n_i * E / R_i / B)
 * with n_i the client's samples, E the passes in the whole run, R_i the rounds it is expected to take part in, and B the
 * samples of a step.
 */
import type { CohortMember } from "./protocol.js";
import type { TrainingPlan } from "./strategy.js";

/** The parts of a plan that decide it. */
export type StepPlan = Pick<TrainingPlan, "numRounds" | "clientsPerRound" | "localSteps" | "totalEpochs" | "batchSize">;

/** Rounds that a client of a cohort drawn anew in each round is expected to take part in: T S / N. */
export function expectedParticipations({ numRounds, clientsPerRound }: StepPlan, numClients: number): number {
  return (numRounds * Math.min(clientsPerRound, numClients)) / numClients;
}

/** Steps of one client in one round; `participations` as above, or numRounds for one that takes part in every round. */
export function localStepsOf(plan: StepPlan, { numExamples }: Pick<CohortMember, "numExamples">, participations: number): number {
  const { totalEpochs, batchSize, localSteps } = plan;
  if (totalEpochs === undefined) return localSteps;
  return Math.max(1, Math.ceil((numExamples * totalEpochs) / participations / batchSize));
}
