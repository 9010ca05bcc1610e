/** The half of the contract that says what a strategy's result must equal when the federation is a simple one. */
import assert from "node:assert/strict";
import { sequencesOf } from "../federated/local-trainer.js";
import { POOLED_CLIENT_ID } from "../federated/pooled-client.js";
import type { AdapterSet, FederatedClient } from "../federated/protocol.js";
import { runServer } from "../federated/server.js";
import type { Strategy } from "../federated/strategy.js";
import { deriveSeed } from "../util/random.js";
import { freshStart, initialWeights, makeClient, makeClients, makeDeps, makeOptions, NUM_PARAMETERS, sampleIndices } from "./federation.js";
import { pointSample, QuadraticTrainer } from "./quadratic-trainer.js";
import type { ContractTest } from "./suite.js";

/** The four rounds that makeOptions has by default. */
const ROUND_INDICES = [0, 1, 2, 3];

/** Tests against results that are computed with nothing federated. */
export function equivalenceTests(create: () => Strategy): readonly ContractTest[] {
  return [
    { title: "one client alone equals local training", run: () => checkSoleClient(create) },
    { title: "identical clients end where one of them ends", run: () => checkIdenticalClients(create) },
    { title: "the first round takes the mean of the clients' weights, each counting by its data", run: () => checkFirstRound(create) },
  ];
}

async function checkSoleClient(create: () => Strategy): Promise<void> {
  // Named like the pool of all clients, so that dropout takes the same seeds there.
  const client = makeClient(POOLED_CLIENT_ID, [pointSample(1, -2, 3), pointSample(0.25, 4, 1)]);
  const { adapters } = await runServer(makeOptions(), makeDeps(create(), { clients: [client] }), freshStart());
  const expected = await trainAlone(client, initialWeights(), ROUND_INDICES);
  // Each round adds a difference that was rounded to single precision, so each may be one unit in the last place off:
  // 4 rounds of 2^-23 relative to values below 4.
  assertClose(soleAdapter(adapters), expected, 4 * 4 * 2 ** -23);
}

async function checkIdenticalClients(create: () => Strategy): Promise<void> {
  const samples = [pointSample(1, -2, 3), pointSample(1, -2, 3)];
  const clients = ["a", "b", "c"].map((id) => makeClient(id, samples));
  // Without dropout, which differs by client; equal steps for pooled data too.
  const settings = makeOptions({ pooledSteps: 3 }, { dropout: 0 });
  const many = await runServer(settings, makeDeps(create(), { clients }), freshStart());
  const one = await runServer(settings, makeDeps(create(), { clients: clients.slice(0, 1) }), freshStart());
  const expected = soleAdapter(one.adapters);
  for (const weights of allAdapters(many.adapters)) assert.deepEqual(weights, expected);
}

/** sum n_k w_k / sum n_k with the sizes of makeClients, written down a second time. */
async function checkFirstRound(create: () => Strategy): Promise<void> {
  const clients = makeClients(4);
  const settings = makeOptions({ numRounds: 1, clientsPerRound: 4 });
  const { adapters } = await runServer(settings, makeDeps(create(), { clients }), freshStart());
  const sums = new Float64Array(NUM_PARAMETERS);
  let numSamples = 0;
  for (const client of clients) {
    const trained = await trainAlone(client, initialWeights(), [0], 1);
    numSamples += client.numSamples;
    for (const [i, value] of trained.entries()) sums[i] = (sums[i] ?? 0) + client.numSamples * value;
  }
  // One unit in the last place of single precision for the differences and one for the sum, below 4.
  assertClose(soleAdapter(adapters), Float32Array.from(sums, (sum) => sum / numSamples), 2 * 4 * 2 ** -23);
}

/** The rounds of makeOptions on one client, with nothing federated in between; the learning rate falls over `numRounds`. */
async function trainAlone(
  client: FederatedClient,
  start: Float32Array,
  roundIndices: readonly number[],
  numRounds = ROUND_INDICES.length,
): Promise<Float32Array> {
  const trainer = new QuadraticTrainer(NUM_PARAMETERS);
  const { seed, microBatchTokens, optimizer, dropout } = makeOptions();
  let weights = start;
  for (const roundIndex of roundIndices) {
    const request = {
      weights,
      samples: sequencesOf(await client.readSamples(sampleIndices(roundIndex, client.numSamples, client.numSamples))),
      localSteps: 3,
      batchSize: 2,
      clientLearningRate: 0.05 + 0.5 * 0.15 * (1 + Math.cos((Math.PI * roundIndex) / numRounds)),
      seed: deriveSeed(seed, "dropout", roundIndex + 1, client.id),
    };
    weights = (await trainer.train({ ...request, microBatchTokens, optimizer, dropout })).weights;
  }
  return weights;
}

function allAdapters(adapters: AdapterSet): readonly Float32Array[] {
  return adapters.kind === "global" ? [adapters.weights] : [...adapters.weights.values()];
}

function soleAdapter(adapters: AdapterSet): Float32Array {
  const [weights, ...others] = allAdapters(adapters);
  assert.ok(weights !== undefined && others.length === 0, `there is one adapter, not ${String(others.length + 1)}`);
  return weights;
}

function assertClose(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  assert.equal(actual.length, expected.length);
  for (const [i, value] of actual.entries()) {
    const distance = Math.abs(value - (expected[i] ?? Number.NaN));
    assert.ok(distance <= tolerance, `weight ${String(i)}: expected ${String(expected[i])}, received ${String(value)}`);
  }
}
