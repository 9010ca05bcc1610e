/** The simulated clock: who answers when, worked out by hand, and that it is a function of the seed. */
import { describe, expect, test } from "vitest";
import { makeClient, makeClients, makeDeps, makeOptions } from "../../../src/contract/federation.js";
import { pointSample, QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";
import { FedllmError } from "../../../src/errors.js";
import { deviceOf, workDuration, type DeviceAssignment, type DeviceProfile } from "../../../src/federated/devices.js";
import { scheduleRound, type Participation } from "../../../src/federated/participation.js";
import { runServer, type FederationStart } from "../../../src/federated/server.js";

const start: FederationStart = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) };

const device = (changes: Partial<DeviceProfile> = {}): DeviceProfile => ({
  name: "laptop",
  tokensPerSecond: 100,
  uploadBytesPerSecond: 10,
  downloadBytesPerSecond: 20,
  failureProbability: 0,
  ...changes,
});

const work = { downloadBytes: 40, numTokens: 300, uploadBytes: 40 };
const draw = { seed: 1, round: 1 };

/** Clients a, b, c, ... whose machines train at these speeds. */
function schedule(speeds: readonly number[], numWanted: number, participation: Partial<Participation> = {}, changes: Partial<DeviceProfile> = {}) {
  const ids = speeds.map((_, index) => String.fromCharCode(97 + index));
  return scheduleRound(
    ids.map((clientId) => ({ clientId, work })),
    numWanted,
    draw,
    {
      overSelection: 1,
      attempts: 1,
      deviceOf: (clientId) => device({ tokensPerSecond: speeds[ids.indexOf(clientId)] ?? 1, ...changes }),
      ...participation,
    },
  );
}

describe("the time of a client", () => {
  test("is that of the weights' way there, of the tokens and of the update's way back", () => {
    // 40 / 20 + 300 / 100 + 40 / 10 seconds.
    expect(workDuration(device(), work)).toBe(9000);
  });
});

describe("a round", () => {
  test("lasts as long as its slowest client", () => {
    const { appointments, simulatedDurationMs } = schedule([100, 50, 300], 3);
    expect(simulatedDurationMs).toBe(12_000);
    expect([...appointments.values()].map((appointment) => appointment.simulatedDurationMs)).toEqual([9000, 12_000, 7000]);
  });

  test("with more clients than are wanted ends with the last wanted answer, and the others are late", () => {
    const { appointments, simulatedDurationMs } = schedule([100, 50, 300], 2);
    expect(simulatedDurationMs).toBe(9000);
    expect(appointments.get("b")).toMatchObject({ simulatedDurationMs: 9000, refusal: { code: "CLIENT_LATE" } });
    expect(appointments.get("a")?.refusal).toBeUndefined();
  });

  test("of equal clients takes those with the lowest ids", () => {
    const { appointments } = schedule([100, 100, 100], 1);
    expect([...appointments].filter(([, { refusal }]) => refusal === undefined).map(([id]) => id)).toEqual(["a"]);
  });

  test("waits for nobody longer than the timeout", () => {
    const { appointments, simulatedDurationMs } = schedule([100, 1], 2, { timeoutMs: 10_000 });
    expect(simulatedDurationMs).toBe(10_000);
    expect(appointments.get("b")).toMatchObject({ simulatedDurationMs: 10_000, refusal: { code: "CLIENT_TIMEOUT" } });
  });

  test("asks a client again that broke off, which takes the time of both attempts", () => {
    const half = Array.from({ length: 200 }, (_, index) => `client-${String(index)}`);
    const plan = (attempts: number) =>
      scheduleRound(half.map((clientId) => ({ clientId, work })), half.length, draw, {
        overSelection: 1,
        attempts,
        deviceOf: () => device({ failureProbability: 0.5 }),
      });
    const failed = (attempts: number) => [...plan(attempts).appointments.values()].filter(({ refusal }) => refusal !== undefined);
    // Of 200 clients 100 fail with a standard deviation of 7, of two attempts 50 with one of 6: five of them.
    expect(Math.abs(failed(1).length - 100)).toBeLessThan(35);
    expect(Math.abs(failed(2).length - 50)).toBeLessThan(30);
    expect(failed(1).every(({ simulatedDurationMs, refusal }) => simulatedDurationMs < 9000 && refusal?.code === "CLIENT_UNAVAILABLE")).toBe(true);
    const again = [...plan(2).appointments.values()].filter(({ refusal, numAttempts }) => refusal === undefined && numAttempts === 2);
    expect(again.length).toBeGreaterThan(0);
    expect(again.every(({ simulatedDurationMs }) => simulatedDurationMs > 9000 && simulatedDurationMs < 18_000)).toBe(true);
    expect(plan(2)).toEqual(plan(2));
  });

  test("refuses a client whose device cannot hold the weights", () => {
    const { appointments } = schedule([100], 1, { memoryBytesNeeded: () => 11 }, { memoryBytes: 10 });
    expect(appointments.get("a")).toMatchObject({ refusal: { code: "OUT_OF_MEMORY" }, simulatedDurationMs: 0 });
    expect(schedule([100], 1, { memoryBytesNeeded: () => 10 }, { memoryBytes: 10 }).appointments.get("a")?.refusal).toBeUndefined();
  });
});

describe("devices", () => {
  const assignment: DeviceAssignment = {
    profiles: [device({ name: "slow" }), device({ name: "fast", tokensPerSecond: 1000 }), device({ name: "never" })],
    shares: { slow: 3, fast: 1 },
    clients: { named: "never" },
  };

  test("are drawn by their shares, and the named clients have theirs", () => {
    const names = Array.from({ length: 4000 }, (_, index) => deviceOf(assignment, 5, String(index)).name);
    // 1000 of 4000 with a standard deviation of 27: five of them.
    expect(Math.abs(names.filter((name) => name === "fast").length - 1000)).toBeLessThan(137);
    expect(names).not.toContain("never");
    expect(deviceOf(assignment, 5, "named").name).toBe("never");
    expect(deviceOf(assignment, 5, "toString").name).not.toBe("never");
  });

  test("are drawn anew by another seed, equally without shares", () => {
    const namesOf = (seed: number, shares = assignment.shares) =>
      Array.from({ length: 300 }, (_, index) => deviceOf({ ...assignment, shares }, seed, String(index)).name);
    expect(namesOf(5)).toEqual(namesOf(5));
    expect(namesOf(5)).not.toEqual(namesOf(6));
    expect(new Set(namesOf(5, {}))).toEqual(new Set(["slow", "fast", "never"]));
  });

  test.each([
    [{ distribution: "lognormal", sigma: 0.5 } as const, 0.5],
    [{ distribution: "uniform", width: 0.5 } as const, 0.5 / Math.sqrt(3)],
  ])("spread their speeds as %j says", (speedSpread, deviation) => {
    const factors = Array.from({ length: 4000 }, (_, index) => deviceOf({ ...assignment, shares: { slow: 1 }, speedSpread }, 5, String(index)).tokensPerSecond / 100);
    const values = speedSpread.distribution === "lognormal" ? factors.map(Math.log) : factors.map((factor) => factor - 1);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    // Five standard errors of the mean; those of the deviation are smaller.
    expect(Math.abs(mean)).toBeLessThan((5 * deviation) / Math.sqrt(4000));
    expect(Math.abs(Math.sqrt(variance) - deviation)).toBeLessThan((5 * deviation) / Math.sqrt(4000));
  });
});

describe("a federation on the simulated clock", () => {
  const clients = makeClients(6);
  const slowest = "client-1";
  const devices = (clientId: string) => device({ name: clientId === slowest ? "old" : "new", tokensPerSecond: clientId === slowest ? 1 : 100 });

  test("records each client's time and device, and the round's", async () => {
    const deps = makeDeps("fedavg", { clients });
    await runServer(makeOptions({ clientsPerRound: 6, numRounds: 1 }, { participation: { overSelection: 1, attempts: 1, deviceOf: devices } }), deps, start);
    const [record] = deps.metrics.records;
    // 3 weights of 4 bytes; 3 steps of 2 samples of 3 tokens at one token per second.
    const expected = (12 / 20 + 18 / 1 + 12 / 10) * 1000;
    expect(record?.clients.find(({ clientId }) => clientId === slowest)).toMatchObject({ device: "old", simulatedDurationMs: expected });
    expect(record?.simulatedDurationMs).toBe(expected);
  });

  test("asks more clients than it needs and is done when enough have answered; the late ones train nothing", async () => {
    const trained: string[] = [];
    const deps = makeDeps("fedavg", {
      clients,
      onEvent: (event) => {
        if (event.type === "clientProgress") trained.push(event.clientId);
      },
    });
    const participation = { overSelection: 1.2, attempts: 1, deviceOf: devices };
    const { adapters } = await runServer(makeOptions({ clientsPerRound: 5, numRounds: 1 }, { participation }), deps, start);
    const [record] = deps.metrics.records;
    expect(record).toMatchObject({ cohortSize: 6, numSucceeded: 5, numFailed: 1 });
    expect(record?.clients.find(({ clientId }) => clientId === slowest)).toMatchObject({ failureCode: "CLIENT_LATE", uploadBytes: 0, downloadBytes: 12 });
    expect(new Set(trained)).not.toContain(slowest);
    const without = makeDeps("fedavg", { clients: clients.filter(({ id }) => id !== slowest) });
    expect((await runServer(makeOptions({ clientsPerRound: 5, numRounds: 1 }), without, start)).adapters).toEqual(adapters);
  });

  test("ends with COHORT_TOO_SMALL when too few answer in time", async () => {
    const participation = { overSelection: 1, attempts: 1, timeoutMs: 5000, deviceOf: devices };
    const options = makeOptions({ clientsPerRound: 6, numRounds: 1 }, { participation, minClients: 6 });
    await expect(runServer(options, makeDeps("fedavg", { clients }), start)).rejects.toThrow(
      /usable updates of at least 6 clients, received 5 of 6 \(client client-1: CLIENT_TIMEOUT: no answer within 5.0 s of simulated time\)/,
    );
  });

  test("asks a client that fails as often as it is told, and records each failure", async () => {
    let numFailures = 0;
    const inner = new QuadraticTrainer(3);
    const trainer = {
      layout: inner.layout,
      initialWeights: (seed: number) => inner.initialWeights(seed),
      evaluate: inner.evaluate.bind(inner),
      train: (...args: Parameters<typeof inner.train>) => {
        numFailures += 1;
        return numFailures < 3 ? Promise.reject(new FedllmError("OUT_OF_MEMORY", "just now")) : inner.train(...args);
      },
    };
    const sole = [makeClient("sole", [pointSample(1, 2, 3)])];
    const settings = makeOptions({ numRounds: 1 }, { participation: { overSelection: 1, attempts: 3 } });
    const deps = makeDeps("fedavg", { clients: sole, trainer });
    const { adapters } = await runServer(settings, deps, start);
    const [record] = deps.metrics.records;
    expect(record?.clients[0]).toMatchObject({ numAttempts: 3 });
    expect(record?.clients[0]).not.toHaveProperty("failureCode");
    expect(record?.events).toEqual([1, 2].map(() => ({ kind: "clientRetried", clientId: "sole", message: "OUT_OF_MEMORY: just now" })));
    expect((await runServer(makeOptions({ numRounds: 1 }), makeDeps("fedavg", { clients: sole }), start)).adapters).toEqual(adapters);
  });
});
