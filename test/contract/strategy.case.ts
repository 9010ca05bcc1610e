/**
 * What every strategy keeps to, whatever its method: a suite that takes a name of the registry and options, and runs on
 * the quadratic trainer and real checkpoint files.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FedllmError } from "../../src/errors.js";
import { CheckpointFolder } from "../../src/federated/checkpoint.js";
import type { LocalTrainer } from "../../src/federated/local-trainer.js";
import type { FederationDeps } from "../../src/federated/options.js";
import { POOLED_CLIENT_ID } from "../../src/federated/pooled-client.js";
import type { AdapterSet, FederatedClient } from "../../src/federated/protocol.js";
import type { RoundRecord } from "../../src/federated/records.js";
import { runServer, type FederationStart } from "../../src/federated/server.js";
import type { StrategyOptions } from "../../src/federated/strategies/options.js";
import { createStrategy } from "../../src/federated/strategies/registry.js";
import { deriveSeed } from "../../src/util/random.js";
import {
  makeClient,
  makeClients,
  makeDeps,
  makeOptions,
  MemoryMetrics,
  NUM_PARAMETERS,
  sampleIndices,
  type TestDeps,
} from "../helpers/federation.js";
import { pointSample, QuadraticTrainer } from "../helpers/quadratic-trainer.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const initial = Float32Array.of(0.5, 0.25, -1);
const freshStart: FederationStart = { kind: "weights", weights: initial };

export interface StrategyCase {
  /** In all tests; absent: the defaults. */
  readonly options?: StrategyOptions;
  /** With which a sole client trains as if alone; absent: whatever its options, the method moves the adapter otherwise. */
  readonly equalsLocalWith?: StrategyOptions;
}

export function describeStrategy(name: string, { options = {}, equalsLocalWith }: StrategyCase): void {
  const depsFor = (overrides: Partial<FederationDeps> = {}): TestDeps =>
    makeDeps(name, { strategy: createStrategy(name, options), ...overrides });

  describe(`strategy ${name} ${JSON.stringify(options)}`, () => {
    test("is configured, aggregated and read without changing its arguments", async () => {
      const weights = Float32Array.from(initial);
      await runServer(makeOptions(), depsFor(), { kind: "weights", weights });
      expect(weights).toEqual(initial);
    });

    // Otherwise there is nothing to test, rather than something to skip.
    if (equalsLocalWith !== undefined) {
      test("with one client equals local training", async () => {
        // Named like the pool of all clients, so that dropout takes the same seeds there.
        const clients = [makeClient(POOLED_CLIENT_ID, [pointSample(1, -2, 3), pointSample(0.25, 4, 1)])];
        const deps = depsFor({ clients, strategy: createStrategy(name, equalsLocalWith) });
        const { adapters } = await runServer(makeOptions(), deps, freshStart);
        // Each round adds a difference that was rounded to single precision, so each may be one unit in the last place
        // off: 4 rounds of 2^-23 relative to values below 4.
        expectClose(soleAdapter(adapters), await trainAlone(clients[0]), 4 * 4 * 2 ** -23);
      });
    }

    test("with identical clients ends where one of them ends", async () => {
      const samples = [pointSample(1, -2, 3), pointSample(1, -2, 3)];
      const clients = ["a", "b", "c"].map((id) => makeClient(id, samples));
      // Without dropout, which differs by client; equal steps for pooled data too.
      const settings = makeOptions({ pooledSteps: 3 }, { dropout: 0 });
      const many = await runServer(settings, depsFor({ clients }), freshStart);
      const one = await runServer(settings, depsFor({ clients: clients.slice(0, 1) }), freshStart);
      for (const weights of allAdapters(many.adapters)) expect(weights).toEqual(soleAdapter(one.adapters));
    });

    test("gives the same bits in whatever order and however many at once the clients come back", async () => {
      const reference = await runServer(makeOptions(), depsFor(), freshStart);
      const reports: RoundRecord[][] = [];
      for (const maxConcurrentClients of [1, 2, 6]) {
        const trainer = new QuadraticTrainer(NUM_PARAMETERS, () => Math.random() * 3);
        const deps = depsFor({ trainer });
        const result = await runServer(makeOptions({}, { maxConcurrentClients }), deps, freshStart);
        expect(result).toEqual(reference);
        reports.push(deps.metrics.records);
      }
      expect(reports[1]).toEqual(reports[0]);
      expect(reports[2]).toEqual(reports[0]);
    });

    test("goes on without a client that always fails, as if that one had not been drawn", async () => {
      const clients = makeClients(3);
      const settings = makeOptions({ numRounds: 1, clientsPerRound: 3 });
      const failing = depsFor({ clients, trainer: failingFor(100) });
      const run = runServer(settings, failing, freshStart);
      if (failing.strategy.participants === "pooled") {
        // The pool is one participant: it fails as a whole.
        await expect(run).rejects.toMatchObject({ code: "COHORT_TOO_SMALL" });
        return;
      }
      const others = clients.filter(({ id }) => id !== "client-1");
      const without = await runServer(settings, depsFor({ clients: others }), freshStart);
      expect((await run).adapters).toEqual(without.adapters);
      expect(failing.metrics.records[0]).toMatchObject({ numSucceeded: 2, numFailed: 1 });
    });

    test("interrupted after any round and resumed from the file equals uninterrupted, bit for bit", async () => {
      const uninterrupted = depsFor();
      const expected = await runServer(makeOptions(), uninterrupted, freshStart);
      for (const lastRound of [1, 2, 3, 4]) {
        const folder = join(makeTemporaryFolder(), "checkpoints");
        const metrics = new MemoryMetrics();
        await interruptAfter(lastRound, depsFor(), folder, metrics);
        const checkpoints = openCheckpoints(folder);
        const loaded = await checkpoints.load();
        expect(loaded?.snapshot.round).toBe(lastRound);
        if (loaded === undefined) return;
        const start: FederationStart = { kind: "snapshot", snapshot: loaded.snapshot };
        const resumed = await runServer(makeOptions(), { ...depsFor(), metrics, checkpoints }, start);
        expect(resumed).toEqual(expected);
        expect(metrics.records).toEqual(uninterrupted.metrics.records);
      }
    });
  });
}

const openCheckpoints = (folder: string): CheckpointFolder =>
  new CheckpointFolder(folder, { configFingerprint: "config", layoutFingerprint: "layout" });

/** Runs until the first training step after the checkpoint of that round, with one more recorded round if there is. */
async function interruptAfter(round: number, given: FederationDeps, folder: string, metrics: MemoryMetrics): Promise<void> {
  const files = openCheckpoints(folder);
  const deps: FederationDeps = {
    ...given,
    metrics,
    checkpoints: {
      // A kill between the rows of a round and its checkpoint leaves rows of a round that is run again.
      save: (snapshot) => (snapshot.round > round ? Promise.reject(new Error("killed")) : files.save(snapshot)),
    },
  };
  await runServer(makeOptions(), deps, freshStart).catch((error: unknown) => {
    expect(error).toEqual(new Error("killed"));
  });
  expect(metrics.records.at(-1)?.round).toBe(Math.min(round + 1, 4));
}

/** The four rounds of makeOptions on one client, with nothing federated in between. */
async function trainAlone(client: FederatedClient | undefined): Promise<Float32Array> {
  if (client === undefined) throw new Error("there is a client");
  const trainer = new QuadraticTrainer(NUM_PARAMETERS);
  const { seed, microBatchTokens, optimizer, dropout } = makeOptions();
  let weights: Float32Array = initial;
  for (const roundIndex of [0, 1, 2, 3]) {
    const request = {
      weights,
      samples: await client.readSamples(sampleIndices(roundIndex, client.numSamples, client.numSamples)),
      localSteps: 3,
      batchSize: 2,
      clientLearningRate: 0.05 + 0.5 * 0.15 * (1 + Math.cos((Math.PI * roundIndex) / 4)),
      seed: deriveSeed(seed, "dropout", roundIndex + 1, client.id),
    };
    weights = (await trainer.train({ ...request, microBatchTokens, optimizer, dropout })).weights;
  }
  return weights;
}

function failingFor(firstToken: number): LocalTrainer {
  const inner = new QuadraticTrainer(NUM_PARAMETERS);
  return {
    layout: inner.layout,
    initialWeights: (seed) => inner.initialWeights(seed),
    evaluate: (request) => inner.evaluate(request),
    train: (request, signal) =>
      request.samples.some(({ tokens }) => tokens[0] === firstToken)
        ? Promise.reject(new FedllmError("TRAIN_FAILED", "broken client"))
        : inner.train(request, signal),
  };
}

function allAdapters(adapters: AdapterSet): readonly Float32Array[] {
  return adapters.kind === "global" ? [adapters.weights] : [...adapters.weights.values()];
}

function soleAdapter(adapters: AdapterSet): Float32Array {
  const [weights, ...others] = allAdapters(adapters);
  if (weights === undefined || others.length > 0) throw new Error("there is one adapter");
  return weights;
}

function expectClose(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  for (const [i, value] of actual.entries()) {
    expect(Math.abs(value - (expected[i] ?? Number.NaN))).toBeLessThanOrEqual(tolerance);
  }
}
