/** The half of the contract that says what must not matter: order, timing, failures, interruption, a second use. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FedllmError } from "../errors.js";
import { CheckpointFolder } from "../federated/checkpoint.js";
import type { LocalTrainer } from "../federated/local-trainer.js";
import type { FederationDeps } from "../federated/options.js";
import type { RoundRecord } from "../federated/records.js";
import { runServer, type FederationStart } from "../federated/server.js";
import type { Strategy } from "../federated/strategy.js";
import { freshStart, initialWeights, makeClients, makeDeps, makeOptions, MemoryMetrics, NUM_PARAMETERS } from "./federation.js";
import { QuadraticTrainer } from "./quadratic-trainer.js";
import type { ContractTest } from "./suite.js";


/** Tests in which a disturbed federation must end like an undisturbed one. */
export function robustnessTests(create: () => Strategy): readonly ContractTest[] {
  return [
    { title: "arguments are never changed", run: () => checkArguments(create) },
    { title: "nothing is kept between calls: a second run with the same object equals the first", run: () => checkSecondRun(create) },
    { title: "the order in which clients come back and their number at once change no bit", run: () => checkOrder(create) },
    { title: "updates taken one by one or all at once give the same bits", run: () => checkOneByOne(create) },
    { title: "a client that always fails counts as one that was not drawn", run: () => checkFailure(create) },
    { title: "interrupted after any round and resumed equals uninterrupted bit for bit", run: () => checkResume(create) },
  ];
}

async function checkArguments(create: () => Strategy): Promise<void> {
  const weights = initialWeights();
  await runServer(makeOptions(), makeDeps(create()), { kind: "weights", weights });
  assert.deepEqual(weights, initialWeights());
}

async function checkSecondRun(create: () => Strategy): Promise<void> {
  const strategy = create();
  const [first, second] = [makeDeps(strategy), makeDeps(strategy)];
  const expected = await runServer(makeOptions(), first, freshStart());
  assert.deepEqual(await runServer(makeOptions(), second, freshStart()), expected);
  assert.deepEqual(second.metrics.records, first.metrics.records);
}

async function checkOrder(create: () => Strategy): Promise<void> {
  const reference = makeDeps(create());
  const expected = await runServer(makeOptions(), reference, freshStart());
  for (const maxConcurrentClients of [1, 2, 6]) {
    const trainer = new QuadraticTrainer(NUM_PARAMETERS, () => Math.random() * 3);
    const deps = makeDeps(create(), { trainer });
    assert.deepEqual(await runServer(makeOptions({}, { maxConcurrentClients }), deps, freshStart()), expected);
    assert.deepEqual(deps.metrics.records, reference.metrics.records);
  }
}

async function checkOneByOne(create: () => Strategy): Promise<void> {
  const strategy = create();
  const whole: Strategy = {
    ...strategy,
    aggregate: (state, updates, context) => strategy.aggregate(state, [...updates].reverse(), context),
  };
  const expected = await runServer(makeOptions(), makeDeps(whole), freshStart());
  assert.deepEqual(await runServer(makeOptions(), makeDeps(strategy), freshStart()), expected);
}

async function checkFailure(create: () => Strategy): Promise<void> {
  const clients = makeClients(3);
  const settings = makeOptions({ numRounds: 1, clientsPerRound: 3 });
  const failing = makeDeps(create(), { clients, trainer: failingFor(100) });
  const { adapters } = await runServer(settings, failing, freshStart());
  const others = clients.filter(({ id }) => id !== "client-1");
  const without = await runServer(settings, makeDeps(create(), { clients: others }), freshStart());
  assert.deepEqual(adapters, without.adapters);
  const [{ numSucceeded, numFailed } = { numSucceeded: 0, numFailed: 0 }] = failing.metrics.records;
  assert.deepEqual([numSucceeded, numFailed], [2, 1]);
}

/** A trainer that refuses the client whose samples begin with this token. */
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

async function checkResume(create: () => Strategy): Promise<void> {
  const uninterrupted = makeDeps(create());
  const expected = await runServer(makeOptions(), uninterrupted, freshStart());
  for (const lastRound of [1, 2, 3, 4]) {
    const folder = await mkdtemp(join(tmpdir(), "fedllm-native-contract-"));
    try {
      const { result, records } = await interruptAndResume(create, lastRound, folder);
      assert.deepEqual(result.adapters, expected.adapters);
      assert.deepEqual(records, uninterrupted.metrics.records);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

async function interruptAndResume(create: () => Strategy, lastRound: number, folder: string) {
  const metrics = new MemoryMetrics();
  await interruptAfter(lastRound, makeDeps(create()), folder, metrics);
  const checkpoints = openCheckpoints(folder);
  const loaded = await checkpoints.load();
  assert.equal(loaded?.snapshot.round, lastRound);
  const start: FederationStart = { kind: "snapshot", snapshot: loaded.snapshot };
  const result = await runServer(makeOptions(), { ...makeDeps(create()), metrics, checkpoints }, start);
  const records: readonly RoundRecord[] = metrics.records;
  return { result, records };
}

const openCheckpoints = (folder: string): CheckpointFolder =>
  new CheckpointFolder(join(folder, "checkpoints"), { configFingerprint: "config", layoutFingerprint: "layout" });

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
  await runServer(makeOptions(), deps, freshStart()).catch((error: unknown) => {
    assert.deepEqual(error, new Error("killed"));
  });
  assert.equal(metrics.records.at(-1)?.round, Math.min(round + 1, 4));
}
