/** Clients that are stopped by the clock on the wall: the round goes on without them, as with any other failure. */
import { describe, expect, test } from "vitest";
import { QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";
import { freshStart, makeClient, makeClients, makeDeps, makeOptions, NUM_PARAMETERS } from "../../../src/contract/federation.js";
import { runServer } from "../../../src/federated/server.js";
import { withinTime } from "../../../src/federated/time-limit.js";
import { EVERYBODY_ANSWERS } from "../../../src/federated/participation.js";

/** Far longer than the quadratic trainer needs for a client, also on a busy machine. */
const LIMIT_MS = 400;

/** client-1, whose first token is 100, takes ten times the limit for a step; `numFast` of its attempts do not. */
class TrainerWithSlowClient extends QuadraticTrainer {
  #numFast: number;

  constructor(numFast = 0) {
    super(NUM_PARAMETERS);
    this.#numFast = numFast;
  }

  override async train(...[request, signal]: Parameters<QuadraticTrainer["train"]>) {
    const isSlow = request.samples.some(({ tokens }) => tokens[0] === 100) && this.#numFast-- <= 0;
    const chosen = isSlow ? new QuadraticTrainer(NUM_PARAMETERS, () => 10 * LIMIT_MS) : new QuadraticTrainer(NUM_PARAMETERS);
    return aborting(chosen.train(request, signal), signal);
  }
}

/** Rejects at once when the signal aborts, where the quadratic trainer would look at it after its step. */
async function aborting<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return Promise.race([
    work,
    new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => {
        reject(new Error("stopped"));
      }, { once: true });
    }),
  ]);
}

const options = (attempts = 1) =>
  makeOptions({ numRounds: 2 }, { participation: { ...EVERYBODY_ANSWERS, attempts, wallClockTimeoutMs: LIMIT_MS } });

describe("a client that takes too long", () => {
  test("counts as timed out, and the round ends as one that it failed in", async () => {
    const slow = makeDeps("fedavg", { clients: makeClients(3), trainer: new TrainerWithSlowClient() });
    const { adapters } = await runServer(options(), slow, freshStart());
    for (const record of slow.metrics.records) {
      expect(record).toMatchObject({ numSucceeded: 2, numFailed: 1, numRejected: 0 });
      expect(record.clients[1]).toMatchObject({ clientId: "client-1", failureCode: "CLIENT_TIMEOUT", uploadBytes: 0 });
      expect(record.events).toEqual([{ kind: "clientFailed", clientId: "client-1", message: "CLIENT_TIMEOUT: stopped, because it had not answered within 0.4 s of real time" }]);
    }
    // A client without samples fails as well, in the same place of the cohort.
    const clients = makeClients(3).map((client) => (client.id === "client-1" ? makeClient("client-1", []) : client));
    const failing = await runServer(makeOptions({ numRounds: 2 }), makeDeps("fedavg", { clients }), freshStart());
    expect(adapters).toEqual(failing.adapters);
  });

  test("is asked again with a new limit", async () => {
    const deps = makeDeps("fedavg", { clients: makeClients(3), trainer: new TrainerWithSlowClient() });
    await runServer(options(2), deps, freshStart());
    expect(deps.metrics.records[0]?.clients[1]).toMatchObject({ failureCode: "CLIENT_TIMEOUT", numAttempts: 2 });
  });

  test("changes nothing while all are in time", async () => {
    const limited = makeDeps("fedavg", { clients: makeClients(3), trainer: new TrainerWithSlowClient(2) });
    const free = makeDeps("fedavg", { clients: makeClients(3) });
    expect(await runServer(options(), limited, freshStart())).toEqual(await runServer(makeOptions({ numRounds: 2 }), free, freshStart()));
    expect(limited.metrics.records).toEqual(free.metrics.records);
  });

  test("cancels the run, and no client, where the run is interrupted", async () => {
    const interrupt = new AbortController();
    const deps = makeDeps("fedavg", {
      clients: makeClients(3),
      trainer: new TrainerWithSlowClient(),
      signal: interrupt.signal,
      onEvent: ({ type }) => {
        if (type === "clientStarted") interrupt.abort();
      },
    });
    await expect(runServer(options(), deps, freshStart())).rejects.toMatchObject({ code: "CANCELLED" });
    expect(deps.metrics.records).toEqual([]);
  });
});

describe("work within a time", () => {
  const limit = { limitMs: LIMIT_MS, signal: undefined, whenOver: () => "over" };

  test("keeps its own errors and its own result", async () => {
    await expect(withinTime(() => Promise.reject(new Error("its own")), limit)).rejects.toThrow("its own");
    expect(await withinTime(() => Promise.resolve("done"), limit)).toBe("done");
  });

  test("that ends all the same after its time keeps its result", async () => {
    const stubborn = (signal: AbortSignal | undefined) =>
      new Promise<string>((resolve) => {
        signal?.addEventListener("abort", () => {
          resolve("done");
        });
      });
    expect(await withinTime(stubborn, { ...limit, limitMs: 1 })).toBe("done");
  });

  test("is stopped at once when the run was stopped before", async () => {
    const work = (signal: AbortSignal | undefined) => (signal?.aborted === true ? Promise.reject(new Error("aborted")) : Promise.resolve("done"));
    await expect(withinTime(work, { ...limit, signal: AbortSignal.abort() })).rejects.toThrow("aborted");
  });
});
