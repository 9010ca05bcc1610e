/** Steps by data size: the reference's numbers, and a whole run that passes over each client's data as often as asked. */
import { expect, test } from "vitest";
import { makeClient, makeDeps, makeOptions, freshStart } from "../../../src/contract/federation.js";
import { pointSample } from "../../../src/contract/quadratic-trainer.js";
import { expectedParticipations, localStepsOf } from "../../../src/federated/local-steps.js";
import { runServer } from "../../../src/federated/server.js";
import { createStrategy } from "../../../src/federated/strategies/registry.js";

// Fed-ChatbotPA: 200 rounds, 10 of 747 clients, 8 samples a step, 3 passes in all.
const plan = { numRounds: 200, clientsPerRound: 10, localSteps: 1, totalEpochs: 3, batchSize: 8 };

test.each([
  [5, 1],
  [13, 2],
  [50, 8],
  [100, 15],
  [154, 22],
  [300, 43],
])("a client of Fed-ChatbotPA with %i pairs makes %i steps", (numExamples, steps) => {
  const participations = expectedParticipations(plan, 747);
  expect(participations).toBeCloseTo(2.677, 3);
  expect(localStepsOf(plan, { numExamples }, participations)).toBe(steps);
});

test("without passes every client makes the steps of the plan", () => {
  const { totalEpochs: _, ...fixed } = plan;
  expect(localStepsOf({ ...fixed, localSteps: 7 }, { numExamples: 300 }, 1)).toBe(7);
});

const clients = [3, 8, 21].map((size, k) => makeClient(`client-${String(k)}`, Array.from({ length: size }, (_, s) => pointSample(s, k, 1))));

test.each([
  // Each of three clients takes part in 4 * 2 / 3 rounds: ceil(n * 6 / (8 / 3) / 2).
  ["fedavg", [["client-0", 4], ["client-1", 9], ["client-2", 24]]],
  // Two clients in each of 4 rounds: ceil(n * 6 / 4 / 2).
  ["local", [["client-0", 3], ["client-1", 6], ["client-2", 16]]],
  // All 32 samples in each of 4 rounds.
  ["centralized", [["pooled", 24]]],
])("%s", async (name, expected) => {
  const options = makeOptions({ numRounds: 4, clientsPerRound: 2, totalEpochs: 6, batchSize: 2 });
  const deps = makeDeps(createStrategy(name), { clients });
  await runServer(options, deps, freshStart());
  const steps = new Map(deps.metrics.records.flatMap((record) => record.clients.map(({ clientId, numSteps }) => [clientId, numSteps] as const)));
  const seen = [...steps].sort();
  expect(seen.length).toBeGreaterThan(0);
  expect(expected).toEqual(expect.arrayContaining(seen));
});

test("a number of passes that is none is refused", async () => {
  const deps = makeDeps(createStrategy("fedavg"), { clients });
  await expect(runServer(makeOptions({ totalEpochs: 0 }), deps, freshStart())).rejects.toThrow("totalEpochs");
});
