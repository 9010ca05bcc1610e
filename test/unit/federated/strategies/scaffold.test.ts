/** Goal: SCAFFOLD's both halves and its state on both sides, beside the reference's numbers and a plain reckoning. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PythonRandom } from "../../../../src/data/python-random.js";
import { CheckpointFolder } from "../../../../src/federated/checkpoint.js";
import type { LocalTrainer } from "../../../../src/federated/local-trainer.js";
import type { ClientUpdate, FederationState, NamedState, TrainTask } from "../../../../src/federated/protocol.js";
import type { Snapshot } from "../../../../src/federated/records.js";
import { runServer, type FederationStart } from "../../../../src/federated/server.js";
import { createScaffold, nextVariate } from "../../../../src/federated/strategies/scaffold.js";
import type { ClientSide, Strategy } from "../../../../src/federated/strategy.js";
import { makeUpdate } from "../../../helpers/client-update.js";
import { makeDeps, makeOptions, NUM_PARAMETERS, sampleIndices } from "../../../../src/contract/federation.js";
import { QuadraticTrainer } from "../../../../src/contract/quadratic-trainer.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const { layout } = new QuadraticTrainer(3);

const start: FederationStart = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) };
const scaffold = createScaffold();
const clientSide = clientSideOf(scaffold);

const variateState = (...values: number[]): NamedState => ({
  arrays: { controlVariate: Float32Array.from(values) },
  numbers: {},
});

/** State of a server whose adapter is 1 and whose variate is 0.5, before the round of the noted scalars. */
const serverState: NamedState = {
  arrays: { adapter: Float32Array.of(1), controlVariate: Float32Array.of(0.5) },
  numbers: {},
};

test("the noted scalars in double precision: correction 0.3, c_i' 49.7", () => {
  expect(nextVariate(1, 0.99, 10 * 2e-5, 0.5 - 0.2)).toBeCloseTo(49.7, 9);
});

test("the noted scalars through both halves: c_i 0.2 becomes 49.7, c 0.5 becomes 1.8026 among 38 clients", () => {
  const plan = makeOptions({ localSteps: 10, initialLearningRate: 2e-5 }).plan;
  const context = { round: 1, plan, numClients: 38, layout };
  const [task] = scaffold.configure(serverState, [{ clientId: "a", numExamples: 1 }], context);
  if (task === undefined) throw new Error("there is a task");
  const own = variateState(0.2);
  const begun = clientSide.begin(task, own, layout);
  expect(begun.gradientOffset?.[0]).toBeCloseTo(0.3, 7);
  const outcome = { startWeights: task.weights, trainedWeights: Float32Array.of(0.99), numSteps: 10, layout };
  const { controlVariateUpdate, nextState } = clientSide.finish(begun, outcome, own);
  // In single precision 0.99 is off by up to 3e-8, and that is divided by K lr = 2e-4: 1.5e-4; a 38th of it at the server.
  expect(Math.abs((nextState?.arrays["controlVariate"]?.[0] ?? 0) - 49.7)).toBeLessThan(1.6e-4);
  expect(Math.abs((controlVariateUpdate?.[0] ?? 0) - 49.5)).toBeLessThan(1.6e-4);
  if (controlVariateUpdate === undefined) return;
  const update: ClientUpdate = { ...makeUpdate("a", 1, [-0.01]), controlVariateUpdate };
  const { arrays } = scaffold.aggregate(serverState, [update], context);
  expect(Math.abs((arrays["controlVariate"]?.[0] ?? 0) - 1.8026315789)).toBeLessThan(5e-6);
  expect(arrays["adapter"]?.[0]).toBeCloseTo(0.99, 7);
});

test("the first round equals FedAvg's bit for bit, later ones do not", async () => {
  const scaffoldDeps = makeDeps("scaffold");
  const fedAvgDeps = makeDeps("fedavg");
  await runServer(makeOptions(), scaffoldDeps, start);
  await runServer(makeOptions(), fedAvgDeps, start);
  const adapterOf = ({ snapshots }: typeof fedAvgDeps, index: number): Float32Array | undefined =>
    snapshots[index]?.state.server.arrays["adapter"];
  expect(adapterOf(scaffoldDeps, 0)).toEqual(adapterOf(fedAvgDeps, 0));
  expect(adapterOf(scaffoldDeps, 1)).not.toEqual(adapterOf(fedAvgDeps, 1));
});

test("a vector more is counted in each direction, and only clients that took part have a variate", async () => {
  const deps = makeDeps("scaffold");
  await runServer(makeOptions(), deps, start);
  const [first] = deps.metrics.records;
  // Three clients, two vectors of three weights of four bytes.
  expect(first).toMatchObject({ uploadBytes: 3 * 2 * 12, downloadBytes: 3 * 2 * 12 });
  const owners = [...(deps.snapshots[0]?.state.clients.keys() ?? [])];
  expect(owners).toEqual(first?.clients.map(({ clientId }) => clientId));
});

test("the server's variate stays the mean of all clients' own, also of those that were never drawn", async () => {
  const deps = makeDeps("scaffold");
  await runServer(makeOptions({ numRounds: 6 }), deps, start);
  expect(deps.snapshots).toHaveLength(6);
  for (const { state } of deps.snapshots) {
    for (const [i, value] of (state.server.arrays["controlVariate"] ?? []).entries()) {
      const own = [...state.clients.values()].map(({ arrays }) => arrays["controlVariate"]?.[i] ?? 0);
      const mean = own.reduce((sum, variate) => sum + variate, 0) / deps.clients.length;
      // Variates are below 8; each of 6 rounds rounds c and every change once to 24 bits.
      expect(Math.abs(value - mean)).toBeLessThan(6 * 2 * 8 * 2 ** -24);
    }
  }
});

test("a client whose training fails, or whose answer is refused, keeps the variate it had", async () => {
  const broken = new Set<string>();
  const inner = new QuadraticTrainer(NUM_PARAMETERS);
  const trainer: LocalTrainer = {
    layout: inner.layout,
    initialWeights: (seed) => inner.initialWeights(seed),
    evaluate: (request) => inner.evaluate(request),
    train: async (request) => {
      const result = await inner.train(request);
      const coordinate = String(request.samples[0]?.tokens[1]);
      if (!broken.has(coordinate)) return result;
      if (coordinate === "-100") throw new Error("no more battery");
      return { ...result, weights: result.weights.fill(Number.NaN) };
    },
  };
  const deps = makeDeps("scaffold", {
    trainer,
    onEvent: (event) => {
      // From round 2 on client-1 (second coordinate -1) throws and client-2 (-2) answers NaN.
      if (event.type === "roundFinished") broken.add("-100").add("-200");
    },
  });
  await runServer(makeOptions({ clientsPerRound: 6, numRounds: 2 }), deps, start);
  const variate = (round: number, clientId: string): Float32Array | undefined =>
    deps.snapshots[round - 1]?.state.clients.get(clientId)?.arrays["controlVariate"];
  for (const clientId of ["client-1", "client-2"]) {
    expect(variate(1, clientId)).toBeDefined();
    expect(variate(2, clientId)).toEqual(variate(1, clientId));
  }
  expect(variate(2, "client-3")).not.toEqual(variate(1, "client-3"));
  expect(deps.metrics.records[1]).toMatchObject({ numFailed: 2, numRejected: 1 });
});

test("on disk, the variates of a round that is done are not in memory, and one that is lost ends the run", async () => {
  const folder = makeTemporaryFolder();
  const checkpoints = new CheckpointFolder(folder, { configFingerprint: "config", layoutFingerprint: "layout" });
  const expected = await runServer(makeOptions(), makeDeps("scaffold"), start);
  const states: FederationState[] = [];
  const kept = {
    save: (snapshot: Snapshot) => checkpoints.save(snapshot),
    release: (state: FederationState) => {
      const released = checkpoints.release(state);
      states.push(released);
      return released;
    },
  };
  expect(await runServer(makeOptions(), makeDeps("scaffold", { checkpoints: kept }), start)).toEqual(expected);
  const own = [...(states.at(-1)?.clients.values() ?? [])];
  // Each access reads the file, so nothing else holds the vector.
  for (const state of own) expect(state.arrays["controlVariate"]).not.toBe(state.arrays["controlVariate"]);

  const state = states[1];
  if (state === undefined) throw new Error("there is a state of round 2");
  rmSync(join(folder, "clients"), { recursive: true });
  const lost = runServer(makeOptions({ clientsPerRound: 6 }), makeDeps("scaffold"), {
    kind: "snapshot",
    snapshot: { round: 2, state },
  });
  await expect(lost).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
});

test("15 random rounds with cohorts of 3 of 7 equal the equations on plain numbers", () => {
  const random = new PythonRandom(5);
  const [numClients, numCoordinates, numRounds, steps] = [7, 10, 15, 4];
  const plan = makeOptions({ numRounds, localSteps: steps, initialLearningRate: 0.5, finalLearningRate: 0.25 }).plan;
  const sizes = Array.from({ length: numClients }, (_, k) => 10 * (k + 1));
  const zeros = (): number[] => Array.from({ length: numCoordinates }, () => 0);
  const naive = { w: zeros(), c: zeros(), own: sizes.map(zeros) };
  let server = scaffold.init(Float32Array.from(naive.w));
  const states = new Map<string, NamedState>();
  for (let round = 1; round <= numRounds; round++) {
    const chosen = sampleIndices(round, numClients, 3).sort((a, b) => a - b);
    const moves = chosen.map(() => naive.w.map(() => random.random() - 0.5));
    const context = { round, plan, numClients, layout };
    const members = chosen.map((k) => ({ clientId: String(k), numExamples: sizes[k] ?? 0 }));
    const tasks = scaffold.configure(server, members, context);
    const updates = tasks.map((task, k) => answer(task, states, moves[k] ?? [], steps));
    server = scaffold.aggregate(server, updates, context);

    const rate = tasks[0]?.clientLearningRate ?? Number.NaN;
    const total = chosen.reduce((sum, k) => sum + (sizes[k] ?? 0), 0);
    for (let i = 0; i < numCoordinates; i++) {
      let change = 0;
      for (const [place, k] of chosen.entries()) {
        const own = naive.own[k] ?? [];
        const move = moves[place]?.[i] ?? 0;
        const next = -move / (steps * rate) - ((naive.c[i] ?? 0) - (own[i] ?? 0));
        change += next - (own[i] ?? 0);
        own[i] = next;
        naive.w[i] = (naive.w[i] ?? 0) + ((sizes[k] ?? 0) / total) * move;
      }
      naive.c[i] = (naive.c[i] ?? 0) + change / numClients;
    }
  }
  // Weights below 4 move by numbers of 24 bits; the rounding of w enters c_i' divided by K lr >= 1, once per round.
  const tolerance = numRounds * 8 * 2 ** -24;
  expectClose(server.arrays["adapter"], naive.w, tolerance);
  expectClose(server.arrays["controlVariate"], naive.c, tolerance);
  for (const [id, state] of states) expectClose(state.arrays["controlVariate"], naive.own[Number(id)] ?? [], tolerance);
});

function clientSideOf(strategy: Strategy): ClientSide {
  if (strategy.clientSide === undefined) throw new Error("SCAFFOLD has a client's half");
  return strategy.clientSide;
}

/** One client's part, moved by given numbers instead of training. */
function answer(
  task: TrainTask,
  states: Map<string, NamedState>,
  move: readonly number[],
  numSteps: number,
): ClientUpdate {
  const own = states.get(task.clientId);
  const begun = clientSide.begin(task, own, layout);
  const trainedWeights = begun.weights.map((w, i) => w + (move[i] ?? 0));
  const outcome = { startWeights: begun.weights, trainedWeights, numSteps, layout };
  const { controlVariateUpdate, nextState } = clientSide.finish(begun, outcome, own);
  if (controlVariateUpdate === undefined || nextState === undefined) throw new Error("SCAFFOLD's clients keep a state");
  states.set(task.clientId, nextState);
  const change = trainedWeights.map((w, i) => w - (begun.weights[i] ?? 0));
  return { ...makeUpdate(task.clientId, task.numExamples, change), controlVariateUpdate };
}

function expectClose(actual: Float32Array | undefined, expected: readonly number[], tolerance: number): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of (actual ?? []).entries()) {
    expect(Math.abs(value - (expected[i] ?? Number.NaN))).toBeLessThan(tolerance);
  }
}
