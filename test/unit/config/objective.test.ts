/** What objective dpo changes in an experiment, and which fields do not go together. */
import { describe, expect, test } from "vitest";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";

const load = async (...settings: string[]) =>
  (await loadConfig({ overrides: ["data.train=a.json", ...settings].map((text) => parseSetOption(text)), workingFolder: "/w" })).config;

describe("the defaults of preference training", () => {
  test("are FedLLM-Bench's for Fed-ChatbotPA", async () => {
    const { data, training, arms } = await load("training.objective=dpo");
    expect(data).toMatchObject({ template: "none", maxLength: 512, maxPromptLength: 128 });
    expect(training).toEqual({ objective: "dpo" });
    expect(arms[0]?.lora).toMatchObject({ rank: 8, loraAlpha: 16, dropout: 0, targetModules: ["attn_q", "attn_v"] });
    expect(arms[0]?.training).toMatchObject({
      numRounds: 200,
      clientsPerRound: 10,
      localSteps: "dynamic",
      batchSize: 8,
      initialLearningRate: 1e-4,
      finalLearningRate: 1e-5,
      dpo: { beta: 0.1, labelSmoothing: 0, reference: "base" },
    });
  });

  test("give way to what the file says, and leave instruction tuning as it is", async () => {
    const { data, arms } = await load("training.objective=dpo", "data.template=chat", "training.localSteps=3", "training.dpo.beta=0.5", "lora.dropout=0.1");
    expect(data).toMatchObject({ template: "chat", maxLength: 512 });
    expect(arms[0]?.training).toMatchObject({ localSteps: 3, batchSize: 8, dpo: { beta: 0.5, reference: "base" } });
    expect(arms[0]?.lora).toMatchObject({ rank: 8, dropout: 0.1 });
    const plain = await load();
    expect(plain.training).toEqual({ objective: "sft" });
    expect(plain.data).toMatchObject({ template: "alpaca", maxLength: 1024 });
    expect(plain.arms[0]?.training).not.toHaveProperty("dpo");
  });

  test("can differ between arms", async () => {
    const { arms } = await load("training.objective=dpo", "arms=[{name: a}, {name: b, training: {dpo: {beta: 0.3}}}]");
    expect(arms.map(({ training }) => training.dpo)).toEqual([
      { beta: 0.1, labelSmoothing: 0, reference: "base" },
      { beta: 0.3, labelSmoothing: 0, reference: "base" },
    ]);
  });
});

test("the place of a start adapter is resolved like other paths and does not change the fingerprint", async () => {
  const settings = ["data.train=a.json", "training.startAdapter=runs/sft#f16-fedavg"].map((text) => parseSetOption(text));
  const here = await loadConfig({ overrides: settings, workingFolder: "/w" });
  const there = await loadConfig({ overrides: settings, workingFolder: "/elsewhere" });
  expect(here.config.training.startAdapter).toBe("/w/runs/sft#f16-fedavg");
  expect(there.fingerprint).toBe(here.fingerprint);
});

describe("fields that do not go together", () => {
  test.each([
    [["data.template=none"], "data.template: expected a template, since answers are learned behind one"],
    [["data.maxPromptLength=64"], "data.maxPromptLength: expected nothing, since only objective dpo cuts prompts"],
    [["training.dpo.beta=0.2"], "training.dpo of arm source-fedavg: expected nothing, since training.objective is sft"],
    [["arms=[{training: {dpo: {beta: 0.2}}}]"], "training.dpo of arm source-fedavg: expected nothing"],
    [["arms=[{training: {objective: dpo}}]"], "arms.0.training.objective"],
    [["training.totalEpochs=2"], "training.totalEpochs of arm source-fedavg: expected nothing, since training.localSteps is a number"],
    [["training.objective=dpo", "data.preferenceAnswer=chosen"], "data.preferenceAnswer: expected nothing, since objective dpo learns from both"],
    [["training.objective=dpo", "data.maxPromptLength=512"], "data.maxPromptLength: expected fewer tokens than data.maxLength (512)"],
    [["training.objective=dpo", "training.dpo.reference=start"], "training.dpo.reference of arm source-fedavg: expected base or round, since there is no"],
    [["training.objective=dpo", "training.dpo.labelSmoothing=0.5"], "training.dpo.labelSmoothing (--set): expected a number of less than 0.5"],
    [["training.objective=dpo", "training.dpo.beta=0"], "training.dpo.beta (--set): expected a number of at least 0.000001"],
    [["training.objective=dpo", "training.labelSmoothing=0.1"], "training.labelSmoothing of arm source-fedavg: expected 0 with objective dpo"],
    [["training.labelSmoothing=1"], "training.labelSmoothing (--set): expected a number of less than 1"],
    [["training.lossScale=3"], "training.lossScale of arm source-fedavg: expected a power of two from 2^-24 to 2^126, received 3"],
    [["training.objective=ppo"], "training.objective (--set): expected one of sft, dpo"],
  ])("%j", async (settings, message) => {
    await expect(load(...settings)).rejects.toThrow(message);
  });
});
