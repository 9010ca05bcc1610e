/** Clients' own adapters in whole runs on the real addon: Ditto beside its global adapter, and fine-tuning after the last round. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { evaluateGlobal } from "../../src/evaluation/held-out.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { evaluationsByArm } from "../../src/metrics/queries.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { loadTrainingData } from "../../src/run/training-data.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const ARMS = [
  "arms:",
  "  - {name: tuned, precision: F16, strategy: fedavg, training: {personalization: {fineTuneSteps: 6, saveAdapters: true}}}",
  "  - {name: some, precision: F16, strategy: fedavg, training: {personalization: {fineTuneSteps: 2, numClients: 2, learningRate: 0.001}}}",
  "  - {name: ditto, precision: F16, strategy: ditto, training: {clientsPerRound: 6}}",
  "  - {name: feddpa, precision: F16, strategy: feddpa, training: {clientsPerRound: 6}}",
  "  - {name: plain, precision: F16, strategy: fedavg, training: {clientsPerRound: 6}}",
];

async function loadTiny() {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ARMS);
  return { config: (await loadConfig({ file })).config, folder };
}

function ownLosses(folder: string, arm: string, metric: string): ReadonlyMap<string, number | null> {
  const database = openMetricsDatabase(join(folder, "metrics.sqlite"), { readonly: true });
  const lines = evaluationsByArm(database, arm).filter((line) => line.round === 3 && line.metric === metric && line.clientId !== null);
  database.close();
  return new Map(lines.map(({ clientId, value }) => [clientId ?? "", value]));
}

test("own adapters are judged on the clients' own data beside the common ones, saved, and survive interruption", async () => {
  const { config, folder } = await loadTiny();
  const [undisturbed, stopped] = [join(folder, "undisturbed"), join(folder, "stopped")];
  const { summary } = await runExperiment(config, undisturbed);

  const [tuned, before] = ["heldout_loss@finetuned", "heldout_loss"].map((metric) => ownLosses(undisturbed, "tuned", metric));
  expect(tuned?.size).toBe(6);
  expect([...(tuned?.keys() ?? [])]).toEqual([...(before?.keys() ?? [])]);
  expect(ownLosses(undisturbed, "some", "heldout_loss@finetuned").size).toBe(2);
  expect(readdirSync(join(undisturbed, "adapters/tuned/finetuned"))).toHaveLength(6);
  expect(existsSync(join(undisturbed, "adapters/some"))).toBe(false);

  expect(ownLosses(undisturbed, "ditto", "heldout_loss@shared").size).toBe(6);
  expect(existsSync(join(undisturbed, "adapters/ditto.gguf"))).toBe(true);
  expect(readdirSync(join(undisturbed, "adapters/ditto"))).toHaveLength(6);

  expect(summary.personal?.map(({ arm, adapter, numClients }) => [arm, adapter, numClients])).toEqual([
    ["tuned", "fine-tuned", 6],
    ["some", "fine-tuned", 2],
    ["ditto", "personal", 6],
    ["feddpa", "personal", 6],
  ]);
  // Beside the personal ones the global adapter of both is FedAvg's.
  for (const arm of ["ditto", "feddpa"]) {
    expect(ownLosses(undisturbed, arm, "heldout_loss@shared")).toEqual(ownLosses(undisturbed, "plain", "heldout_loss"));
    expect(readFileSync(join(undisturbed, `adapters/${arm}.gguf`))).toEqual(readFileSync(join(undisturbed, "adapters/plain.gguf")));
  }
  // Six more steps at the full rate on a client's own data: its samples are alike, so the mean falls.
  const [line] = summary.personal ?? [];
  expect(line?.ownLoss).toBeLessThan(line?.lossBefore ?? Number.NaN);

  const interrupt = new AbortController();
  const run = runExperiment(config, stopped, {
    signal: interrupt.signal,
    onEvent: (event) => {
      if (event.event === "fine_tuned" && event.arm === "tuned" && event.done === 3) interrupt.abort();
    },
  });
  await expect(run).rejects.toMatchObject({ code: "CANCELLED" });
  expect(ownLosses(stopped, "tuned", "heldout_loss@finetuned").size).toBe(3);
  await resumeExperiment(stopped);
  expect(readRunContents(stopped)).toEqual(readRunContents(undisturbed));
});

test("the saved file of a FedDPA client, one adapter of twice the rank, does what the run evaluated, and so does a fine-tuned one", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const arm = "arms: [{name: dual, precision: source, strategy: feddpa, training: {clientsPerRound: 6, personalization: {fineTuneSteps: 2, saveAdapters: true}}}]";
  const { file } = writeTinyExperiment(folder, [arm, "strategyOptions: {globalWeight: 0.25}"]);
  const { config } = await loadConfig({ file });
  const out = join(folder, "out");
  await runExperiment(config, out);
  const model = await BaseModel.open(loadNative().addon, config.model, { numThreads: 1 });
  const tokenizer = await Tokenizer.open(loadNative().addon, config.model);
  const { heldOut } = await loadTrainingData(config, tokenizer);
  for (const [path, metric] of [["adapters/dual/ana.gguf", "heldout_loss"], ["adapters/dual/finetuned/ana.gguf", "heldout_loss@finetuned"]] as const) {
    const { options, weights } = await model.loadAdapter(join(out, path));
    // Rank 2 of the global adapter beside rank 2 of the local one.
    expect(options.rank).toBe(4);
    const rows = await evaluateGlobal({ trainer: new NativeTrainer(model, options), heldOut, microBatchTokens: 64 }, weights);
    const loss = rows.find(({ clientId }) => clientId === "ana")?.metrics.heldout_loss ?? Number.NaN;
    const recorded = ownLosses(out, "dual", metric).get("ana") ?? Number.NaN;
    // The same numbers summed in another order.
    expect(Math.abs(loss - recorded)).toBeLessThan(1e-5 * recorded);
  }
  tokenizer.dispose();
  model.dispose();
});

test("with similaritySamples FedDPA trains and saves what it does without, and judges clients' adapters by input, alike after an interruption", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const arm = (name: string, options: string) => `{name: ${name}, precision: source, strategy: feddpa, training: {clientsPerRound: 6}, strategyOptions: ${options}}`;
  const { file } = writeTinyExperiment(folder, [`arms: [${arm("fixed", "{}")}, ${arm("weighed", "{similaritySamples: 2}")}]`]);
  const { config } = await loadConfig({ file });
  const [out, stopped] = [join(folder, "out"), join(folder, "stopped")];
  await runExperiment(config, out);
  expect(ownLosses(out, "weighed", "heldout_loss@shared")).toEqual(ownLosses(out, "fixed", "heldout_loss@shared"));
  const [fixed, weighed] = ["fixed", "weighed"].map((name) => ownLosses(out, name, "heldout_loss"));
  expect([...(weighed?.keys() ?? [])]).toEqual([...(fixed?.keys() ?? [])]);
  for (const [clientId, loss] of weighed ?? []) expect([clientId, loss === fixed?.get(clientId)]).toEqual([clientId, false]);
  for (const name of readdirSync(join(out, "adapters/fixed"))) {
    expect(readFileSync(join(out, "adapters/weighed", name))).toEqual(readFileSync(join(out, "adapters/fixed", name)));
  }
  const interrupt = new AbortController();
  const run = runExperiment(config, stopped, {
    signal: interrupt.signal,
    onEvent: (event) => {
      if (event.event === "round_finished" && event.arm === "weighed" && event.round === 2) interrupt.abort();
    },
  });
  await expect(run).rejects.toMatchObject({ code: "CANCELLED" });
  await resumeExperiment(stopped);
  expect(readRunContents(stopped)).toEqual(readRunContents(out));
});
