/**
 * Goal: the experiments named after FedLLM-Bench's data sets have the settings of its scripts, for each baseline, and resolve without
 * data and model. The table is typed here once, from the published scripts.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { beforeEach, describe, expect, it, test, vi } from "vitest";
import { parse } from "yaml";
import { builtinExperiments, locateExperiment } from "../../../src/config/builtin.js";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";
import type { ArmConfig, ExperimentConfig } from "../../../src/config/schema.js";
import { variantNames } from "../../../src/config/variants.js";
import { CATALOGUE } from "../../../src/data/catalogue.js";
import { planTraining } from "../../../src/run/training-plan.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

beforeEach(() => {
  // Data sets that are installed on this machine are not to be found.
  vi.stubEnv("FEDLLM_DATA_DIR", "/nowhere");
});

const SFT = { batchSize: 16, maxLength: 1024, rates: [2e-5, 1e-6], lora: [16, 32, 0.05], template: "alpaca", base: "llama-2-7b", objective: "sft", steps: 10 } as const;

const SCRIPTS = {
  "fed-aya": { ...SFT, rounds: 200, cohort: 4 },
  "fed-chatbot-it": { ...SFT, rounds: 100, cohort: 10, steps: 5 },
  "fed-wildchat": { ...SFT, rounds: 100, cohort: 5 },
  "fed-wildchat-multi": { ...SFT, rounds: 100, cohort: 3, maxLength: 2048, template: "vicuna_v1.1" },
  "fed-chatbot-pa": {
    ...SFT,
    ...{ rounds: 200, cohort: 10, steps: "dynamic", batchSize: 8, maxLength: 512, rates: [1e-4, 1e-5] },
    ...{ lora: [8, 16, 0], template: "none", base: "alpaca-7b", objective: "dpo" },
  },
} as const;

/** Rounds, steps and samples of an optimizer step of the scripts for one client alone, and its samples. */
const LOCAL_SCRIPTS: Readonly<Record<keyof typeof SCRIPTS, Readonly<Record<string, readonly [rounds: number, steps: number, batchSize: number, samples: number]>>>> = {
  "fed-aya": {
    ...{ "local-ar": [100, 10, 16, 1865], "local-pt": [75, 10, 16, 1241], "local-te": [75, 10, 16, 1159], "local-zh": [50, 10, 16, 795] },
    ...{ "local-es": [40, 10, 16, 666], "local-en": [25, 10, 16, 430], "local-fr": [25, 10, 16, 485], "local-ru": [15, 10, 16, 217] },
  },
  "fed-chatbot-it": { "local-154": [30, 5, 8, 154], "local-65": [30, 5, 8, 65] },
  "fed-wildchat": { "local-1702": [50, 10, 16, 1702], "local-813": [50, 10, 16, 813] },
  "fed-wildchat-multi": { "local-635": [75, 10, 16, 635], "local-202": [25, 10, 16, 202] },
  "fed-chatbot-pa": { "local-154": [90, 5, 8, 154] },
};

const FEDERATED = ["fedavg", "fedprox", "scaffold", "fedavgm", "fedadagrad", "fedyogi", "fedadam"] as const;
const NAMES = Object.keys(SCRIPTS) as (keyof typeof SCRIPTS)[];

const load = async (reference: string, ...settings: string[]): Promise<ExperimentConfig> =>
  (await loadConfig({ ...locateExperiment(reference), overrides: settings.map((text) => parseSetOption(text)) })).config;

const only = ({ arms }: ExperimentConfig): ArmConfig => {
  const [arm, ...others] = arms;
  if (arm === undefined || others.length > 0) throw new Error(`${String(arms.length)} arms instead of one`);
  return arm;
};

describe.each(NAMES)("%s", (name) => {
  const table = SCRIPTS[name];

  test.each(FEDERATED)("%s has the scripts' settings", async (strategy) => {
    const config = await load(`${name}/${strategy}`);
    const { training, lora, precision, strategyOptions, strategy: used } = only(config);
    expect(used).toBe(strategy);
    expect(config.name).toBe(`${name}-${strategy}`);
    expect(config).toMatchObject({ data: { maxLength: table.maxLength, template: table.template, minSamples: 1 }, training: { objective: table.objective }, seed: 2023 });
    expect(config.data.train).toBe(resolve("data", CATALOGUE.find((entry) => entry.name === name)?.file ?? ""));
    expect(config.model).toBe(resolve("models", `${table.base}-q8_0.gguf`));
    expect(precision).toBe("Q8_0");
    expect(training).toMatchObject({
      ...{ numRounds: table.rounds, clientsPerRound: table.cohort, localSteps: table.steps, batchSize: table.batchSize },
      ...{ initialLearningRate: table.rates[0], finalLearningRate: table.rates[1], neftuneAlpha: 0, loraPlusRatio: 1, labelSmoothing: 0 },
      optimizer: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradientNorm: 1 },
    });
    expect([lora.rank, lora.loraAlpha, lora.dropout, lora.targetModules]).toEqual([...table.lora, ["attn_q", "attn_v"]]);
    const options = { fedprox: { proximalMu: 0.01 }, fedavgm: { beta1: 0.5 }, fedadagrad: { serverLearningRate: 1e-3, tau: 1e-3 } };
    const adaptive = { serverLearningRate: 1e-3, tau: 1e-3, beta1: 0.5, beta2: 0.99 };
    expect(strategyOptions).toMatchObject({ ...options, fedyogi: adaptive, fedadam: adaptive, fedavg: {}, scaffold: {} }[strategy]);
    if (table.objective === "dpo") expect(training.dpo).toMatchObject({ beta: 0.1, reference: "base" });
    expect(planTraining(training).totalEpochs).toBe(table.objective === "dpo" ? 3 : undefined);
  });

  it("has all eight baselines without a variant, and the local scripts as variants", async () => {
    expect((await load(name)).arms.map(({ strategy }) => strategy)).toEqual(["local", ...FEDERATED]);
    const written: unknown = parse(readFileSync(locateExperiment(name).file, "utf8"));
    expect(new Set(variantNames(written))).toEqual(new Set(["local", ...FEDERATED, ...Object.keys(LOCAL_SCRIPTS[name])]));
    for (const [variant, [rounds, steps, batchSize, samples]] of Object.entries(LOCAL_SCRIPTS[name])) {
      const config = await load(`${name}/${variant}`);
      expect(only(config)).toMatchObject({ strategy: "local", training: { numRounds: rounds, localSteps: steps, batchSize, clientsPerRound: 1 } });
      expect(config.data.train).toMatch(/local/u);
      const synthetic = await load(`${name}/${variant}`, "data.synthetic=true");
      expect(synthetic.data.generated).toMatchObject({ profile: name, numClients: 1, numSamples: samples });
    }
  });

  it("runs with synthetic data under a name that says so", async () => {
    const config = await load(`${name}/fedavg`, "data.synthetic=true");
    expect(config.name).toBe(`${name}-fedavg-synthetic`);
    expect(config.data).toMatchObject({ synthetic: true, generated: { profile: name, seed: 1 } });
    expect(config.data).not.toHaveProperty("train");
  });
});

it("resolves every experiment of the package, with each of its variants", async () => {
  const names = builtinExperiments();
  expect(names).toEqual(expect.arrayContaining([...NAMES, "demo", "methods"]));
  for (const name of names) {
    const { file } = locateExperiment(name);
    for (const variant of variantNames(parse(readFileSync(file, "utf8")))) await expect(loadConfig({ file, variant })).resolves.toMatchObject({ file });
  }
});

it("finds experiments by file, folder and name, the working folder's before the package's, and says what a variant may be", async () => {
  const own = locateExperiment("fed-aya/fedavg");
  expect(own).toMatchObject({ variant: "fedavg" });
  expect(own.file.endsWith(join("experiments", "fed-aya", "experiment.yaml"))).toBe(true);
  expect(locateExperiment(own.file)).toEqual({ file: own.file });
  expect(locateExperiment("missing.yaml", "/tmp")).toEqual({ file: "/tmp/missing.yaml" });
  await expect(load("fed-aya/fedavgg")).rejects.toThrow(/expected one of its variants \(local, fedavg.*Did you mean fedavg\?/u);
  await expect(load("fed-aya/fedavg", "data.train=dataset:fed-ay")).rejects.toThrow(/Did you mean fed-aya\?/u);
  await expect(load("fed-aya/fedavg", "model=known:llama-2-8b")).rejects.toThrow(/Did you mean known:llama-2-7b\?/u);
  const folder = makeTemporaryFolder();
  await expect(loadConfig({ file: join(folder, "none.yaml") })).rejects.toThrow(/Name an experiment file or one of demo, fed-aya, /u);
});
