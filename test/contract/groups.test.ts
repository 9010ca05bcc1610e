/**
 * One adapter per group: each group of a federation ends with the bits of a federation of its own, for every strategy that can
 * be grouped, and an interrupted run of groups equals an uninterrupted one.
 */
import { describe, expect, test } from "vitest";
import { makeClients, makeDeps, makeOptions } from "../../src/contract/index.js";
import { CheckpointFolder } from "../../src/federated/checkpoint.js";
import { createGrouped } from "../../src/federated/groups.js";
import type { AdapterSet } from "../../src/federated/protocol.js";
import { runServer, type FederationStart } from "../../src/federated/server.js";
import { createStrategy, STRATEGY_NAMES } from "../../src/federated/strategies/registry.js";
import type { Strategy } from "../../src/federated/strategy.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const clients = makeClients(9);
/** Groups of 5, 3 and 1 clients, spread over the list. */
const groupOf = new Map(clients.map(({ id }, k) => [id, k === 4 ? "alone" : k % 3 === 0 ? "thirds" : "others"]));
const NAMES = ["alone", "others", "thirds"];
const start = (): FederationStart => ({ kind: "weights", weights: Float32Array.of(0.5, 0.25, -1) });

const isGroupable = ({ participants, asynchronous, keepsFrozen, serverSide }: Strategy) =>
  participants === "clients" && asynchronous === undefined && keepsFrozen !== true && serverSide === undefined;
const groupable = STRATEGY_NAMES.filter((name) => isGroupable(createStrategy(name)));

/** The adapters of one group out of those of a grouped federation. */
function partOf(adapters: AdapterSet, group: string): unknown {
  if (adapters.kind === "perGroup") return { kind: "global", weights: adapters.weights.get(group) };
  if (adapters.kind === "global") throw new Error("a grouped federation has no adapter for all");
  const weights = new Map([...adapters.weights].filter(([clientId]) => groupOf.get(clientId) === group));
  return { kind: "perClient", weights, ...(adapters.shared === undefined ? {} : { shared: partOf(adapters.shared, group) }) };
}

describe.each(groupable)("strategy %s in groups", (name) => {
  test("each group is a federation of its own, bit for bit", async () => {
    const deps = makeDeps(createGrouped(createStrategy(name), groupOf), { clients, groupOf });
    const { adapters } = await runServer(makeOptions(), deps, start());
    for (const group of NAMES) {
      const members = clients.filter(({ id }) => groupOf.get(id) === group);
      const alone = makeDeps(createStrategy(name), { clients: members });
      expect(partOf(adapters, group)).toEqual((await runServer(makeOptions(), alone, start())).adapters);
      const rowsOf = (source: typeof deps) =>
        source.metrics.records.flatMap(({ round, clients: rows }) =>
          rows.filter(({ clientId }) => groupOf.get(clientId) === group).map(({ group: _group, ...row }) => ({ round, ...row })),
        );
      expect(rowsOf(deps)).toEqual(rowsOf(alone));
    }
    expect(deps.metrics.records.flatMap((record) => record.clients).every((row) => row.group === groupOf.get(row.clientId))).toBe(true);
  });

  test("interrupted after any round and resumed equals uninterrupted, bit for bit", async () => {
    const create = () => createGrouped(createStrategy(name), groupOf);
    const undisturbed = makeDeps(create(), { clients });
    const expected = await runServer(makeOptions(), undisturbed, start());
    for (const lastRound of [1, 3]) {
      const checkpoints = new CheckpointFolder(makeTemporaryFolder(), { configFingerprint: "config", layoutFingerprint: "layout" });
      const interrupt = new AbortController();
      const deps = makeDeps(create(), {
        clients,
        checkpoints,
        signal: interrupt.signal,
        onEvent: (event) => {
          if (event.type === "roundFinished" && event.round === lastRound) interrupt.abort();
        },
      });
      await expect(runServer(makeOptions(), deps, start())).rejects.toMatchObject({ code: "CANCELLED" });
      const loaded = await checkpoints.load();
      if (loaded === undefined) throw new Error("there is a checkpoint");
      const resumed = makeDeps(create(), { clients, checkpoints });
      resumed.metrics.records = deps.metrics.records;
      const result = await runServer(makeOptions(), resumed, { kind: "snapshot", snapshot: loaded.snapshot });
      expect(result.adapters).toEqual(expected.adapters);
      expect(resumed.metrics.records).toEqual(undisturbed.metrics.records);
    }
  });
});

test("pooled data has one pool for each group, which trains as if the others were not there", async () => {
  // Dropout is drawn by the participant's id, and a pool's has the group in it.
  const options = makeOptions({}, { dropout: 0 });
  const deps = makeDeps(createGrouped(createStrategy("centralized"), groupOf), { clients, groupOf });
  const { adapters } = await runServer(options, deps, start());
  for (const group of NAMES) {
    const alone = makeDeps("centralized", { clients: clients.filter(({ id }) => groupOf.get(id) === group) });
    expect(partOf(adapters, group)).toEqual((await runServer(options, alone, start())).adapters);
    const rows = deps.metrics.records.flatMap((record) => record.clients.filter((row) => row.group === group));
    const expected = alone.metrics.records.flatMap((record) => record.clients);
    expect(rows).toEqual(expected.map((row) => ({ ...row, clientId: `pooled ${group}`, group })));
    expect(rows).toHaveLength(4);
  }
});

test("a group whose clients all fail keeps its adapter, and the others go on", async () => {
  const broken = clients.map((client) =>
    groupOf.get(client.id) === "thirds" ? { ...client, readSamples: () => Promise.reject(new Error("switched off")) } : client,
  );
  const deps = makeDeps(createGrouped(createStrategy("fedavg"), groupOf), { clients: broken });
  const { adapters } = await runServer(makeOptions(), deps, start());
  const whole = await runServer(makeOptions(), makeDeps(createGrouped(createStrategy("fedavg"), groupOf), { clients }), start());
  expect(partOf(adapters, "thirds")).toEqual({ kind: "global", weights: Float32Array.of(0.5, 0.25, -1) });
  expect(partOf(adapters, "others")).toEqual(partOf(whole.adapters, "others"));
});

test("groups draw on devices as if they were alone, and the round ends with the slowest group", async () => {
  const participation = {
    overSelection: 1.5,
    attempts: 1,
    deviceOf: (clientId: string) => ({
      name: "pc",
      tokensPerSecond: 10 + 7 * Number(clientId.slice(-1)),
      uploadBytesPerSecond: 1e3,
      downloadBytesPerSecond: 1e3,
      failureProbability: 0.2,
    }),
  };
  const settings = makeOptions({ clientsPerRound: 2 }, { participation });
  const deps = makeDeps(createGrouped(createStrategy("fedavg"), groupOf), { clients });
  const { adapters } = await runServer(settings, deps, start());
  const durations: number[][] = [];
  for (const group of ["others", "thirds"]) {
    const alone = makeDeps("fedavg", { clients: clients.filter(({ id }) => groupOf.get(id) === group) });
    expect(partOf(adapters, group)).toEqual((await runServer(settings, alone, start())).adapters);
    durations.push(alone.metrics.records.map(({ simulatedDurationMs = 0 }) => simulatedDurationMs));
  }
  for (const [index, { simulatedDurationMs = 0 }] of deps.metrics.records.entries()) {
    expect(simulatedDurationMs).toBeGreaterThanOrEqual(Math.max(...durations.map((list) => list[index] ?? 0)));
  }
});

test.each(STRATEGY_NAMES.filter((name) => !groupable.includes(name) && name !== "centralized"))("strategy %s is refused with a reason", (name) => {
  expect(() => createGrouped(createStrategy(name), groupOf)).toThrow(/federation\.adapterPerGroup.*(its server has one buffer|its server aligns one emulator|what it keeps beside)/u);
});
