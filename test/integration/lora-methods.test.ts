/** The methods made for LoRA through the library with the real addon and a tiny model: they learn, and say how exact they were. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AGGREGATION_ERROR } from "../../src/adapter/aggregation-error.js";
import { loadConfig } from "../../src/config/load.js";
import { evaluateGlobal } from "../../src/evaluation/held-out.js";
import { runExperiment } from "../../src/experiment.js";
import { sequencesOf } from "../../src/federated/local-trainer.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { meanMeasure, measuresByArm } from "../../src/metrics/queries.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { loadTrainingData } from "../../src/run/training-data.js";
import { stockLogProbabilities } from "../helpers/stock-llama.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const EXACT = ["ffa-lora", "rolora", "fedsvd", "fedex-lora", "flora"];
const OTHERS = ["fedavg", "flexlora", "florist", "hetlora", "lora-fair"];

test("every method learns; exact ones have no aggregation error, and the bytes are those of what is sent", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const names = [...EXACT, ...OTHERS, "fedsa-lora", "fed-sb"];
  const { file } = writeTinyExperiment(folder, [
    `arms: {precisions: [F16], strategies: [${names.join(", ")}], byStrategy: {hetlora: {strategyOptions: {clientRanks: [1, 2]}}}}`,
  ]);
  const { config } = await loadConfig({ file });
  const out = join(folder, "out");
  const { summary } = await runExperiment(config, out);

  const base = summary.rows.find(({ adapter }) => adapter === "base")?.heldOutLoss ?? Number.NaN;
  for (const name of names) expect([name, summary.rows.find(({ adapter }) => adapter === name)?.heldOutLoss]).toEqual([name, expect.any(Number)]);
  for (const { adapter, heldOutLoss } of summary.rows) if (adapter !== "base") expect([adapter, (heldOutLoss ?? 0) < base]).toEqual([adapter, true]);

  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const errorOf = (name: string) => meanMeasure(database, `f16-${name}`, AGGREGATION_ERROR) ?? Number.NaN;
  // Weights are rounded to single precision, and a root of a difference of squares keeps half of double's digits.
  for (const name of EXACT) expect([name, errorOf(name) < 1e-6]).toEqual([name, true]);
  for (const name of OTHERS) expect([name, errorOf(name) > 1e-4]).toEqual([name, true]);
  // In the first round all train alike, and the nearest product of the rank is nearer than any other adapter of it.
  const [first, ofFedAvg] = ["flexlora", "fedavg"].map((name) => measuresByArm(database, `f16-${name}`)[0]?.value ?? Number.NaN);
  expect(first).toBeLessThan(ofFedAvg ?? Number.NaN);
  expect(errorOf("fedsa-lora")).toBeNaN();
  // The first round decomposes a mean of a higher rank, the others average the matrices between fixed factors.
  const errorsOfFedSb = measuresByArm(database, "f16-fed-sb").filter(({ measure, layer }) => measure === AGGREGATION_ERROR && layer === null);
  expect(errorsOfFedSb.map(({ value }) => (value ?? Number.NaN) < 1e-6)).toEqual([false, true, true]);
  const rows = measuresByArm(database, "f16-fedavg").filter(({ measure }) => measure === AGGREGATION_ERROR);
  expect(rows.map(({ round, layer }) => [round, layer])).toEqual([1, 2, 3].flatMap((round) => [null, 0, 1].map((layer) => [round, layer])));

  const bytes = database
    .prepare<[], { arm: string; up: number; down: number }>("SELECT arm, upload_bytes AS up, download_bytes AS down FROM client_rounds WHERE round = 1")
    .all();
  const numInner = 4 * 2 * 2;
  const lastRound = database.prepare<[], { up: number; down: number }>("SELECT upload_bytes AS up, download_bytes AS down FROM client_rounds WHERE arm = 'f16-fed-sb' AND round = 3").all();
  database.close();
  for (const { up, down } of lastRound) expect([up, [numInner, numInner + 2 * 2 * (256 + 256 + 256 + 128)].includes(down / 4)]).toEqual([4 * numInner, true]);
  // rank 2 on attn_q [256 -> 256] and attn_v [256 -> 128] of two layers.
  const [numA, numB] = [2 * 2 * (256 + 256), 2 * 2 * (256 + 128)];
  const bytesOf = (name: string) => bytes.find(({ arm }) => arm === `f16-${name}`);
  expect(bytesOf("ffa-lora")).toMatchObject({ up: 4 * numB, down: 4 * numB });
  expect(bytesOf("rolora")).toMatchObject({ up: 4 * numB, down: 4 * (numA + numB) });
  expect(bytesOf("fedsa-lora")).toMatchObject({ up: 4 * numA, down: 4 * numA });
  // The pair up and down; the stack of three clients goes down from the second round on, when there is one.
  expect(bytesOf("fedex-lora")).toMatchObject({ up: 4 * (numA + numB), down: 4 * (numA + numB) });
  expect(bytesOf("flora")).toMatchObject({ up: 4 * (numA + numB), down: 0 });
  // Each client has an adapter of its own: the ones of the rounds' cohorts together.
  expect(readdirSync(join(out, "adapters", "f16-fedsa-lora")).length).toBeGreaterThan(2);
});

test.each([
  // The pair and three residuals of (3 - 1) 2 directions each; three stacks of 3 x 2.
  ["fedex-lora", 64, "", 2 + 3 * 4],
  ["flora", 64, "", 3 * 6],
  ["fedex-lora", 3, "", 2 + 3],
  ["flora", 3, "", 3],
  ["fedex-lora", 3, "lora: {rank: 2, loraAlpha: 4, layers: [1]}", 2 + 3],
])("the saved file of %s with extraRank %i and %s, one adapter of rank %i, does what the run evaluated, here and in llama.cpp", async (name, extraRank, lora, rank) => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, [`arms: {precisions: [source], strategies: [${name}]}`, `strategyOptions: {extraRank: ${String(extraRank)}}`]);
  if (lora !== "") writeFileSync(file, readFileSync(file, "utf8").replace(/^lora: .*$/mu, lora));
  const { config } = await loadConfig({ file });
  const out = join(folder, "out");
  const { summary } = await runExperiment(config, out);
  const model = await BaseModel.open(loadNative().addon, config.model, { numThreads: 1 });
  const tokenizer = await Tokenizer.open(loadNative().addon, config.model);
  const { options, weights } = await model.loadAdapter(join(out, "adapters", `source-${name}.gguf`));
  const { heldOut } = await loadTrainingData(config, tokenizer);
  const [overall] = await evaluateGlobal({ trainer: new NativeTrainer(model, options), heldOut, microBatchTokens: 64 }, weights);
  tokenizer.dispose();
  model.dispose();
  const samples = heldOut.overall.flatMap((position) => sequencesOf(heldOut.samples.slice(position, position + 1)));
  const stock = await stockLogProbabilities(config.model, samples, join(out, "adapters", `source-${name}.gguf`));
  const numTokens = samples.reduce((sum, { supervised }) => sum + supervised.reduce((count, flag) => count + flag, 0), 0);
  const stockLoss = -stock.reduce((sum, logProbability) => sum + logProbability, 0) / numTokens;
  expect(options).toMatchObject({ rank, loraAlpha: 2 * rank });
  // The same numbers summed in another order.
  const [base, trained] = [summary.rows[0]?.heldOutLoss ?? Number.NaN, summary.rows[1]?.heldOutLoss ?? Number.NaN];
  expect(Math.abs((overall?.metrics.heldout_loss ?? Number.NaN) - trained)).toBeLessThan(1e-5 * trained);
  expect(base - trained).toBeGreaterThan(0.01);
  // llama.cpp rounds activations to the F16 of the weights, and keys and values: about 1e-3 per product, much less in a mean of many.
  expect(Math.abs(stockLoss - trained)).toBeLessThan(1e-3);
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const discarded = meanMeasure(database, `source-${name}`, "discarded_energy") ?? Number.NaN;
  database.close();
  if (extraRank === 64) expect(discarded).toBe(0);
  else expect(discarded).toBeGreaterThan(0);
});

test("what stands beside the pair keeps to the pair's layers", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const names = ["fedex-lora", "flora", "feddpa"];
  const { file } = writeTinyExperiment(folder, [`arms: [${names.map((name) => `{precision: F16, strategy: ${name}, lora: {layers: [1]}}`).join(", ")}]`]);
  const { config } = await loadConfig({ file });
  const { summary } = await runExperiment(config, join(folder, "out"));
  const base = summary.rows.find(({ adapter }) => adapter === "base")?.heldOutLoss ?? Number.NaN;
  for (const name of names) expect([name, (summary.rows.find(({ adapter }) => adapter === name)?.heldOutLoss ?? base) < base]).toEqual([name, true]);
});
