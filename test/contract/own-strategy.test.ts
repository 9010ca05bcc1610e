/** The example of a strategy of one's own keeps the contract too: this is what a user's own test looks like. */
import { createOwnStrategy } from "fedllm-native";
import { QuadraticTrainer, strategyContract } from "fedllm-native/contract";
import { describe, expect, test } from "vitest";
import median from "../../experiments/own-strategy/median.js";
import { makeUpdate } from "../helpers/client-update.js";

describe("the example strategy", () => {
  const suite = strategyContract({
    create: () => createOwnStrategy(median),
    exceptions: {
      "the first round takes the mean of the clients' weights, each counting by its data": "it takes the median",
    },
  });
  for (const { title, run } of suite) test(title, run);

  test("takes the middle of the changes, times its rate", () => {
    const strategy = createOwnStrategy(median, { rate: 0.5 });
    const updates = [[1, 9], [5, 7], [30, 8]].map((change, index) => makeUpdate(String(index), 1, change));
    const context = {
      round: 1,
      plan: { numRounds: 1, clientsPerRound: 3, localSteps: 1, batchSize: 1, initialLearningRate: 1, finalLearningRate: 1 },
      numClients: 3,
      layout: new QuadraticTrainer(3).layout,
    };
    const state = strategy.aggregate(strategy.init(Float32Array.of(100, 200)), updates, context);
    expect(state.arrays["adapter"]).toEqual(Float32Array.of(102.5, 204));
  });
});
