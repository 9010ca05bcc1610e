/**
 * Goal: a preset can be planned at once, without data and model, and run at once with synthetic data on the built-in model; what is
 * synthetic is called so wherever the run is described.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, test, vi } from "vitest";
import { locateExperiment } from "../../src/config/builtin.js";
import { loadConfig, parseSetOption } from "../../src/config/load.js";
import { syntheticSource } from "../../src/config/data-source.js";
import { CATALOGUE } from "../../src/data/catalogue.js";
import { syntheticText, writeSyntheticData } from "../../src/data/synthetic/write.js";
import { runExperiment } from "../../src/experiment.js";
import { createNativeEngine } from "../../src/run/native-engine.js";
import { planExperiment } from "../../src/run/plan.js";
import type { RunEvent } from "../../src/run/events.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

beforeEach(() => {
  // Data sets that are installed on this machine are not to be found.
  vi.stubEnv("FEDLLM_DATA_DIR", "/nowhere");
});

const load = async (reference: string, workingFolder: string, ...settings: string[]) =>
  (await loadConfig({ ...locateExperiment(reference), workingFolder, overrides: settings.map((text) => parseSetOption(text)) })).config;

const engine = () => createNativeEngine({ numThreads: 1, onProgress: () => undefined });

describe("a plan without data and model", () => {
  test.each(CATALOGUE.map((entry) => [entry.name, entry] as const))("%s", async (name, entry) => {
    const plan = await planExperiment(await load(name, makeTemporaryFolder()));
    expect(plan.data.numClients).toBe(entry.numClients);
    expect(plan.data.numSamples + plan.data.numHeldOut).toBe(entry.numSamples);
    expect(plan.arms).toHaveLength(8);
    expect(plan.arms.map(({ memory }) => memory)).toEqual(new Array(8).fill(undefined));
    expect(plan.notes.join("\n")).toMatch(/data file .* is not there(.|\n)*model file .* is not there/u);
    const fedavg = plan.arms.find(({ strategy }) => strategy === "fedavg");
    // Rank 16, or 8 for preferences, on two modules of 32 layers of width 4096: 33.6 MB each way, as the reference reports.
    expect(fedavg?.trainableParameters).toBe(name === "fed-chatbot-pa" ? 4_194_304 : 8_388_608);
    expect(fedavg?.bytesPerRound).toBe((fedavg?.clientsPerRound ?? 0) * 2 * 4 * (fedavg?.trainableParameters ?? 0));
  });

  it("takes the file where the data is there, and its tokens where the model is", async () => {
    const folder = makeTemporaryFolder();
    const settings = ["data.synthetic=true", "data.generated.numClients=6", "data.generated.numSamples=60", "data.heldOutFraction=0.5"];
    const config = await load("fed-chatbot-it/fedavg", folder, ...settings);
    const expected = await planExperiment(config);
    expect(expected.data).toMatchObject({ numClients: 6, numSamples: 30, numHeldOut: 30 });
    expect(expected.notes[0]).toContain("synthetic");
    if (!config.data.synthetic) throw new Error("synthetic data was asked for");
    const path = join(folder, "a.json");
    await writeSyntheticData(path, syntheticSource(config.data.generated));
    const fromFile = await planExperiment(await load("fed-chatbot-it/fedavg", folder, `data.train=${path}`, "data.heldOutFraction=0.5"));
    expect(fromFile.data).toMatchObject({ numClients: 6, numSamples: 30, numHeldOut: 30 });
    // Lengths of whole sentences against wanted ones.
    expect(Math.abs((fromFile.data.numTokens ?? 0) / (expected.data.numTokens ?? 1) - 1)).toBeLessThan(0.05);
    const withModel = await planExperiment(await load("fed-chatbot-it/fedavg", folder, "model=builtin:fedllm-tiny"), await engine());
    expect(withModel.data.numClients).toBe(237);
    expect(withModel.arms[0]?.memory).toBeDefined();
    expect(withModel.notes).toHaveLength(1);
  });
});

/** Small enough for seconds: few clients, short samples, one step. */
const SMALL = [
  ...["model=builtin:fedllm-tiny", "data.synthetic=true", "data.generated.numClients=4", "data.generated.numSamples=40", "data.maxLength=160"],
  ...["data.generated.instructionTokens={mean: 12, deviation: 4}", "data.generated.responseTokens={mean: 10, deviation: 4}"],
  ...["training.numRounds=1", "training.localSteps=1", "training.batchSize=2", "training.clientsPerRound=2", "arms.precisions=[source]"],
  ...["evaluation.maxSamples=4", "evaluation.maxSamplesPerClient=1", "numThreads=1", "deterministic=true"],
];

test.each(CATALOGUE.map(({ name }) => name))("%s runs with synthetic data at once, and says so in its name, record, summary and warnings", async (name) => {
  const folder = makeTemporaryFolder();
  const config = await load(`${name}/fedavg`, folder, ...SMALL);
  const events: RunEvent[] = [];
  const { paths, record } = await runExperiment(config, join(folder, "run"), { createEngine: engine, onEvent: (event) => events.push(event) });
  expect(record).toMatchObject({ name: `${name}-fedavg-synthetic`, syntheticData: { profile: name, seed: 1 } });
  expect(readFileSync(paths.summary, "utf8")).toContain(`**Synthetic data** (profile ${name}, seed 1)`);
  expect(events.filter(({ event }) => event === "warning").map((event) => JSON.stringify(event)).join("\n")).toContain("the data is synthetic");
  // The hash of the run's data is that of the file that the generator writes.
  if (!config.data.synthetic) throw new Error("synthetic data was asked for");
  const hash = createHash("sha256");
  for (const piece of syntheticText(syntheticSource(config.data.generated))) hash.update(piece);
  expect(record.hashes["data.train"]).toBe(hash.digest("hex"));
  const { config: stored } = await loadConfig({ file: paths.config });
  expect(stored.data).toEqual(config.data);
});

it("makes data that a small model learns from", async () => {
  const folder = makeTemporaryFolder();
  const file = join(folder, "learn.yaml");
  const lines = [
    "model: builtin:fedllm-tiny",
    "data: { generated: { profile: demo, languages: { en: 1 }, qualityNoise: 0 }, template: chat, maxLength: 192 }",
    "training: { numRounds: 4, clientsPerRound: 4, localSteps: 4, batchSize: 8, initialLearningRate: 1.0e-2, finalLearningRate: 2.0e-4 }",
    "evaluation: { maxSamples: 32, maxSamplesPerClient: 1 }",
    "arms: { precisions: [source], strategies: [fedavg] }",
    "deterministic: true",
  ];
  writeFileSync(file, lines.join("\n"));
  const { config } = await loadConfig({ file });
  const { summary } = await runExperiment(config, join(folder, "run"), { createEngine: engine });
  const loss = (adapter: string) => summary.rows.find((row) => row.adapter === adapter)?.heldOutLoss ?? Number.NaN;
  // A longer run of 192 steps went from 9.9, of a base that knows neither the tasks nor their wording, to 1.9; a third of its steps halves the loss at least.
  expect(loss("fedavg")).toBeLessThan(loss("base") / 2);
});

it("says how to get a data set that is not there, before anything is trained", async () => {
  const folder = makeTemporaryFolder();
  const config = await load("fed-aya/fedavg", folder, "model=builtin:fedllm-tiny", "numThreads=1");
  await expect(runExperiment(config, join(folder, "run"), { createEngine: engine })).rejects.toThrow(/expected Fed-Aya, as the published archive has it, received no such file\. .*--synthetic/u);
});
