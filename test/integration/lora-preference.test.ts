/** Preferences with every strategy on the real addon and a tiny model; what FedEx-LoRA and FLoRA save does the same in llama.cpp. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runExperiment } from "../../src/experiment.js";
import { sequencesOf } from "../../src/federated/local-trainer.js";
import { createStrategy, STRATEGY_NAMES } from "../../src/federated/strategies/registry.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { clientRounds, evaluationsByArm } from "../../src/metrics/queries.js";
import { loadNative } from "../../src/native/load.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { loadTrainingData } from "../../src/run/training-data.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { stockLogProbabilities } from "../helpers/stock-llama.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

/** Four clients with 4 pairs each, all of which prefer the same answer; three rounds of two of them. */
async function loadPairs(arms: string, ...settings: readonly string[]) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const pairs = (user: number) => Array.from({ length: 4 }, (_, index) => ({ prompt: `${String(user)}+${String(index)}`, chosen: " yes", rejected: "no!" }));
  const { file } = writeTinyExperiment(folder, [`arms: ${arms}`], { numLayers: 3 });
  writeFileSync(join(folder, "clients.json"), JSON.stringify(Object.fromEntries(Array.from({ length: 4 }, (_, user) => [`user-${String(user)}`, pairs(user)]))));
  const config = await configOf(file, "training.objective=dpo", "training.clientsPerRound=2", "data.maxPromptLength=16", ...settings);
  return { config, out: join(folder, "out") };
}

const byStrategy = "{fedot: {strategyOptions: {firstLayers: 1, lastLayers: 1, dropRate: 0}}, fedbuff: {strategyOptions: {bufferSize: 2}}}";

/** A server that learns from answers has no pairs to learn from, and is refused. */
const names = STRATEGY_NAMES.filter((name) => createStrategy(name).serverSide === undefined);

test.each(["base", "round"])("every strategy learns preferences against the reference %s and records rewards", async (reference) => {
  const { config, out } = await loadPairs(`{precisions: [source], strategies: [${names.join(", ")}], byStrategy: ${byStrategy}}`, `training.dpo.reference=${reference}`);
  await runExperiment(config, out);
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  for (const name of names) {
    const rows = clientRounds(database, `source-${name}`);
    expect([name, rows.filter(({ failureCode }) => failureCode !== null)]).toEqual([name, []]);
    for (const { rewardMargin, rewardAccuracy } of rows) expect([name, Number.isFinite(rewardMargin), (rewardAccuracy ?? -1) >= 0]).toEqual([name, true, true]);
    const [loss] = evaluationsByArm(database, `source-${name}`).filter(({ round, metric, clientId }) => round > 0 && clientId === null && metric === "heldout_dpo_loss");
    // Before training both answers are as likely as under the base model, and the loss is log 2.
    expect([name, (loss?.value ?? Number.NaN) < Math.LN2]).toEqual([name, true]);
  }
  database.close();
}, 120_000);

test.each(["fedex-lora", "flora"])("the file of %s, trained on preferences, gives llama.cpp the run's log-probabilities of both answers", async (name) => {
  const { config, out } = await loadPairs(`{precisions: [source], strategies: [${name}]}`);
  await runExperiment(config, out);
  const tokenizer = await Tokenizer.open(loadNative().addon, config.model);
  const { heldOut } = await loadTrainingData(config, tokenizer);
  tokenizer.dispose();
  const sequences = sequencesOf(heldOut.overall.flatMap((position) => heldOut.samples.slice(position, position + 1)));
  const lora = join(out, "adapters", `source-${name}.gguf`);
  const [plain, trained] = [await stockLogProbabilities(config.model, sequences), await stockLogProbabilities(config.model, sequences, lora)];
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const rows = evaluationsByArm(database, `source-${name}`).filter(({ round, clientId }) => round > 0 && clientId === null);
  database.close();
  const valueOf = (wanted: string) => rows.find(({ metric }) => metric === wanted)?.value ?? Number.NaN;
  const meanOf = (values: readonly number[], parity: number) => values.filter((_, index) => index % 2 === parity).reduce((sum, value) => sum + value, 0) / (values.length / 2);
  // Sums over the few tokens of an answer, each off by the F16 of llama.cpp's activations, keys and values.
  expect(Math.abs(meanOf(trained, 0) - valueOf("heldout_chosen_log_probability"))).toBeLessThan(5e-3);
  expect(Math.abs(meanOf(trained, 1) - valueOf("heldout_rejected_log_probability"))).toBeLessThan(5e-3);
  expect(meanOf(trained, 0) - meanOf(trained, 1) - (meanOf(plain, 0) - meanOf(plain, 1))).toBeGreaterThan(0.1);
}, 60_000);
