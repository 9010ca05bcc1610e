/** Whole runs on the quadratic trainer: rounds, records, evaluation, failures, cancellation. */
import { describe, expect, test } from "vitest";
import { FedllmError } from "../../../src/errors.js";
import type { LocalTrainer, MemoryUse, TrainRequest, TrainResult } from "../../../src/federated/local-trainer.js";
import type { FederationDeps, FederationOptions } from "../../../src/federated/options.js";
import type { FederationEvent } from "../../../src/federated/records.js";
import { runServer, type FederationResult } from "../../../src/federated/server.js";
import {
  makeClient,
  makeClients,
  makeDeps,
  makeOptions,
  NUM_PARAMETERS,
  type TestDeps,
} from "../../../src/contract/federation.js";
import { pointSample, QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";

const start = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) } as const;

const run = (options: FederationOptions, deps: FederationDeps): Promise<FederationResult> =>
  runServer(options, deps, start);

/** The quadratic trainer, with the result of one client's training replaced; a client is known by its first token. */
function withFault(firstToken: number, fault: (result: TrainResult) => TrainResult): LocalTrainer {
  const inner = new QuadraticTrainer(NUM_PARAMETERS);
  return {
    layout: inner.layout,
    initialWeights: (seed) => inner.initialWeights(seed),
    evaluate: (request) => inner.evaluate(request),
    train: async (request: TrainRequest, signal?: AbortSignal) => {
      const result = await inner.train(request, signal);
      return request.samples.some(({ tokens }) => tokens[0] === firstToken) ? fault(result) : result;
    },
  };
}

/** All three clients in every round; client-1 is the one with a first token of 100. */
const threeClients = (fault: (result: TrainResult) => TrainResult): TestDeps =>
  makeDeps("fedavg", { clients: makeClients(3), trainer: withFault(100, fault) });

describe("records", () => {
  test("a client's row says how its memory was planned and that it ran out; others have no such columns", async () => {
    const memory: MemoryUse = {
      microBatchTokens: 64,
      recomputes: true,
      streams: false,
      fellBack: true,
      plannedBytes: 1000,
      plannedPeakBytes: 9000,
      plannedDeviceBytes: 700,
      deviceBytes: 690,
    };
    const deps = threeClients((result) => ({ ...result, memory }));
    await run(makeOptions(), deps);
    expect(deps.metrics.records[0]?.clients.map((client) => client.memory)).toEqual([undefined, memory, undefined]);
  });

  test("each round has its cohort, its bytes and its clients in the order of their ids", async () => {
    const deps = makeDeps();
    await run(makeOptions(), deps);
    expect(deps.metrics.records.map(({ round }) => round)).toEqual([1, 2, 3, 4]);
    const first = deps.metrics.records[0];
    const bytes = 4 * NUM_PARAMETERS;
    expect(first).toMatchObject({ cohortSize: 3, numSucceeded: 3, numFailed: 0, numRejected: 0 });
    expect(first).toMatchObject({
      uploadBytes: 3 * bytes,
      downloadBytes: 3 * bytes,
      startedAt: "1970-01-01T00:00:00.000Z",
    });
    // Python: random.seed(0); sorted(random.sample(range(6), 3)).
    expect(first?.clients.map(({ clientId }) => clientId)).toEqual(["client-0", "client-3", "client-5"]);
    for (const client of first?.clients ?? []) {
      expect(client).toMatchObject({ learningRate: 0.2, numSteps: 3, numTokens: 18, uploadBytes: bytes });
      // 18 tokens in 3 steps of 2 ms.
      expect(client.tokensPerSecond).toBe(3000);
      expect(client.failureCode).toBeUndefined();
    }
  });

  test("evaluation runs every so many rounds and always after the last", async () => {
    const deps = makeDeps();
    await run(makeOptions({ numRounds: 5 }), deps);
    expect(deps.metrics.records.map(({ evaluations }) => evaluations.length)).toEqual([0, 1, 0, 1, 1]);
  });

  test("round 0 holds the evaluation of the initial adapter, for every strategy as a global one", async () => {
    for (const strategy of ["fedavg", "local", "centralized"]) {
      const deps = makeDeps(strategy);
      await run(makeOptions({}, { evaluateBeforeTraining: true }), deps);
      expect(deps.metrics.records[0]).toMatchObject({
        round: 0,
        cohortSize: 0,
        clients: [],
        evaluations: [{ metric: "norm", value: Math.hypot(0.5, 0.25, -1) }],
      });
    }
  });

  test("local and centralized runs send nothing", async () => {
    for (const strategy of ["local", "centralized"]) {
      const deps = makeDeps(strategy);
      await run(makeOptions(), deps);
      expect(deps.metrics.records.map((record) => record.uploadBytes + record.downloadBytes)).toEqual([0, 0, 0, 0]);
    }
  });

  test("centralized makes the steps of all clients of a round, or as many as are asked for", async () => {
    const stepsOf = async (plan: object): Promise<unknown> => {
      const deps = makeDeps("centralized");
      await run(makeOptions({ numRounds: 1, ...plan }), deps);
      return deps.metrics.records[0]?.clients;
    };
    expect(await stepsOf({})).toMatchObject([{ clientId: "pooled", numSteps: 9, numExamples: 16, numSamples: 16 }]);
    expect(await stepsOf({ clientsPerRound: 50 })).toMatchObject([{ numSteps: 18 }]);
    expect(await stepsOf({ pooledSteps: 2 })).toMatchObject([{ numSteps: 2, numSamples: 4 }]);
  });

  test("events tell the story in order", async () => {
    const events: FederationEvent[] = [];
    const clients = [makeClient("a", [pointSample(1, 1, 1)])];
    const deps = makeDeps("fedavg", { clients, onEvent: (event) => events.push(event) });
    await run(makeOptions({ numRounds: 1, localSteps: 2 }), deps);
    expect(events.map(({ type }) => type)).toEqual([
      "roundStarted",
      "clientStarted",
      "clientProgress",
      "clientProgress",
      "clientFinished",
      "evaluation",
      "roundFinished",
    ]);
  });
});

describe("a client that fails", () => {
  test("is recorded without losses, and the others make the round", async () => {
    const deps = threeClients(() => {
      throw new FedllmError("OUT_OF_MEMORY", "no room");
    });
    await run(makeOptions({ numRounds: 1 }), deps);
    const [record] = deps.metrics.records;
    expect(record).toMatchObject({ cohortSize: 3, numSucceeded: 2, numFailed: 1, numRejected: 0 });
    const row = record?.clients[1];
    expect(row).toMatchObject({ clientId: "client-1", failureCode: "OUT_OF_MEMORY", failureMessage: "no room" });
    expect(row).toMatchObject({ uploadBytes: 0, downloadBytes: 12 });
    for (const key of ["trainLoss", "numTokens", "numSteps", "updateNorm", "tokensPerSecond"]) {
      expect(row).not.toHaveProperty(key);
    }
    expect(record?.events).toEqual([{ kind: "clientFailed", clientId: "client-1", message: "OUT_OF_MEMORY: no room" }]);
  });

  test.each([
    {
      name: "not finite",
      fault: (result: TrainResult): TrainResult => ({ ...result, weights: Float32Array.of(0, Number.NaN, 0) }),
    },
    { name: "mis-shaped", fault: (result: TrainResult): TrainResult => ({ ...result, weights: new Float32Array(9) }) },
    {
      name: "with a loss that is not finite",
      fault: (result: TrainResult): TrainResult => ({ ...result, stepLosses: Float64Array.of(Infinity) }),
    },
  ])("by an update that is $name is refused, named and counted, and moves nothing", async ({ fault }) => {
    const deps = threeClients(fault);
    const { adapters } = await run(makeOptions({ numRounds: 1 }), deps);
    expect(deps.metrics.records[0]).toMatchObject({ numSucceeded: 2, numFailed: 1, numRejected: 1 });
    const row = deps.metrics.records[0]?.clients[1];
    expect(row).toMatchObject({ clientId: "client-1", failureCode: "UPDATE_REJECTED" });
    expect(row?.failureMessage).toContain("client-1");
    expect(row).not.toHaveProperty("trainLoss");
    const absent = threeClients(() => {
      throw new FedllmError("TRAIN_FAILED", "absent");
    });
    expect((await run(makeOptions({ numRounds: 1 }), absent)).adapters).toEqual(adapters);
  });

  test("below the smallest cohort ends the run, says who failed and why, and keeps the rounds before", async () => {
    let round = 0;
    const deps = threeClients((result) => {
      round += 1;
      if (round > 2) throw new FedllmError("TRAIN_DIVERGED", "loss is NaN");
      return result;
    });
    await expect(run(makeOptions({}, { minClients: 3 }), deps)).rejects.toMatchObject({
      code: "COHORT_TOO_SMALL",
      message:
        "round 3: expected usable updates of at least 3 clients, received 2 of 3 " +
        "(client client-1: TRAIN_DIVERGED: loss is NaN)",
    });
    expect(deps.metrics.records.map((record) => record.round)).toEqual([1, 2]);
    expect(deps.snapshots.map((snapshot) => snapshot.round)).toEqual([1, 2]);
  });

  test("in a local run keeps its adapter, and the others go on", async () => {
    const clients = makeClients(3);
    const good = makeDeps("local", { clients });
    await run(makeOptions({ numRounds: 2 }), good);
    let call = 0;
    const trainer = withFault(100, (result) => {
      call += 1;
      if (call === 2) throw new FedllmError("TRAIN_FAILED", "once");
      return result;
    });
    const deps = makeDeps("local", { clients, trainer });
    await run(makeOptions({ numRounds: 2 }), deps);
    const stateOf = (from: TestDeps, index: number, id: string): unknown =>
      from.snapshots[index]?.state.clients.get(id);
    expect(stateOf(deps, 1, "client-1")).toEqual(stateOf(good, 0, "client-1"));
    expect(stateOf(deps, 1, "client-1")).not.toEqual(stateOf(good, 1, "client-1"));
    expect(stateOf(deps, 1, "client-2")).toEqual(stateOf(good, 1, "client-2"));
  });
});

describe("cancellation", () => {
  test("in the middle of a client's training keeps only the rounds before", async () => {
    const controller = new AbortController();
    const deps = makeDeps("local", {
      signal: controller.signal,
      onEvent: (event) => {
        if (event.type === "clientProgress" && event.round === 3 && event.step === 2) controller.abort();
      },
    });
    await expect(run(makeOptions(), deps)).rejects.toMatchObject({ code: "CANCELLED" });
    expect(deps.metrics.records.map(({ round }) => round)).toEqual([1, 2]);
    expect(deps.snapshots.at(-1)?.round).toBe(2);
  });

  test("during the evaluation records nothing of that round, whatever the evaluation does", async () => {
    for (const ending of ["returns", "throws"]) {
      const controller = new AbortController();
      const deps = makeDeps("fedavg", {
        signal: controller.signal,
        evaluate: ({ round }) => {
          if (round === 4) controller.abort();
          return ending === "throws" && round === 4 ? Promise.reject(new Error("cut off")) : Promise.resolve([]);
        },
      });
      await expect(run(makeOptions(), deps)).rejects.toMatchObject({ code: "CANCELLED" });
      expect(deps.metrics.records.map(({ round }) => round)).toEqual([1, 2, 3]);
    }
  });

  test("before the start does no work", async () => {
    const deps = makeDeps("fedavg", { signal: AbortSignal.abort() });
    await expect(run(makeOptions(), deps)).rejects.toMatchObject({ code: "CANCELLED" });
    expect(deps.metrics.records).toEqual([]);
  });
});

describe("what is asked for", () => {
  test.each([
    [{ plan: { clientsPerRound: 0 } }, "clientsPerRound: expected a whole number above 0, received 0"],
    [{ plan: { localSteps: 1.5 } }, "localSteps"],
    [{ plan: { fixedClients: ["a", "a"] } }, 'fixedClients: expected each id once, received "a" twice'],
    [{ rest: { minClients: Number.NaN } }, "minClients"],
  ])("is refused when it makes no sense: %j", async ({ plan, rest }: { plan?: object; rest?: object }, says) => {
    await expect(run(makeOptions(plan, rest), makeDeps())).rejects.toThrow(says);
  });

  test("needs clients with different ids and some samples, and weights that fit", async () => {
    const twice = [makeClient("a", [pointSample(1, 1, 1)]), makeClient("a", [])];
    await expect(run(makeOptions(), makeDeps("fedavg", { clients: twice }))).rejects.toThrow('"a" twice');
    const empty = [makeClient("a", [])];
    await expect(run(makeOptions(), makeDeps("fedavg", { clients: empty }))).rejects.toThrow("1 clients without any");
    const short = { kind: "weights", weights: new Float32Array(2) } as const;
    await expect(runServer(makeOptions(), makeDeps(), short)).rejects.toMatchObject({ code: "ADAPTER_INVALID" });
  });
});
