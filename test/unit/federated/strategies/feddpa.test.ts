/** FedDPA: the federation is FedAvg's, and each client's local adapter is trained with the global one frozen beside it. */
import { expect, test } from "vitest";
import { makeClient, makeDeps, makeOptions, pointSample } from "../../../../src/contract/index.js";
import { runServer, type FederationStart } from "../../../../src/federated/server.js";
import { createStrategy } from "../../../../src/federated/strategies/registry.js";
import { RecordingTrainer } from "../../../helpers/recording-trainer.js";

const start: FederationStart = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) };
const clients = ["a", "b"].map((id, k) => makeClient(id, [pointSample(4 * k, 2, -k)]));

test("the server's state, what is sent and the global adapter are FedAvg's, bit for bit", async () => {
  const [feddpa, fedAvg] = [makeDeps("feddpa", { clients }), makeDeps("fedavg", { clients })];
  const dual = await runServer(makeOptions(), feddpa, start);
  const common = await runServer(makeOptions(), fedAvg, start);
  expect(dual.state.server).toEqual(common.state.server);
  if (dual.adapters.kind !== "perClient") throw new Error("FedDPA has an adapter per client");
  expect(dual.adapters.shared).toEqual(common.adapters);
  const bytesOf = (deps: typeof feddpa) => deps.metrics.records.map(({ uploadBytes, downloadBytes }) => [uploadBytes, downloadBytes]);
  expect(bytesOf(feddpa)).toEqual(bytesOf(fedAvg));
});

test("a local adapter starts without a product, goes on from where it was, and has the weighted global one beside it", async () => {
  const trainer = new RecordingTrainer(3);
  const { requests } = trainer;
  const strategy = createStrategy("feddpa", { globalWeight: 0.25 });
  const { adapters, state } = await runServer(makeOptions({ numRounds: 2 }), makeDeps(strategy, { clients: clients.slice(1), trainer }), start);
  const [first, firstLocal, second, secondLocal] = requests;
  // The last number of the quadratic trainer's pair is B.
  expect(firstLocal?.weights).toEqual(Float32Array.of(0.5, 0.25, 0));
  const { rank, loraAlpha } = trainer.layout;
  expect(firstLocal?.frozenAdapters).toMatchObject([{ rank, loraAlpha: 0.25 * loraAlpha, weights: first?.weights }]);
  expect(first).not.toHaveProperty("frozenAdapters");
  expect(secondLocal?.frozenAdapters).toMatchObject([{ weights: second?.weights }]);
  expect(secondLocal?.weights).not.toEqual(firstLocal?.weights);
  expect(secondLocal?.samples).toEqual(second?.samples);
  if (adapters.kind !== "perClient") throw new Error("FedDPA has an adapter per client");
  expect(adapters.weights.get("b")).toEqual(state.clients.get("b")?.arrays["adapter"]);
  expect(adapters.frozen).toMatchObject([{ loraAlpha: 0.25 * loraAlpha, weights: state.server.arrays["adapter"] }]);
});
