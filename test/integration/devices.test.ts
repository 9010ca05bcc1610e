/** Whole runs on simulated devices with the real addon: mixed precision in one federation, and an asynchronous server that is interrupted. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { clientRounds, precisionTotals } from "../../src/metrics/queries.js";
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
