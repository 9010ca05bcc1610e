/** Whole federations with differential privacy, on the quadratic trainer: which strategies, what a resumed run repeats, and where it stops. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makeClient, makeDeps, makeOptions } from "../../../src/contract/federation.js";
import { pointSample } from "../../../src/contract/quadratic-trainer.js";
import { findPrivacyObstacle } from "../../../src/federated/private-round.js";
import type { AdapterSet } from "../../../src/federated/protocol.js";
import { runServer } from "../../../src/federated/server.js";
import { createStrategy, STRATEGY_NAMES } from "../../../src/federated/strategies/registry.js";
import { epsilonSpent, type PrivacyBudget } from "../../../src/privacy/budget.js";
import { PrivacyLedger } from "../../../src/privacy/ledger.js";
import { insecureSecret } from "../../../src/privacy/random-stream.js";
import { UserLevelPrivacy, type ReleaseSink, type UserLevelOptions } from "../../../src/privacy/user-level.js";
import { freshStart } from "../../../src/contract/federation.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const free: ReleaseSink = { isAffordable: () => true, charge: () => undefined, epsilonSpent: () => Number.POSITIVE_INFINITY };

/** Six clients with two samples each, so that weights by size are equal weights. */
const CLIENTS = Array.from({ length: 6 }, (_, k) => makeClient(`client-${String(k)}`, [pointSample(k, -k, 1), pointSample(k / 2, 1, k)]));

function mechanism(options: Partial<UserLevelOptions> = {}, sink = free): UserLevelPrivacy {
  const base = { sampling: "poisson" as const, cohortSize: 6, noiseMultiplier: 0, clipNorm: 1e4 };
  return new UserLevelPrivacy({ ...base, ...options }, { numClients: 6, totalWeight: 6 }, insecureSecret(1), sink);
}

function globalOf(adapters: AdapterSet): Float32Array {
  const shared = adapters.kind === "perClient" ? adapters.shared : adapters;
  return shared?.kind === "global" ? shared.weights : new Float32Array(0);
}

/** Those that the quadratic trainer with its three numbers can run: a layout of pairs is needed by the others. */
const SIMPLE = ["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedyogi", "fedadam", "ditto"];

describe("strategies", () => {
  test("that need one mean of the updates and nothing else can be private, and no others", () => {
    const possible = STRATEGY_NAMES.filter((name) => findPrivacyObstacle(createStrategy(name)) === undefined);
    expect(possible).toEqual([
      ...["fedavg", "fedprox", "fedavgm", "fedadagrad", "fedyogi", "fedadam", "ffa-lora", "rolora", "fedsa-lora", "fedsvd", "fedot", "ditto", "feddpa"],
    ]);
    expect(findPrivacyObstacle(createStrategy("scaffold"))).toMatch(/control variate/u);
    expect(findPrivacyObstacle(createStrategy("fedbuff"))).toMatch(/how fast clients are/u);
    expect(findPrivacyObstacle(createStrategy("centralized"))).toMatch(/no clients to protect/u);
    expect(findPrivacyObstacle(createStrategy("local"))).toMatch(/nothing is sent/u);
  });

  test.each(SIMPLE)("%s without noise and clipping is what it is without privacy", async (name) => {
    const options = makeOptions({ clientsPerRound: 6 });
    const plain = await runServer(options, makeDeps(name, { clients: CLIENTS }), freshStart());
    const quiet = await runServer(options, makeDeps(name, { clients: CLIENTS, privacy: mechanism() }), freshStart());
    const [expected, actual] = [globalOf(plain.adapters), globalOf(quiet.adapters)];
    expect(expected.length).toBe(3);
    // A unit of the grid is 1e4 / 2^30, in each of four rounds, and adaptive methods divide by a root that is at least 1e-3.
    for (const [i, value] of actual.entries()) expect(Math.abs(value - (expected[i] ?? 0))).toBeLessThan(2e-3);
  });
});

describe("rounds", () => {
  test("go on without any client, and their cohorts are those of the secret", async () => {
    const privacy = mechanism({ cohortSize: 0.3, noiseMultiplier: 1, clipNorm: 0.1 });
    const deps = makeDeps("fedavg", { clients: CLIENTS, privacy });
    const { round } = await runServer(makeOptions({ numRounds: 12 }), deps, freshStart());
    expect(round).toBe(12);
    const cohorts = deps.metrics.records.map((record) => record.clients.map(({ clientId }) => clientId));
    expect(cohorts).toEqual(Array.from({ length: 12 }, (_, index) => privacy.drawCohort(index + 1, 6).map((place) => `client-${String(place)}`)));
    expect(cohorts.some((cohort) => cohort.length === 0)).toBe(true);
    expect(cohorts.some((cohort) => cohort.length > 0)).toBe(true);
  });

  test("give every client at most the clipping norm, whatever it trained", async () => {
    const deps = makeDeps("fedavg", { clients: CLIENTS, privacy: mechanism({ clipNorm: 0.01 }) });
    const { adapters } = await runServer(makeOptions({ numRounds: 3 }), deps, freshStart());
    const moved = Math.hypot(...[0.5, 0.25, -1].map((start, i) => (globalOf(adapters)[i] ?? 0) - start));
    expect(moved).toBeGreaterThan(0);
    // Three means of vectors of norm 0.01, rounded to single precision.
    expect(moved).toBeLessThan(0.0301);
  });

  test("follow the clipping norm through checkpoints", async () => {
    const privacy = mechanism({ clipNorm: 0.01, noiseMultiplier: 0.2, adaptive: { targetQuantile: 0.5, learningRate: 0.5, countNoise: 0.3 } });
    const options = makeOptions({ numRounds: 5 });
    const whole = makeDeps("fedavg", { clients: CLIENTS, privacy });
    const uninterrupted = await runServer(options, whole, freshStart());
    const snapshot = whole.snapshots[1];
    if (snapshot === undefined) throw new Error("there is a checkpoint after the second round");
    const resumed = await runServer(options, makeDeps("fedavg", { clients: CLIENTS, privacy }), { kind: "snapshot", snapshot });
    expect(globalOf(resumed.adapters)).toEqual(globalOf(uninterrupted.adapters));
    const norms = whole.metrics.records.map(({ measures }) => measures.find(({ measure }) => measure === "privacy_clip_norm")?.value);
    expect(new Set(norms).size).toBe(5);
  });
});

describe("with a ledger", () => {
  const delta = 1e-3;
  const options = { cohortSize: 3, noiseMultiplier: 1.2, clipNorm: 0.5 };
  const one = (round: number) => ({ round, sampling: "poisson" as const, sampleRate: 0.5, noiseMultiplier: 1.2 });

  function open(path: string, budget: PrivacyBudget) {
    const ledger = new PrivacyLedger(path);
    ledger.beginArm({ name: "a", fingerprint: "f", isInsecure: true, claim: "{}" }, () => insecureSecret(1));
    return { ledger, privacy: mechanism(options, ledger.sinkOf("a", budget, () => new Date(0))) };
  }

  test("a run stops with the adapter of the last round that its budget pays for, which is evaluated and kept", async () => {
    const budget: PrivacyBudget = { delta, accountant: "rdp", epsilon: epsilonSpent([one(1), one(2), one(3)], { delta, accountant: "rdp" }) };
    const { ledger, privacy } = open(join(makeTemporaryFolder(), "privacy.sqlite"), budget);
    const deps = makeDeps("fedavg", { clients: CLIENTS, privacy });
    const { round, adapters } = await runServer(makeOptions({ numRounds: 10 }, { evaluateEvery: 10, checkpointEvery: 10 }), deps, freshStart());
    expect(round).toBe(3);
    expect(deps.metrics.records.map((record) => [record.round, record.evaluations.length])).toEqual([[1, 0], [2, 0], [3, 1]]);
    expect(deps.snapshots.map((snapshot) => snapshot.round)).toEqual([3]);
    expect(deps.snapshots[0]?.state.server.arrays["adapter"]).toEqual(globalOf(adapters));
    expect(ledger.releases("a").map((release) => release.round)).toEqual([1, 2, 3]);
    // Resumed, it has nothing left to do.
    const [snapshot] = deps.snapshots;
    if (snapshot === undefined) throw new Error("the last round has a checkpoint");
    const resumed = await runServer(makeOptions({ numRounds: 10 }), makeDeps("fedavg", { clients: CLIENTS, privacy }), { kind: "snapshot", snapshot });
    expect(resumed.round).toBe(3);
    ledger.close();
  });

  test("a round that is computed again gives the same result and is charged once", async () => {
    const path = join(makeTemporaryFolder(), "privacy.sqlite");
    const results: Float32Array[] = [];
    for (let attempt = 0; attempt < 3; attempt++) {
      // From the start each time, as after a crash before the first checkpoint.
      const { ledger, privacy } = open(path, { delta, accountant: "rdp" });
      const { adapters } = await runServer(makeOptions({ numRounds: 2 }), makeDeps("fedavg", { clients: CLIENTS, privacy }), freshStart());
      results.push(globalOf(adapters));
      expect(ledger.releases("a").length).toBe(2);
      ledger.close();
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  test("a released round that comes out differently and cannot be paid for again ends the run before it", async () => {
    const path = join(makeTemporaryFolder(), "privacy.sqlite");
    const budget: PrivacyBudget = { delta, accountant: "rdp", epsilon: epsilonSpent([one(1), one(2)], { delta, accountant: "rdp" }) };
    const first = open(path, budget);
    const options = makeOptions({ numRounds: 2 });
    const deps = makeDeps("fedavg", { clients: CLIENTS, privacy: first.privacy });
    await runServer(options, deps, freshStart());
    first.ledger.close();
    const [snapshot] = deps.snapshots;
    if (snapshot === undefined) throw new Error("the first round has a checkpoint");
    const second = open(path, budget);
    const others = CLIENTS.map(({ id }) => makeClient(id, [pointSample(9, 9, 9), pointSample(1, 2, 3)]));
    const { round, adapters } = await runServer(options, makeDeps("fedavg", { clients: others, privacy: second.privacy }), { kind: "snapshot", snapshot });
    expect(round).toBe(1);
    expect(globalOf(adapters)).toEqual(snapshot.state.server.arrays["adapter"]);
    expect(second.ledger.releases("a").length).toBe(2);
    second.ledger.close();
  });

  test("a client that answers differently the second time makes a second release, with noise of its own", () => {
    const path = join(makeTemporaryFolder(), "privacy.sqlite");
    const means: Float64Array[] = [];
    for (const value of [0.1, 0.2]) {
      const { ledger, privacy } = open(path, { delta, accountant: "rdp" });
      const sum = privacy.startRound(1, 0.5, 2);
      sum.add(Float32Array.of(value, 0), 1);
      means.push(sum.finish().mean);
      expect(ledger.releases("a").length).toBe(means.length);
      ledger.close();
    }
    // The difference of both outputs is not that of the inputs: 0.1 / 3.
    expect(Math.abs((means[1]?.[1] ?? 0) - (means[0]?.[1] ?? 0))).toBeGreaterThan(1e-3);
  });
});
