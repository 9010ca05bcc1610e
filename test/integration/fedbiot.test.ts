/** FedBiOT in whole runs on a real model of six layers: the server's alignment, what clients get, what is judged and saved. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseSetOption, loadConfig } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { evaluationsByArm } from "../../src/metrics/queries.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import type { RunEvent } from "../../src/run/events.js";
import { runCli } from "../helpers/run-cli.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const ARM = "f16-fedbiot";
/** Six layers, the adapter on the last, three of the five others in the emulator. */
const SHAPE = "lastLayers: 1, dropRate: 0.4";
const ALIGNMENT = "firstAlignSteps: 12, alignSteps: 3, alignLearningRate: 1.0e-2, emulatorRank: 3";
/** Numbers of a pair on attn_q [256 -> 256] and one on attn_v [256 -> 128] of one layer, per rank. */
const PER_RANK = 512 + 384;

function fedBiOt(options: string): string {
  return `{precision: F16, strategy: fedbiot, strategyOptions: {${options}}}`;
}

/** An experiment with these arms on a model of six layers and a file of server data, evaluated after each round. */
async function loadArms(arms: string, { withData = true, settings = [] as readonly string[] } = {}) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ["evaluation: {every: 1}", "checkpoint: {every: 1}", `arms: ${arms}`], { numLayers: 6 });
  const serverFile = join(folder, "server.json");
  writeFileSync(serverFile, JSON.stringify(Array.from({ length: 7 }, (_, index) => ({ instruction: `${String(index)}+2`, response: ` ${String(index + 2)}` }))));
  const all = [...(withData ? [`data.serverFile=${serverFile}`] : []), ...settings];
  const { config } = await loadConfig({ file, overrides: all.map((text) => parseSetOption(text)) });
  return { config, out: join(folder, "out"), folder, file, serverFile };
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

function measuresOf(out: string, measure: string): readonly number[] {
  const database = openResults(out);
  const rows = database.prepare<[string], { value: number }>("SELECT value FROM round_measures WHERE measure = ? AND layer IS NULL ORDER BY round").all(measure);
  database.close();
  return rows.map(({ value }) => value);
}

/** What the rows of clients have, by round and client id. */
function bytesOf(out: string): readonly { readonly round: number; readonly id: string; readonly up: number; readonly down: number }[] {
  const database = openResults(out);
  const rows = database
    .prepare<[], { round: number; id: string; up: number; down: number }>(
      "SELECT round, client_id AS id, upload_bytes AS up, download_bytes AS down FROM client_rounds ORDER BY round, client_id",
    )
    .all();
  database.close();
  return rows;
}

test.each(["plain", "layerwise"])("the %s alignment brings the emulator near to the model, clients train beside its adapter, and both models are judged", async (hiddenLoss) => {
  const { config, out, folder } = await loadArms(`[${fedBiOt(`${SHAPE}, ${ALIGNMENT}, hiddenLoss: ${hiddenLoss}`)}]`);
  const seen: RunEvent[] = [];
  const { summary } = await runExperiment(config, out, { onEvent: (event) => void seen.push(event) });
  const [before, after, divergence] = ["alignment_hidden_before", "alignment_hidden", "alignment_divergence"].map((name) => measuresOf(out, name));
  expect([before, after, divergence].map((values) => values?.length)).toEqual([3, 3, 3]);
  expect(after?.[0]).toBeLessThan(before?.[0] ?? 0);
  expect(after?.[2]).toBeLessThan(before?.[0] ?? 0);
  expect(seen.filter(({ event }) => event === "server_step")).toHaveLength(12 + 3 + 3);
  expect(seen.filter(({ event }) => event === "server_trained")).toHaveLength(3);

  const [inEmulator, inFullModel] = [lossesOf(out, ARM, "heldout_loss@emulator"), lossesOf(out, ARM, "heldout_loss")];
  expect([inEmulator.length, inFullModel.length]).toEqual([4, 4]);
  expect(summary.emulated).toEqual([
    { arm: ARM, round: 3, emulatorBefore: inEmulator[0], emulatorLoss: inEmulator[3], fullBefore: inFullModel[0], fullLoss: inFullModel[3] },
  ]);

  // Aligned anew in each round, so everybody gets the emulator's adapter each time.
  for (const { up, down } of bytesOf(out)) expect({ up, down }).toEqual({ up: 4 * 2 * PER_RANK, down: 4 * (2 * PER_RANK + 3 * 3 * PER_RANK) });

  // A client's model holds the kept layers and nothing else, and what it is sent is made for them.
  const { addon } = loadNative();
  const emulator = await BaseModel.open(addon, join(out, "emulators", `${ARM}.gguf`), { numThreads: 1 });
  const aligned = await emulator.loadAdapter(join(out, "emulators", "adapters", `${ARM}.gguf`));
  const full = await BaseModel.open(addon, join(folder, "tiny.gguf"), { numThreads: 1 });
  const result = await full.loadAdapter(join(out, "adapters", `${ARM}.gguf`));
  expect([emulator.info.numLayers, full.info.numLayers]).toEqual([4, 6]);
  expect(emulator.info.weightBytes).toBeLessThan(full.info.weightBytes);
  expect(aligned.options).toMatchObject({ rank: 3, loraAlpha: 6, layers: [0, 1, 2] });
  expect(result.options).toMatchObject({ rank: 2, layers: [5] });
  emulator.dispose();
  full.dispose();
});

test("without alignment it is offsite tuning on the last layers, bit for bit", async () => {
  const offsite = `{precision: F16, strategy: fedot, strategyOptions: {firstLayers: 0, ${SHAPE}}}`;
  const { config, out } = await loadArms(`[${fedBiOt(`${SHAPE}, proximalMu: 0, firstAlignSteps: 0, alignSteps: 0`)}, ${offsite}]`);
  await runExperiment(config, out);
  for (const metric of ["heldout_loss", "heldout_loss@emulator"]) expect(lossesOf(out, ARM, metric)).toEqual(lossesOf(out, "f16-fedot", metric));
  const { adapters } = readRunContents(out);
  expect(adapters[`${ARM}.gguf`]).toBe(adapters["f16-fedot.gguf"]);
  expect(existsSync(join(out, "emulators", "adapters"))).toBe(false);
});

test("an emulator that stays as it was aligned first is sent to each client once", async () => {
  const { config, out } = await loadArms(`[${fedBiOt(`${SHAPE}, ${ALIGNMENT}, alignEvery: 0`)}]`);
  await runExperiment(config, out);
  expect(new Set(measuresOf(out, "alignment_hidden")).size).toBe(1);
  const known = new Set<string>();
  for (const { id, down } of bytesOf(out)) {
    expect(down).toBe(4 * (2 * PER_RANK + (known.has(id) ? 0 : 3 * 3 * PER_RANK)));
    known.add(id);
  }
  expect(known.size).toBeLessThan(9);
});

test("the dry run knows the bytes of every round", async () => {
  for (const alignEvery of [1, 0]) {
    const { config, out, file, serverFile } = await loadArms(`[${fedBiOt(`${SHAPE}, ${ALIGNMENT}, alignEvery: ${String(alignEvery)}`)}]`);
    const { stdout, stderr } = await runCli(["run", file, "--server-data", serverFile, "--dry-run", "--json"]);
    expect(stderr).toBe("");
    await runExperiment(config, out);
    const inAll = bytesOf(out).reduce((sum, { up, down }) => sum + up + down, 0);
    expect(JSON.parse(stdout)).toMatchObject({ arms: [{ name: ARM, trainableParameters: 2 * PER_RANK, bytesInAll: inAll }] });
  }
});

test("interrupted after a round and resumed, it ends like a run that was left alone", async () => {
  const { config, out, folder } = await loadArms(`[${fedBiOt(`${SHAPE}, ${ALIGNMENT}, alignMu: 0.1`)}]`);
  await runExperiment(config, join(folder, "whole"));
  const abort = new AbortController();
  const stopped = runExperiment(config, out, {
    signal: abort.signal,
    onEvent: (event) => {
      // In the middle of the server's alignment of round 3.
      if (event.event === "server_step" && event.round === 3 && event.step === 2) abort.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });
  await resumeExperiment(out);
  expect(readRunContents(out)).toEqual(readRunContents(join(folder, "whole")));
});

test("what the server lacks is refused before anything is loaded", async () => {
  await expect(loadArms(`[${fedBiOt(SHAPE)}]`, { withData: false })).rejects.toThrow("data.serverFile: expected a file with samples of the server's own");
  await expect(loadArms(`[${fedBiOt(SHAPE)}]`, { settings: ["training.objective=dpo"] })).rejects.toThrow("training.objective: expected sft");
  const { config, out } = await loadArms(`[${fedBiOt("lastLayers: 6")}]`);
  await expect(runExperiment(config, out)).rejects.toThrow("firstLayers and lastLayers: expected together 1 to 5 of the model's 6 layers");
});

test("clients keep the hidden states below the adapter, those of an aligned emulator too, and change nothing by it", async () => {
  const arms = `[${fedBiOt(`${SHAPE}, ${ALIGNMENT}, alignEvery: 2`)}]`;
  const contents = [];
  for (const settings of [[], ["hiddenStateCache=off"]]) {
    const { config, out } = await loadArms(arms, { settings });
    await runExperiment(config, out);
    const { adapters, rows } = readRunContents(out);
    contents.push({ adapters, evaluations: rows["evaluations"] });
    const reused = measuresOf(out, "hidden_state_tokens_reused").reduce((sum, value) => sum + value, 0);
    expect(reused > 0).toBe(settings.length === 0);
  }
  expect(contents[0]).toEqual(contents[1]);
});
