/** Fine-tuning after federation: who is drawn, from which adapter, with which settings, and where it ends. */
import { expect, test } from "vitest";
import { makeClient, makeClients, makeDeps, makeOptions, pointSample } from "../../../src/contract/index.js";
import { fineTuneClient, fineTunedClients } from "../../../src/federated/fine-tuning.js";
import { adapterOf, type AdapterSet } from "../../../src/federated/protocol.js";
import { deriveSeed } from "../../../src/util/random.js";
import { RecordingTrainer } from "../../helpers/recording-trainer.js";

const weights = Float32Array.of(1, 2, 3);
const forAll: AdapterSet = { kind: "global", weights };

test("all clients with an adapter are fine-tuned, or as many as are asked for, by the draw of the round after the last", () => {
  const deps = makeDeps("fedavg", { clients: makeClients(6) });
  const idsOf = (adapters: AdapterSet, numClients?: number) =>
    fineTunedClients(makeOptions(), deps, adapters, { localSteps: 1, learningRate: 1, ...(numClients === undefined ? {} : { numClients }) }).map(({ id }) => id);
  expect(idsOf(forAll)).toHaveLength(6);
  expect(idsOf(forAll, 9)).toHaveLength(6);
  const drawn = [...deps.sampleIndices(4, 6, 2)].sort();
  expect(idsOf(forAll, 2)).toEqual(drawn.map((index) => `client-${String(index)}`));
  const own: AdapterSet = { kind: "perClient", weights: new Map([["client-3", weights], ["client-1", weights]]) };
  expect(idsOf(own)).toEqual(["client-1", "client-3"]);
});

test("a client's adapter is the global one, its group's or its own", () => {
  const groupOf = new Map([["a", "x"], ["b", "y"]]);
  expect(adapterOf(forAll, "a")).toBe(weights);
  expect(adapterOf({ kind: "perGroup", weights: new Map([["y", weights]]), groupOf }, "b")).toBe(weights);
  expect(adapterOf({ kind: "perGroup", weights: new Map([["y", weights]]), groupOf }, "a")).toBeUndefined();
  expect(adapterOf({ kind: "perClient", weights: new Map([["a", weights]]), shared: forAll }, "b")).toBeUndefined();
});

test("training goes from the adapter towards the client's own data, with seeds of its own", async () => {
  const trainer = new RecordingTrainer(3);
  const { requests } = trainer;
  const client = makeClient("a", [pointSample(5, 5, 5)]);
  const deps = makeDeps("fedavg", { clients: [client], trainer });
  const outcome = await fineTuneClient(client, { start: weights }, makeOptions({}, { dropout: 0 }), deps, { localSteps: 60, learningRate: 0.5 });
  if (outcome.kind === "failure") throw new Error(outcome.failure.message);
  // Half of the way is left after each of 60 steps, which is below the unit in the last place of single precision.
  expect([...outcome.trainedWeights]).toEqual([5, 5, 5]);
  const [request] = requests;
  expect(request?.weights).toBe(weights);
  // Round 5 of 4, so that dropout repeats no round's.
  expect(request?.seed).toBe(deriveSeed(7, "dropout", 5, "a"));
  expect(request).not.toHaveProperty("proximal");
  expect(request).not.toHaveProperty("frozenAdapters");
  const frozen = [{ rank: 1, loraAlpha: 1, targetModules: [], weights }];
  await fineTuneClient(client, { start: weights, frozen }, makeOptions(), deps, { localSteps: 1, learningRate: 0.5 });
  expect(requests[1]?.frozenAdapters).toBe(frozen);
});

test("a client that fails gives a failure and no error", async () => {
  const client = { ...makeClient("a", [pointSample(1, 1, 1)]), readSamples: () => Promise.reject(new Error("switched off")) };
  const outcome = await fineTuneClient(client, { start: weights }, makeOptions(), makeDeps("fedavg", { clients: [client] }), { localSteps: 1, learningRate: 1 });
  expect(outcome).toMatchObject({ kind: "failure", failure: { clientId: "a", message: "switched off" } });
});
