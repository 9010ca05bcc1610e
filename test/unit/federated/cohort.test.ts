/** Vectors: Python's random.seed(t); sorted(random.sample(range(N), S)), as FedLLM-Bench draws its clients. */
import { describe, expect, test } from "vitest";
import { selectCohort, selectParticipants } from "../../../src/federated/cohort.js";
import { createStrategy } from "../../../src/federated/strategies/registry.js";
import { makeClients, makeOptions, sampleIndices } from "../../../src/contract/federation.js";

describe("selectCohort", () => {
  test.each([
    { numClients: 38, clientsPerRound: 4, roundIndex: 0, expected: [2, 16, 24, 26] },
    { numClients: 38, clientsPerRound: 4, roundIndex: 1, expected: [4, 8, 16, 36] },
    { numClients: 38, clientsPerRound: 4, roundIndex: 2, expected: [3, 5, 10, 23] },
    { numClients: 100, clientsPerRound: 5, roundIndex: 0, expected: [5, 33, 49, 53, 97] },
    { numClients: 100, clientsPerRound: 5, roundIndex: 1, expected: [8, 17, 32, 72, 97] },
    { numClients: 100, clientsPerRound: 5, roundIndex: 2, expected: [7, 10, 11, 21, 46] },
    { numClients: 50, clientsPerRound: 3, roundIndex: 0, expected: [24, 26, 48] },
    { numClients: 50, clientsPerRound: 3, roundIndex: 1, expected: [8, 36, 48] },
    { numClients: 50, clientsPerRound: 3, roundIndex: 2, expected: [3, 5, 23] },
  ])("draws $clientsPerRound of $numClients in round index $roundIndex as Python does", ({ expected, ...draw }) => {
    expect(selectCohort(draw, sampleIndices)).toEqual(expected);
  });

  test("takes all clients when there are no more than asked for", () => {
    expect(selectCohort({ numClients: 3, clientsPerRound: 3, roundIndex: 5 }, sampleIndices)).toEqual([0, 1, 2]);
    expect(selectCohort({ numClients: 2, clientsPerRound: 4, roundIndex: 5 }, sampleIndices)).toEqual([0, 1]);
  });
});

describe("selectParticipants", () => {
  const clients = makeClients(38);
  const { plan } = makeOptions({ clientsPerRound: 4 });
  const idsOf = (strategy: string, round: number, fixedClients?: readonly string[]): readonly string[] => {
    const fixedPlan = fixedClients === undefined ? plan : { ...plan, fixedClients };
    return selectParticipants(createStrategy(strategy), clients, fixedPlan, round, sampleIndices).map(({ id }) => id);
  };
  const roundOne = ["client-2", "client-16", "client-24", "client-26"];

  test("fedavg draws anew in each round, from the seed round - 1", () => {
    expect(idsOf("fedavg", 1)).toEqual(roundOne);
    expect(idsOf("fedavg", 2)).toEqual(["client-4", "client-8", "client-16", "client-36"]);
  });

  test("local keeps the cohort of round 1, or the one that is given", () => {
    expect(idsOf("local", 3)).toEqual(roundOne);
    expect(idsOf("local", 3, ["client-9", "client-1"])).toEqual(["client-9", "client-1"]);
  });

  test("a fixed client that does not exist is a CONFIG_INVALID that names it", () => {
    expect(() => idsOf("local", 1, ["nobody"])).toThrow('received "nobody"');
  });
});
