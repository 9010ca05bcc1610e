/** Clients that are not chosen cost nothing, and the memory of a round does not grow with its cohort. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeClient, makeDeps, makeOptions } from "../../../src/contract/federation.js";
import { pointSample, QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";
import { CheckpointFolder } from "../../../src/federated/checkpoint.js";
import type { FederatedClient } from "../../../src/federated/protocol.js";
import { runServer } from "../../../src/federated/server.js";
import { createStrategy } from "../../../src/federated/strategies/registry.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

test("of 10,000 clients only the chosen ones are asked for samples, and for those that are drawn", async () => {
  const asked: string[] = [];
  const clients = Array.from({ length: 10_000 }, (_, index): FederatedClient => {
    const client = makeClient(`client-${String(index)}`, [pointSample(1, 2, 3)]);
    return {
      ...client,
      readSamples: (indices) => {
        asked.push(client.id);
        return client.readSamples(indices);
      },
    };
  });
  const deps = makeDeps("scaffold", { clients });
  const { state } = await runServer(makeOptions({ numRounds: 3, clientsPerRound: 2 }), deps, {
    kind: "weights",
    weights: new Float32Array(3),
  });
  const chosen = deps.metrics.records.flatMap((record) => record.clients.map(({ clientId }) => clientId));
  expect(chosen).toHaveLength(6);
  expect(asked.sort()).toEqual(chosen.sort());
  expect(state.clients.size).toBe(new Set(chosen).size);
});

test("updates are taken into the mean as they come and not kept: at most twice as many wait as train at once", async () => {
  const clients = Array.from({ length: 40 }, (_, index) => makeClient(`client-${String(index)}`, [pointSample(index, 0, 1)]));
  const fedAvg = createStrategy("fedavg");
  const start = fedAvg.aggregate.start;
  if (start === undefined) throw new Error("FedAvg takes updates one by one");
  let [numTrained, numTaken, mostWaiting] = [0, 0, 0];
  const aggregate = Object.assign(() => { throw new Error("not all at once"); }, {
    start: (...args: Parameters<typeof start>) => {
      const inner = start(...args);
      return {
        ...inner,
        add: (update: Parameters<typeof inner.add>[0]) => {
          mostWaiting = Math.max(mostWaiting, numTrained - numTaken);
          numTaken += 1;
          inner.add(update);
        },
      };
    },
  });
  // The first client of all in the order of ids is by far the slowest.
  const trainer = new QuadraticTrainer(3, () => (numTrained === 0 ? 30 : 0));
  const deps = makeDeps({ ...fedAvg, aggregate }, {
    clients,
    trainer,
    onEvent: ({ type }) => {
      if (type === "clientFinished") numTrained += 1;
    },
  });
  await runServer(makeOptions({ numRounds: 1, clientsPerRound: 40 }, { maxConcurrentClients: 3 }), deps, {
    kind: "weights",
    weights: new Float32Array(3),
  });
  expect(numTaken).toBe(40);
  expect(mostWaiting).toBeGreaterThan(0);
  expect(mostWaiting).toBeLessThanOrEqual(2 * 3);
});

test("a client's next state is in its file as soon as it answered, and a checkpoint of a later round removes what it does not name", async () => {
  const clients = Array.from({ length: 5 }, (_, index) => makeClient(`client-${String(index)}`, [pointSample(index, 0, 1)]));
  const folder = makeTemporaryFolder();
  const checkpoints = new CheckpointFolder(folder, { configFingerprint: "config", layoutFingerprint: "layout" });
  const numFiles = () => readdirSync(join(folder, "clients")).length;
  const seen: number[] = [];
  const deps = makeDeps("scaffold", {
    clients,
    checkpoints,
    onEvent: ({ type }) => {
      if (type === "clientFinished") seen.push(numFiles());
    },
  });
  const settings = makeOptions({ numRounds: 3, clientsPerRound: 5 }, { maxConcurrentClients: 1, checkpointEvery: 3 });
  const { state, adapters } = await runServer(settings, deps, { kind: "weights", weights: new Float32Array(3) });
  // One more with each answer of the three rounds; the checkpoint of the last round keeps one per client.
  expect(seen).toEqual(Array.from({ length: 15 }, (_, index) => index + 1));
  expect(numFiles()).toBe(5);
  const inMemory = await runServer(settings, makeDeps("scaffold", { clients }), { kind: "weights", weights: new Float32Array(3) });
  expect(adapters).toEqual(inMemory.adapters);
  expect(state.clients).toEqual(inMemory.state.clients);
  // Read from the file each time, so nothing holds the vectors.
  const first = state.clients.get("client-0");
  expect(first?.arrays["controlVariate"]).not.toBe(first?.arrays["controlVariate"]);
});
