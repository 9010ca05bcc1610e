/** What a round costs by the kind of strategy, for estimates before a run. */
import { expect, test } from "vitest";
import { makeOptions } from "../../../src/contract/federation.js";
import { createStrategy } from "../../../src/federated/strategies/registry.js";
import { answersPerRound, stepsPerRound } from "../../../src/run/training-plan.js";

const { plan } = makeOptions({ clientsPerRound: 3, localSteps: 5 });
const members = ["a", "b", "c", "d"].map((clientId) => ({ clientId, numExamples: 10 }));

test.each([
  ["fedavg", {}, 3, 15],
  ["ditto", {}, 3, 30],
  ["fedasync", {}, 1, 5],
  ["fedbuff", { bufferSize: 2 }, 2, 10],
  ["fedbuff", { bufferSize: 50 }, 4, 20],
])("%s %j takes %i answers and %i steps per round", (name, options, answers, steps) => {
  const strategy = createStrategy(name, options);
  expect(answersPerRound(plan, strategy, members)).toBe(answers);
  expect(stepsPerRound(plan, strategy, members)).toBe(steps);
});
