/**
 * Goal: defects found by reading other projects' code of these methods, one test each, that ours has none of them. Two
 * more are beside their method: the inert proximal term (fedprox.test.ts) and the misspelt name (registry.test.ts).
 */
import { expect, test } from "vitest";
import { runServer, type FederationStart } from "../../../../src/federated/server.js";
import { createStrategy, STRATEGY_NAMES } from "../../../../src/federated/strategies/registry.js";
import { makeUpdate } from "../../../helpers/client-update.js";
import { makeClients, makeDeps, makeOptions } from "../../../../src/contract/federation.js";
import { QuadraticTrainer } from "../../../../src/contract/quadratic-trainer.js";

const { layout } = new QuadraticTrainer(3);

const start: FederationStart = { kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) };

test.each(STRATEGY_NAMES)(
  "%s goes on after the round it stopped in, where FedLLM-Bench starts again and FederatedScope forgets the round",
  async (name) => {
    const whole = makeDeps(name);
    const expected = await runServer(makeOptions(), whole, start);
    const [, second] = whole.snapshots;
    if (second === undefined) throw new Error("there is a snapshot of round 2");
    const resumed = makeDeps(name);
    expect(await runServer(makeOptions(), resumed, { kind: "snapshot", snapshot: second })).toEqual(expected);
    expect(resumed.metrics.records.map(({ round }) => round)).toEqual([3, 4]);
    // The learning rate goes down its cosine from round 3, not from round 1.
    expect(resumed.metrics.records).toEqual(whole.metrics.records.slice(2));
  },
);

test("local training of client 12 is of client 12, where FedLLM-Bench reads the last digit only", async () => {
  const deps = makeDeps("local", { clients: makeClients(13) });
  await runServer(makeOptions({ fixedClients: ["client-12"] }), deps, start);
  expect(deps.metrics.records.map(({ clients }) => clients.map(({ clientId }) => clientId))).toEqual(
    Array.from({ length: 4 }, () => ["client-12"]),
  );
});

test("a client that was not drawn has no row and no loss, where FedLLM-Bench keeps a loss of -1", async () => {
  const deps = makeDeps("fedavg");
  await runServer(makeOptions(), deps, start);
  for (const { cohortSize, clients } of deps.metrics.records) {
    expect(cohortSize).toBe(3);
    expect(clients).toHaveLength(3);
    for (const { trainLoss } of clients) expect(trainLoss).toBeGreaterThanOrEqual(0);
  }
});

test.each(STRATEGY_NAMES)(
  "with %s a client draws other samples in another round, where FlowerTune's order repeats",
  (name) => {
    const strategy = createStrategy(name);
    const plan = makeOptions().plan;
    const seeds = [1, 2, 3].map((round) => {
      const state = strategy.init(Float32Array.of(0));
      const context = { round, plan, numClients: 1, layout };
      return strategy.configure(state, [{ clientId: "a", numExamples: 400 }], context)[0]?.sampleSeed;
    });
    expect(new Set(seeds).size).toBe(3);
  },
);

test.each(["fedavg", "fedprox", "scaffold"])(
  "%s sums over all clients, where FLoRA's code keeps the first client times its weight",
  (name) => {
    const strategy = createStrategy(name);
    const answer = (clientId: string, numExamples: number, change: number) => ({
      ...makeUpdate(clientId, numExamples, [change]),
      controlVariateUpdate: Float32Array.of(0),
    });
    const updates = [answer("a", 1, 1), answer("b", 1, 2), answer("c", 2, 4)];
    const context = { round: 1, plan: makeOptions().plan, numClients: 3, layout };
    // 1/4 + 2/4 + 2 * 4/4
    expect(strategy.aggregate(strategy.init(Float32Array.of(0)), updates, context).arrays["adapter"]).toEqual(
      Float32Array.of(2.75),
    );
  },
);
