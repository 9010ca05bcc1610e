/**
 * Who takes part in a round. The draw equals Python's random.seed(t), sorted(random.sample(range(N), S)) with t the
 * round counted from 0 (FedLLM-Bench), through the sampler that is passed in.
 */
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { splitByGroup } from "./groups.js";
import type { FederatedClient } from "./protocol.js";
import type { Strategy, TrainingPlan } from "./strategy.js";

/** Distinct indices below `population`, as Python's random.seed(seed); random.sample(range(population), count). */
export type SampleIndices = (seed: number, population: number, count: number) => readonly number[];

/** Positions of the cohort in the list of clients, ascending; all clients when there are no more than asked for. */
export function selectCohort(
  draw: { readonly roundIndex: number; readonly numClients: number; readonly clientsPerRound: number },
  sampleIndices: SampleIndices,
): readonly number[] {
  const { roundIndex, numClients, clientsPerRound } = draw;
  if (clientsPerRound >= numClients) return Array.from({ length: numClients }, (_, index) => index);
  return [...sampleIndices(roundIndex, numClients, clientsPerRound)].sort((left, right) => left - right);
}

/**
 * The participants of a round as the strategy wants them. `participants` are all there are, in the order of the data;
 * `overSelection` times as many as a round wants are drawn. Groups draw theirs one after another, each as if it were alone.
 */
export function selectParticipants(
  strategy: Strategy,
  participants: readonly FederatedClient[],
  plan: TrainingPlan,
  round: number,
  sampleIndices: SampleIndices,
  overSelection = 1,
): readonly FederatedClient[] {
  if (strategy.participants === "pooled") return participants;
  if (strategy.cohort === "fixed" && plan.fixedClients !== undefined)
    return findClients(participants, plan.fixedClients);
  const roundIndex = strategy.cohort === "fixed" ? 0 : round - 1;
  // A fixed cohort is what it is in every round.
  const clientsPerRound = strategy.cohort === "fixed" ? plan.clientsPerRound : Math.ceil(plan.clientsPerRound * overSelection);
  return splitByGroup(participants, strategy.groups, ({ id }) => id).flatMap((members) =>
    selectCohort({ roundIndex, numClients: members.length, clientsPerRound }, sampleIndices).map((index) => {
      const client = members[index];
      assert(client !== undefined, "the sampler draws existing clients");
      return client;
    }),
  );
}

function findClients(clients: readonly FederatedClient[], ids: readonly string[]): readonly FederatedClient[] {
  return ids.map((id) => {
    const client = clients.find((candidate) => candidate.id === id);
    if (client !== undefined) return client;
    throw problemError("CONFIG_INVALID", {
      subject: "fixedClients",
      expected: "ids of clients in the data set",
      received: JSON.stringify(id),
    });
  });
}
