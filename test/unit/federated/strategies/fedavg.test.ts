import { expect, test } from "vitest";
import { createFedAvg } from "../../../../src/federated/strategies/fedavg.js";
import { makeUpdate } from "../../../helpers/client-update.js";
import { makeOptions } from "../../../../src/contract/federation.js";
import { QuadraticTrainer } from "../../../../src/contract/quadratic-trainer.js";

const { layout } = new QuadraticTrainer(3);

test("the scalar vectors of FedLLM-Bench: clients of size 3 and 1 move 1 to 1.125 and then to 1.275", () => {
  const strategy = createFedAvg();
  const context = { round: 1, plan: makeOptions().plan, numClients: 2, layout };
  const first = strategy.aggregate(
    strategy.init(Float32Array.of(1)),
    [makeUpdate("a", 3, [0.2]), makeUpdate("b", 1, [-0.1])],
    context,
  );
  // Inputs and result are rounded to single precision: 1e-7 is one unit in its last place at 1.
  expect(first.arrays["adapter"]?.[0]).toBeCloseTo(1.125, 7);
  const second = strategy.aggregate(first, [makeUpdate("a", 3, [0.1]), makeUpdate("b", 1, [0.3])], context);
  expect(second.arrays["adapter"]?.[0]).toBeCloseTo(1.275, 6);
});

test("tasks start at the global adapter, weigh by the full size and draw at most batch size times steps", () => {
  const strategy = createFedAvg();
  const plan = makeOptions({ localSteps: 3, batchSize: 2, numRounds: 2 }).plan;
  const weights = Float32Array.of(1, 2);
  const cohort = [
    { clientId: "small", numExamples: 4 },
    { clientId: "large", numExamples: 400 },
  ];
  const tasks = strategy.configure(strategy.init(weights), cohort, { round: 2, plan, numClients: 9, layout });
  // Round 2 of 2 is half-way down the cosine from 0.2 to 0.05.
  expect(tasks.map((task) => task.clientLearningRate)).toEqual([0.125, 0.125]);
  expect(tasks).toMatchObject([
    { clientId: "small", numExamples: 4, numSamples: 4, sampleSeed: 1, localSteps: 3, weights },
    { clientId: "large", numExamples: 400, numSamples: 6, sampleSeed: 1, localSteps: 3, weights },
  ]);
});
