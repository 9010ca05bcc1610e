/** Whole runs on simulated devices with the real addon: mixed precision in one federation, and an asynchronous server that is interrupted. */
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { clientRounds, precisionTotals } from "../../src/metrics/queries.js";
import { writeTinyGguf } from "../fixtures/tiny-gguf.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { readRunContents } from "../helpers/run-contents.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

async function loadTiny(lines: readonly string[]) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, lines);
  return { config: (await loadConfig({ file })).config, folder };
}

const PROFILES = [
  "federation:",
  "  devices:",
  "    profiles:",
  "      server: {tokensPerSecond: 1000, precision: F16}",
  "      desktop: {tokensPerSecond: 300, precision: Q8_0}",
  "      laptop: {tokensPerSecond: 100, precision: Q4_0}",
  '    clients: {"42": server, ana: desktop, "7": laptop, "../up": server, "Zoë 北": desktop, b: laptop}',
];

describe("a federation of a server with F16, a desktop with Q8_0 and a laptop with Q4_0", () => {
  test("trains one adapter, each client on its own base model, and shows figures per precision", async () => {
    const { config, folder } = await loadTiny(["arms: [{name: mixed, precision: F16, strategy: fedavg, training: {clientsPerRound: 6}}]", ...PROFILES]);
    const out = join(folder, "out");
    const { record, summary } = await runExperiment(config, out);
    expect(Object.keys(record.hashes).filter((role) => role.startsWith("model."))).toEqual(["model.F16", "model.Q8_0", "model.Q4_0"]);
    const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
    const rows = clientRounds(database, "mixed").filter(({ round }) => round === 1);
    const lines = precisionTotals(database);
    database.close();
    const precisions = new Map(rows.map(({ clientId, precision }) => [clientId, precision]));
    expect(precisions).toEqual(new Map([["../up", "F16"], ["42", "F16"], ["7", "Q4_0"], ["Zoë 北", "Q8_0"], ["ana", "Q8_0"], ["b", "Q4_0"]]));
    expect(lines.map(({ precision, numClients, numClientRounds }) => [precision, numClients, numClientRounds])).toEqual([
      ["F16", 2, 6],
      ["Q4_0", 2, 6],
      ["Q8_0", 2, 6],
    ]);
    const lossOn = (precision: string) => lines.find((line) => line.precision === precision)?.heldOutLoss ?? Number.NaN;
    expect(lossOn("F16")).toBe(summary.rows.find(({ adapter }) => adapter === "mixed")?.heldOutLoss);
    // The same adapter on a base model of 8 bits is almost the same model, and another one on 4 bits.
    expect(lossOn("Q8_0")).not.toBe(lossOn("F16"));
    expect(Math.abs(lossOn("Q8_0") - lossOn("F16"))).toBeLessThan(0.05);
    expect(lossOn("Q4_0")).not.toBe(lossOn("Q8_0"));
    expect(summary.byPrecision).toHaveLength(3);
    expect(summary.timeToQuality?.arms).toHaveLength(1);
  });

  test("trains other weights on another base model: the first client's update differs from that of a run on F16 alone", async () => {
    const updatesOf = async (lines: readonly string[]) => {
      const { config, folder } = await loadTiny(lines);
      await runExperiment(config, join(folder, "out"));
      const database = openMetricsDatabase(join(folder, "out", "metrics.sqlite"), { readonly: true });
      const rows = clientRounds(database, "arm").filter(({ round }) => round === 1);
      database.close();
      return new Map(rows.map(({ clientId, updateNorm }) => [clientId, updateNorm]));
    };
    const arm = "arms: [{name: arm, precision: F16, strategy: fedavg, training: {clientsPerRound: 6, numRounds: 1}}]";
    const mixed = await updatesOf([arm, ...PROFILES]);
    const plain = await updatesOf([arm]);
    expect(mixed.get("42")).toBe(plain.get("42"));
    expect(mixed.get("7")).not.toBe(plain.get("7"));
  });
});

describe("devices with files of their own", () => {
  const arm = "arms: [{name: mixed, precision: F16, strategy: fedavg, training: {clientsPerRound: 6, numRounds: 1}}]";
  const profiles = (laptop: string) => [
    "federation: {devices: {profiles: {",
    `  server: {tokensPerSecond: 1000}, laptop: {tokensPerSecond: 100, ${laptop}}},`,
    '  clients: {"42": server, ana: laptop, "7": laptop, "../up": server, "Zoë 北": laptop, b: laptop}}}',
  ];
  const rowsOf = (out: string) => {
    const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
    const rows = clientRounds(database, "mixed").map(({ clientId, precision, updateNorm, trainLoss }) => ({ clientId, precision, updateNorm, trainLoss }));
    database.close();
    return rows;
  };

  test("train on them as on the same precision and are recorded by name and hash", async () => {
    const made = await loadTiny([arm, ...profiles("precision: Q8_0")]);
    await runExperiment(made.config, join(made.folder, "out"));
    const { config, folder } = await loadTiny([arm, ...profiles("model: other/eight-bits.gguf")]);
    mkdirSync(join(folder, "other"));
    const quantized = await runExperiment(made.config, join(folder, "made"));
    expect(quantized.record.hashes["model.Q8_0"]).toBeDefined();
    const cached = readdirSync(process.env["FEDLLM_CACHE_DIR"] ?? "", { recursive: true, encoding: "utf8" }).find((name) => name.includes("Q8_0"));
    copyFileSync(join(process.env["FEDLLM_CACHE_DIR"] ?? "", cached ?? ""), join(folder, "other/eight-bits.gguf"));
    const out = join(folder, "out");
    const { record } = await runExperiment(config, out);
    expect(record.hashes["model.eight-bits.gguf"]).toBe(quantized.record.hashes["model.Q8_0"]);
    const named = rowsOf(join(made.folder, "out")).map((row) => ({ ...row, precision: row.precision === "Q8_0" ? "eight-bits.gguf" : row.precision }));
    expect(rowsOf(out)).toEqual(named);
    expect(new Set(named.map(({ precision }) => precision))).toEqual(new Set(["F16", "eight-bits.gguf"]));
  });

  test("must be of the same model, must be there, and cannot have a precision too", async () => {
    const other = await loadTiny([arm, ...profiles("model: other.gguf")]);
    writeTinyGguf(join(other.folder, "other.gguf"), { chatTemplate: "{{ 'different' }}" });
    await expect(runExperiment(other.config, join(other.folder, "out"))).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
    const missing = await loadTiny([arm, ...profiles("model: nowhere.gguf")]);
    await expect(runExperiment(missing.config, join(missing.folder, "out"))).rejects.toThrow(/nowhere\.gguf.*a readable GGUF file/u);
    await expect(loadTiny([arm, ...profiles("model: other.gguf, precision: Q8_0")])).rejects.toThrow(/either precision or model/u);
  });
});

describe("an asynchronous server", () => {
  test("interrupted with clients at work goes on as if it had not been", async () => {
    const lines = [
      "arms: {precisions: [F16], strategies: [fedasync], byStrategy: {fedasync: {training: {numRounds: 8}}}}",
      "federation: {devices: {profiles: {pc: {tokensPerSecond: 50, failureProbability: 0.1}}, speedSpread: {distribution: lognormal, sigma: 1}}}",
    ];
    const { config, folder } = await loadTiny(lines);
    const [undisturbed, stopped] = [join(folder, "undisturbed"), join(folder, "stopped")];
    await runExperiment(config, undisturbed);
    const interrupt = new AbortController();
    const run = runExperiment(config, stopped, {
      signal: interrupt.signal,
      onEvent: (event) => {
        if (event.event === "round_finished" && event.round === 3) interrupt.abort();
      },
    });
    await expect(run).rejects.toMatchObject({ code: "CANCELLED" });
    await resumeExperiment(stopped);
    expect(readRunContents(stopped)).toEqual(readRunContents(undisturbed));
    const database = openMetricsDatabase(join(stopped, "metrics.sqlite"), { readonly: true });
    const stale = clientRounds(database, "f16-fedasync").filter(({ staleness }) => (staleness ?? 0) > 0);
    database.close();
    expect(stale.length).toBeGreaterThan(0);
  });
});

/** FedAvg, in which one client is asked for more steps than it could make in an hour. */
const ENDLESS = `
export default {
  create: (_, { createFedAvg }) => {
    const fedAvg = createFedAvg();
    const configure = (...given) =>
      fedAvg.configure(...given).map((task) => (task.clientId === "42" ? { ...task, localSteps: 10_000_000 } : task));
    return { ...fedAvg, name: "endless", configure };
  },
};
`;

test("a client that still trains after wallClockTimeoutSeconds is stopped in the core, has a row, and the round goes on", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  writeFileSync(join(folder, "endless.mjs"), ENDLESS);
  const arm = "{precision: F16, strategy: ./endless.mjs, name: endless, training: {clientsPerRound: 6, numRounds: 2}}";
  const { file } = writeTinyExperiment(folder, [`arms: [${arm}]`, "federation: {wallClockTimeoutSeconds: 3}"]);
  const { config } = await loadConfig({ file });
  const out = join(folder, "out");
  await runExperiment(config, out);
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const rows = clientRounds(database, "endless");
  const rounds = database.prepare<[], { failed: number; succeeded: number }>("SELECT num_failed AS failed, num_succeeded AS succeeded FROM rounds WHERE round > 0").all();
  const events = database.prepare<[], string>("SELECT message FROM events WHERE kind = 'clientFailed' AND client_id = '42'").pluck().all();
  database.close();
  expect(rounds).toEqual([{ failed: 1, succeeded: 5 }, { failed: 1, succeeded: 5 }]);
  for (const { clientId, failureCode, numSteps } of rows) {
    expect([clientId, failureCode, numSteps]).toEqual(clientId === "42" ? ["42", "CLIENT_TIMEOUT", null] : [clientId, null, 2]);
  }
  expect(events).toEqual(Array.from({ length: 2 }, () => expect.stringMatching(/^CLIENT_TIMEOUT: stopped.* 3\.0 s of real time$/u) as unknown));
}, 60_000);
