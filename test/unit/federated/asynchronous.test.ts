/** The asynchronous server: timelines worked out by hand, the equations of its methods, and what a checkpoint holds of it. */
import { describe, expect, test } from "vitest";
import { makeClient, makeDeps, makeOptions } from "../../../src/contract/federation.js";
import { pointSample } from "../../../src/contract/quadratic-trainer.js";
import type { DeviceProfile } from "../../../src/federated/devices.js";
import { joinState, splitState } from "../../../src/federated/in-flight.js";
import type { FederationOptions } from "../../../src/federated/options.js";
import { runServer, type FederationStart } from "../../../src/federated/server.js";
import { createStrategy } from "../../../src/federated/strategies/registry.js";
import { gatherSlice } from "../../../src/adapter/slice.js";
import type { Strategy } from "../../../src/federated/strategy.js";
import { makeUpdate } from "../../helpers/client-update.js";
import { pairLayout } from "../../helpers/pair-layout.js";
import { RecordingTrainer } from "../../helpers/recording-trainer.js";

const start: FederationStart = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) };
const clients = ["a", "b", "c"].map((id, k) => makeClient(id, [pointSample(k, -k, 1), pointSample(1, k, 2)]));

/** A client passes 18 tokens, 3 steps of 2 samples of 3: these seconds, with links that cost nothing. */
const machine = (seconds: number, changes: Partial<DeviceProfile> = {}): DeviceProfile => ({
  name: "machine",
  tokensPerSecond: 18 / seconds,
  uploadBytesPerSecond: Number.POSITIVE_INFINITY,
  downloadBytesPerSecond: Number.POSITIVE_INFINITY,
  failureProbability: 0,
  ...changes,
});

function options(seconds: Readonly<Record<string, number>>, plan: Partial<FederationOptions["plan"]>, changes: Partial<DeviceProfile> = {}): FederationOptions {
  const deviceOf = (clientId: string) => machine(seconds[clientId] ?? 1, changes);
  return makeOptions(plan, { participation: { overSelection: 1, attempts: 1, deviceOf } });
}

describe("the clock", () => {
  test("lets each client hand in when it is done and go on with the newest weights", async () => {
    const deps = makeDeps("fedasync", { clients: clients.slice(0, 2) });
    await runServer(options({ a: 1, b: 2.5 }, { numRounds: 5, clientsPerRound: 2 }), deps, start);
    const rounds = deps.metrics.records.map((record) => [
      record.simulatedDurationMs,
      ...record.clients.map(({ clientId, staleness }) => `${clientId} ${String(staleness)}`),
    ]);
    // a ends at 1, 2, 3 and 4 s, b at 2.5 and 5 s; b began before a's first two updates.
    expect(rounds).toEqual([
      [1000, "a 0"],
      [1000, "a 0"],
      [500, "b 2"],
      [500, "a 1"],
      [1000, "a 0"],
    ]);
  });

  test("fills a buffer with updates of different clients", async () => {
    const deps = makeDeps(createStrategy("fedbuff", { bufferSize: 2 }), { clients });
    await runServer(options({ a: 1, b: 10, c: 2 }, { numRounds: 3, clientsPerRound: 3 }), deps, start);
    const rounds = deps.metrics.records.map(({ clients: rows, simulatedDurationMs }) => [simulatedDurationMs, rows.map(({ clientId }) => clientId)]);
    // a waits for c at 2 s, and again at 4 and 6 s.
    expect(rounds).toEqual([
      [2000, ["a", "c"]],
      [2000, ["a", "c"]],
      [2000, ["a", "c"]],
    ]);
  });

  test("keeps as many at work as are asked for, and no client twice", async () => {
    const started: string[][] = [];
    const many = Array.from({ length: 12 }, (_, k) => makeClient(`client-${String(k)}`, [pointSample(k, 1, 2)]));
    const deps = makeDeps("fedasync", {
      clients: many,
      onEvent: (event) => {
        if (event.type === "roundStarted") started.push([...event.clientIds]);
      },
    });
    await runServer(makeOptions({ numRounds: 30, clientsPerRound: 4 }), deps, start);
    for (const ids of started) expect(new Set(ids).size).toBe(4);
    expect(new Set(started.flat()).size).toBeGreaterThan(8);
  });

  test("with a buffer for all of a cohort of equal clients gives FedAvg's rounds", async () => {
    const deps = makeDeps(createStrategy("fedbuff", { bufferSize: 3 }), { clients });
    const plan = { numRounds: 4, clientsPerRound: 3 };
    const buffered = await runServer(options({}, plan), deps, start);
    const averaged = await runServer(makeOptions(plan), makeDeps("fedavg", { clients }), start);
    if (buffered.adapters.kind !== "global" || averaged.adapters.kind !== "global") throw new Error("both have one adapter");
    for (const [i, value] of buffered.adapters.weights.entries()) {
      // A third is no binary number: one rounding more in each of four rounds, below 4.
      expect(Math.abs(value - (averaged.adapters.weights[i] ?? Number.NaN))).toBeLessThanOrEqual(4 * 4 * 2 ** -23);
    }
    expect(deps.metrics.records.flatMap(({ clients: rows }) => rows.map(({ staleness }) => staleness))).toEqual(Array(12).fill(0));
  });
});

describe("clients that break off", () => {
  test("are rows, and others take their places", async () => {
    const many = Array.from({ length: 12 }, (_, k) => makeClient(`client-${String(k)}`, [pointSample(k, 1, 2)]));
    const deps = makeDeps("fedasync", { clients: many });
    await runServer(options({}, { numRounds: 40, clientsPerRound: 2 }, { failureProbability: 0.3 }), deps, start);
    const rows = deps.metrics.records.flatMap((record) => record.clients);
    const failed = rows.filter(({ failureCode }) => failureCode === "CLIENT_UNAVAILABLE");
    expect(failed.length).toBeGreaterThan(0);
    expect(rows.length - failed.length).toBe(40);
  });

  test("the server asks others until somebody can work, whoever it began with", async () => {
    const many = Array.from({ length: 9 }, (_, k) => makeClient(`client-${String(k)}`, [pointSample(k, 1, 2)]));
    const deviceOf = (clientId: string) => machine(1, clientId === "client-5" ? {} : { memoryBytes: 1 });
    const settings = makeOptions({ numRounds: 3, clientsPerRound: 2 }, { participation: { overSelection: 1, attempts: 1, deviceOf, memoryBytesNeeded: () => 2 } });
    const deps = makeDeps("fedasync", { clients: many });
    await runServer(settings, deps, start);
    const succeeded = deps.metrics.records.map(({ clients: rows }) => rows.filter(({ failureCode }) => failureCode === undefined).map(({ clientId }) => clientId));
    expect(succeeded).toEqual([["client-5"], ["client-5"], ["client-5"]]);
    expect(deps.metrics.records.some(({ clients: rows }) => rows.length > 3)).toBe(true);
  });

  test("all of them end the run", async () => {
    const deviceOf = () => machine(1, { memoryBytes: 1 });
    const tooSmall = makeOptions({ numRounds: 1 }, { participation: { overSelection: 1, attempts: 1, deviceOf, memoryBytesNeeded: () => 2 } });
    await expect(runServer(tooSmall, makeDeps("fedasync", { clients }), start)).rejects.toThrow(/received 0 of 3 \(client a: OUT_OF_MEMORY/);
  });
});

describe("the equations", () => {
  const context = { round: 1, plan: makeOptions().plan, numClients: 2, layout: makeDeps("fedavg").trainer.layout };
  const late = (clientId: string, change: readonly number[], staleness: number, sent: readonly number[]) => ({
    ...makeUpdate(clientId, 1, change),
    delay: { staleness, sentWeights: Float32Array.from(sent) },
  });

  test("FedBuff: w + eta / K sum (1 + t)^-a d", () => {
    const strategy = createStrategy("fedbuff", { serverLearningRate: 0.5, stalenessExponent: 0.5 });
    const state = strategy.aggregate(strategy.init(Float32Array.of(1, 2)), [late("a", [4, 8], 3, [0, 0]), late("b", [2, -2], 0, [0, 0])], context);
    // 1 / sqrt(4) of the first: (2 + 2, 4 - 2) / 2 * 0.5.
    expect(state.arrays["adapter"]).toEqual(Float32Array.of(2, 2.5));
  });

  test("FedAsync: (1 - alpha_t) w + alpha_t w_k with w_k from the weights that were sent", () => {
    const strategy = createStrategy("fedasync", { mixing: 0.5, stalenessExponent: 1 });
    const state = strategy.aggregate(strategy.init(Float32Array.of(10)), [late("a", [2], 1, [4])], context);
    // alpha is 0.25 and w_k is 6.
    expect(state.arrays["adapter"]).toEqual(Float32Array.of(0.75 * 10 + 0.25 * 6));
  });

  test("FedAsync holds each client to the weights it was sent", () => {
    const strategy = createStrategy("fedasync", { proximalMu: 0.25 });
    const weights = Float32Array.of(1, 2, 3);
    const [task] = strategy.configure(strategy.init(weights), [{ clientId: "a", numExamples: 1 }], context);
    expect(task?.proximal).toEqual({ mu: 0.25, anchor: weights });
  });
});

test("a state holds the clients at work, whatever their ids, beside what the strategy knows", () => {
  const sentWeights = Float32Array.of(7);
  const state = {
    own: { arrays: { adapter: Float32Array.of(1) }, numbers: { steps: 3 } },
    simulatedMs: 12.5,
    inFlight: ["__proto__", "42", "7", "a in flight until b"].map((clientId, k) => ({ clientId, version: 2, finishMs: 13 + k, sentWeights })),
  };
  const joined = joinState(state);
  expect(Object.keys(joined.arrays)).toHaveLength(2);
  expect(splitState(joined)).toEqual(state);
  expect(splitState(state.own)).toEqual({ ...state, simulatedMs: 0, inFlight: [] });
});

describe("slices of the adapter", () => {
  const pairs = pairLayout(3, [["blk.0.attn_q.weight", 4, 5]]);
  const rank = (k: number) => ({ half: "both" as const, ranks: [k] });
  const point = (k: number) => pointSample(...Array.from({ length: pairs.numParameters }, (_, i) => ((3 * i + 7 * k) % 5) / 4 - 0.5));
  const members = ["a", "b", "c"].map((id, k) => makeClient(id, [point(k), point(k + 1)]));
  const initial = Float32Array.from({ length: pairs.numParameters }, (_, i) => ((5 * i) % 7) / 8 - 0.25);
  const from: FederationStart = { kind: "weights", weights: initial };
  const depsOf = (strategy: Strategy, trainer = new RecordingTrainer(pairs.numParameters, () => 0, pairs)) => ({ ...makeDeps(strategy, { clients: members, trainer }), trainer });
  const plan = { numRounds: 4, clientsPerRound: 3, localSteps: 2, batchSize: 2, initialLearningRate: 0.2, finalLearningRate: 0.05 };

  test.each([
    ["one half", createStrategy("ffa-lora")],
    ["lower ranks", createStrategy("flexlora", { clientRanks: { a: 1, b: 2 } })],
  ])("of %s: with a buffer for all of a cohort of equal clients the rounds are those of the method in rounds, bit for bit", async (_, strategy) => {
    const rounds = await runServer(makeOptions(plan), depsOf(strategy), from);
    const deps = depsOf({ ...strategy, asynchronous: { bufferSize: 3 } });
    const buffered = await runServer(makeOptions(plan), deps, from);
    expect(buffered.adapters).toEqual(rounds.adapters);
    expect(deps.metrics.records.flatMap(({ clients: rows }) => rows.map(({ failureCode }) => failureCode))).toEqual(Array(12).fill(undefined));
  });

  test.each([
    ["one half", createStrategy("ffa-lora"), () => ({ half: "b" as const })],
    ["lower ranks", createStrategy("flexlora", { clientRanks: { a: 1, b: 2 } }), (id: string) => rank(id === "a" ? 1 : id === "b" ? 2 : 3)],
  ])("of %s: a late client trains what it was sent, and sends and gets no more than that", async (_, strategy, sliceOf) => {
    const deps = depsOf({ ...strategy, asynchronous: { bufferSize: 1 } });
    const speeds = { a: 1, b: 2.5, c: 4 };
    await runServer({ ...options(speeds, { ...plan, numRounds: 8 }), measureAggregation: false }, deps, from);
    const adapters = [initial, ...deps.snapshots.map(({ state }) => splitState(state.server).own.arrays["adapter"] ?? initial)];
    const rows = deps.metrics.records.flatMap(({ round, clients: [row] }) => (row === undefined ? [] : [{ round, ...row }]));
    expect(Math.max(...rows.map(({ staleness = 0 }) => staleness))).toBeGreaterThan(1);
    for (const [index, { round, clientId, staleness = 0, uploadBytes, downloadBytes }] of rows.entries()) {
      const sent = adapters[round - 1 - staleness] ?? initial;
      const slice = sliceOf(clientId);
      const numbers = gatherSlice(sent, pairs, slice);
      expect(gatherSlice(deps.trainer.requests[index]?.weights ?? sent, pairs, slice)).toEqual(numbers);
      expect([uploadBytes, downloadBytes]).toEqual([4 * numbers.length, 4 * numbers.length]);
    }
  });
});
