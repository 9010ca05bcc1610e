/** Ditto: the federation is FedAvg's, and each client's own adapter lies where the paper's objective puts it. */
import { expect, test } from "vitest";
import { makeClient, makeDeps, makeOptions } from "../../../../src/contract/federation.js";
import { pointSample, QuadraticTrainer } from "../../../../src/contract/quadratic-trainer.js";
import { runServer, type FederationStart } from "../../../../src/federated/server.js";
import { createStrategy } from "../../../../src/federated/strategies/registry.js";
import type { TrainRequest } from "../../../../src/federated/local-trainer.js";
import { RecordingTrainer } from "../../../helpers/recording-trainer.js";

const start: FederationStart = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) };
const clients = ["a", "b"].map((id, k) => makeClient(id, [pointSample(4 * k, 2, -k)]));

test("the server's state and what is sent are FedAvg's, bit for bit", async () => {
  const [ditto, fedAvg] = [makeDeps("ditto", { clients }), makeDeps("fedavg", { clients })];
  const personal = await runServer(makeOptions(), ditto, start);
  const common = await runServer(makeOptions(), fedAvg, start);
  expect(personal.state.server).toEqual(common.state.server);
  const bytesOf = (deps: typeof ditto) => deps.metrics.records.map(({ uploadBytes, downloadBytes }) => [uploadBytes, downloadBytes]);
  expect(bytesOf(ditto)).toEqual(bytesOf(fedAvg));
  const tokensOf = (deps: typeof ditto) => deps.metrics.records.flatMap((record) => record.clients.map(({ numTokens }) => numTokens ?? 0));
  expect(tokensOf(ditto)).toEqual(tokensOf(fedAvg).map((numTokens) => 2 * numTokens));
});

test("a personal adapter ends at the least of |v - p|^2 / 2 + (lambda / 2) |v - w|^2, between its data and the global one", async () => {
  const strategy = createStrategy("ditto", { proximalMu: 1 });
  const deps = makeDeps(strategy, { clients });
  const options = makeOptions({ numRounds: 1, localSteps: 200, clientsPerRound: 2 }, { dropout: 0 });
  const { adapters } = await runServer(options, deps, { kind: "weights", weights: Float32Array.of(1, 1, 1) });
  if (adapters.kind !== "perClient") throw new Error("Ditto has an adapter per client");
  const weights = adapters.weights.get("b") ?? new Float32Array();
  // Halfway between p = (4, 2, -1) and w = (1, 1, 1); 0.6^200 of the way is left, which is nothing. Single precision at 4.
  for (const [i, expected] of [2.5, 1.5, 0].entries()) expect(Math.abs((weights[i] ?? Number.NaN) - expected)).toBeLessThan(4 * 2 ** -22);
});

test("a personal adapter goes on from where it was and is held to the newest global one", async () => {
  const trainer = new RecordingTrainer(3);
  const { requests } = trainer;
  const deps = makeDeps("ditto", { clients: clients.slice(1), trainer });
  const { state } = await runServer(makeOptions({ numRounds: 2 }), deps, start);
  const [first, firstPersonal, second, secondPersonal] = requests;
  expect(firstPersonal?.weights).toEqual(first?.weights);
  expect(firstPersonal?.proximal).toEqual({ mu: 0.1, anchor: first?.weights });
  expect(secondPersonal?.proximal?.anchor).toEqual(second?.weights);
  expect(secondPersonal?.weights).not.toEqual(second?.weights);
  expect(secondPersonal?.samples).toEqual(second?.samples);
  expect(state.clients.get("b")?.arrays["adapter"]).not.toEqual(secondPersonal?.weights);
});

test("a personal adapter that diverges is the client's failure", async () => {
  const inner = new QuadraticTrainer(3);
  let numTrained = 0;
  const trainer = {
    layout: inner.layout,
    initialWeights: (seed: number) => inner.initialWeights(seed),
    evaluate: inner.evaluate.bind(inner),
    train: async (request: TrainRequest) => {
      const result = await inner.train(request);
      numTrained += 1;
      return numTrained === 2 ? { ...result, weights: Float32Array.of(0, Number.NaN, 0) } : result;
    },
  };
  const deps = makeDeps("ditto", { clients, trainer });
  await runServer(makeOptions({ numRounds: 1, clientsPerRound: 2 }, { maxConcurrentClients: 1 }), deps, start);
  expect(deps.metrics.records[0]?.clients[0]).toMatchObject({ clientId: "a", failureCode: "TRAIN_DIVERGED" });
});
