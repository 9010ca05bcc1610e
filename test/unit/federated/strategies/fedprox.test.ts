import { expect, test } from "vitest";
import { runServer, type FederationStart } from "../../../../src/federated/server.js";
import { createStrategy } from "../../../../src/federated/strategies/registry.js";
import { makeClient, makeDeps, makeOptions } from "../../../../src/contract/federation.js";
import { QuadraticTrainer, pointSample } from "../../../../src/contract/quadratic-trainer.js";

const { layout } = new QuadraticTrainer(3);

const start: FederationStart = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) };

test("with mu 0 every round, row and byte equals FedAvg's", async () => {
  const fedAvg = makeDeps("fedavg");
  const fedProx = makeDeps("fedprox", { strategy: createStrategy("fedprox", { proximalMu: 0 }) });
  const expected = await runServer(makeOptions(), fedAvg, start);
  expect(await runServer(makeOptions(), fedProx, start)).toEqual(expected);
  expect(fedProx.metrics.records).toEqual(fedAvg.metrics.records);
});

test("every client is held to the global adapter it starts from, and no more bytes are sent than with FedAvg", async () => {
  const strategy = createStrategy("fedprox", { proximalMu: 0.25 });
  const weights = Float32Array.of(1, 2, 3);
  const members = ["a", "b"].map((clientId) => ({ clientId, numExamples: 1 }));
  const tasks = strategy.configure(strategy.init(weights), members, { round: 1, plan: makeOptions().plan, numClients: 2, layout });
  expect(tasks.map(({ proximal }) => proximal)).toEqual([
    { mu: 0.25, anchor: weights },
    { mu: 0.25, anchor: weights },
  ]);
  const deps = makeDeps("fedprox");
  await runServer(makeOptions(), deps, start);
  // Three clients, three weights of four bytes.
  expect(deps.metrics.records[0]).toMatchObject({ uploadBytes: 36, downloadBytes: 36 });
});

test("the proximal gradient acts, which in FedBiOT's code has no effect: training ends between anchor and optimum", async () => {
  // |v - p|^2 / 2 + (mu / 2) |v - w|^2 is least at (p + mu w) / (1 + mu): halfway for mu 1.
  const clients = [makeClient("sole", [pointSample(3, -1, 0)])];
  const deps = makeDeps("fedprox", { clients, strategy: createStrategy("fedprox", { proximalMu: 1 }) });
  const options = makeOptions({ numRounds: 1, localSteps: 200, initialLearningRate: 0.2 }, { dropout: 0 });
  const { adapters } = await runServer(options, deps, { kind: "weights", weights: Float32Array.of(1, 1, 1) });
  if (adapters.kind !== "global") throw new Error("FedProx has one adapter");
  const expected = [2, 0, 0.5];
  // 0.6^200 of the way is left, which is nothing: single precision at 2, where the iteration may stop 2 units short.
  for (const [i, value] of adapters.weights.entries()) expect(Math.abs(value - (expected[i] ?? 0))).toBeLessThan(1e-6);
});
