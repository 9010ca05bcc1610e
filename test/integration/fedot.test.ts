/** Federated offsite tuning in whole runs on a real model of six layers: what clients get, what comes of it, and that it goes on. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { evaluationsByArm, events } from "../../src/metrics/queries.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { runCli } from "../helpers/run-cli.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const ARM = "f16-fedot";

/** An experiment with these arms on a model of six layers, evaluated after each round. */
async function loadArms(arms: string, changes: readonly string[] = []) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ["evaluation: {every: 1}", "checkpoint: {every: 1}", `arms: ${arms}`, ...changes], { numLayers: 6 });
  return { config: (await loadConfig({ file })).config, out: join(folder, "out"), folder };
}

function fedOt(options: string): string {
  return `{precision: F16, strategy: fedot, strategyOptions: {${options}}}`;
}

function openResults(out: string) {
  return openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
}

/** The overall held-out losses by round. */
function lossesOf(out: string, arm: string, metric: string): readonly (number | null)[] {
  const database = openResults(out);
  const lines = evaluationsByArm(database, arm).filter((line) => line.clientId === null && line.metric === metric);
  database.close();
  return lines.map(({ value }) => value);
}

test("clients learn on a model without some layers, and the adapter serves the full one", async () => {
  const { config, out } = await loadArms(`[${fedOt("firstLayers: 1, lastLayers: 1, dropRate: 0.5")}]`);
  const { summary, paths } = await runExperiment(config, out);
  const inEmulator = lossesOf(out, ARM, "heldout_loss@emulator");
  const inFullModel = lossesOf(out, ARM, "heldout_loss");
  expect([inEmulator.length, inFullModel.length]).toEqual([4, 4]);
  expect(inEmulator[3]).toBeLessThan(inEmulator[0] ?? 0);
  expect(inFullModel[3]).not.toBe(inFullModel[0]);

  expect(summary.emulated).toEqual([
    { arm: ARM, round: 3, emulatorBefore: inEmulator[0], emulatorLoss: inEmulator[3], fullBefore: inFullModel[0], fullLoss: inFullModel[3] },
  ]);
  expect(readFileSync(paths.summary, "utf8")).toContain((inFullModel[3] ?? 0).toFixed(4));
  expect(readFileSync(paths.summary, "utf8")).toContain("Adapters trained on an emulator");

  const { addon } = loadNative();
  const emulator = await BaseModel.open(addon, join(out, "emulators", `${ARM}.gguf`), { numThreads: 1 });
  expect(emulator.info.numLayers).toBe(4);
  emulator.dispose();
  const full = await BaseModel.open(addon, join(out, "..", "tiny.gguf"), { numThreads: 1 });
  const { options } = await full.loadAdapter(join(out, "adapters", `${ARM}.gguf`));
  full.dispose();
  expect(options).toMatchObject({ rank: 2, layers: [0, 5] });

  const database = openResults(out);
  const notes = events(database).filter(({ kind }) => kind === "emulatorMade");
  const bytes = database.prepare<[], { up: number; down: number }>("SELECT upload_bytes AS up, download_bytes AS down FROM client_rounds").all();
  database.close();
  expect(notes.map(({ message }) => message)).toEqual([expect.stringMatching(/^layers 0 1 4 5; SHA-256 [0-9a-f]{64}$/)]);
  // Rank 2 on attn_q [256 -> 256] and attn_v [256 -> 128] of two layers, in single precision.
  const sent = 4 * 2 * 2 * (512 + 384);
  for (const row of bytes) expect(row).toEqual({ up: sent, down: sent });
});

test("an emulator of all layers gives FedAvg on the first and last ones, bit for bit", async () => {
  const plain = "{precision: F16, strategy: fedavg, lora: {layers: [0, 5]}}";
  const { config, out } = await loadArms(`[${fedOt("firstLayers: 1, lastLayers: 1, dropRate: 0")}, ${plain}]`);
  await runExperiment(config, out);
  const expected = lossesOf(out, "f16-fedavg", "heldout_loss");
  expect(lossesOf(out, ARM, "heldout_loss")).toEqual(expected);
  expect(lossesOf(out, ARM, "heldout_loss@emulator")).toEqual(expected);
  const { adapters } = readRunContents(out);
  expect(adapters[`${ARM}.gguf`]).toBe(adapters["f16-fedavg.gguf"]);
});

test("the dry run knows the layers", async () => {
  const { folder } = await loadArms(`[${fedOt("firstLayers: 1, lastLayers: 1")}]`);
  const { stdout, stderr } = await runCli(["run", join(folder, "experiment.yaml"), "--dry-run", "--json"]);
  expect(stderr).toBe("");
  // Rank 2 on attn_q and attn_v of two of the six layers.
  expect(JSON.parse(stdout)).toMatchObject({ arms: [{ name: ARM, trainableParameters: 2 * 2 * (512 + 384) }] });
});

test("interrupted after a round and resumed, it ends like a run that was left alone", async () => {
  const arms = `[${fedOt("firstLayers: 0, lastLayers: 2, dropRate: 0.5")}]`;
  const { config, out, folder } = await loadArms(arms);
  await runExperiment(config, join(folder, "whole"));
  const abort = new AbortController();
  const stopped = runExperiment(config, out, {
    signal: abort.signal,
    onEvent: (event) => {
      if (event.event === "round_finished" && event.round === 2) abort.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });
  await resumeExperiment(out);
  expect(readRunContents(out)).toEqual(readRunContents(join(folder, "whole")));
});

test.each([
  [fedOt("firstLayers: 3, lastLayers: 3"), "firstLayers and lastLayers: expected together 1 to 5 of the model's 6 layers"],
  [fedOt("firstLayers: 2, lastLayers: 2, dropRate: 0.9"), "dropRate: expected one that leaves a layer of the 2 between"],
  ["{precision: F16, strategy: fedot, lora: {layers: [0]}}", "lora.layers of arm f16-fedot: expected none"],
])("%s is refused before anything is trained", async (arm, message) => {
  const { config, out } = await loadArms(`[${arm}]`);
  await expect(runExperiment(config, out)).rejects.toThrow(message);
  expect(existsSync(join(out, "metrics.sqlite"))).toBe(false);
});
