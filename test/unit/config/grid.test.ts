/** Grids of arms: which cells there are, what they are called, what is refused. */
import { describe, expect, test } from "vitest";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";
import { stringifyConfig } from "../../../src/run/resolved-config.js";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const load = (...settings: string[]) => loadConfig({ overrides: ["data.train=a.json", ...settings].map(parseSetOption) });
const messageOf = (work: Promise<unknown>): Promise<string> => work.then(() => "accepted", (error: unknown) => (error as Error).message);

describe("a grid of arms", () => {
  test("has each combination once, the seed innermost", async () => {
    const { config } = await load("arms={precisions: [F16, Q4_0], strategies: [fedavg], seeds: [0, 1], vary: {lora.rank: [4, 8], training.initialLearningRate: [1.0e-3]}}");
    expect(config.arms.map(({ name, precision, seed, lora, training }) => [name, precision, seed, lora.rank, training.initialLearningRate])).toEqual([
      ["f16-fedavg-rank4-initialLearningRate0.001-seed0", "F16", 0, 4, 1e-3],
      ["f16-fedavg-rank4-initialLearningRate0.001-seed1", "F16", 1, 4, 1e-3],
      ["f16-fedavg-rank8-initialLearningRate0.001-seed0", "F16", 0, 8, 1e-3],
      ["f16-fedavg-rank8-initialLearningRate0.001-seed1", "F16", 1, 8, 1e-3],
      ["q4_0-fedavg-rank4-initialLearningRate0.001-seed0", "Q4_0", 0, 4, 1e-3],
      ["q4_0-fedavg-rank4-initialLearningRate0.001-seed1", "Q4_0", 1, 4, 1e-3],
      ["q4_0-fedavg-rank8-initialLearningRate0.001-seed0", "Q4_0", 0, 8, 1e-3],
      ["q4_0-fedavg-rank8-initialLearningRate0.001-seed1", "Q4_0", 1, 8, 1e-3],
    ]);
  });

  test("keeps what a strategy has of its own where nothing is varied", async () => {
    const { config } = await load("arms={strategies: [fedavg, fedprox], byStrategy: {fedprox: {lora: {rank: 2, loraAlpha: 3}}}, vary: {lora.rank: [4]}}");
    expect(config.arms.map(({ lora }) => [lora.rank, lora.loraAlpha])).toEqual([[4, 32], [4, 3]]);
  });

  test("writes out lists and cuts long names to what a file may be called, each another one", async () => {
    const long = ["lora.targetModules: [[attn_q, attn_k, attn_v, attn_output], [attn_q, attn_k, attn_v, attn_output, ffn_up]]", "training.finalLearningRate: [1.0e-7]"];
    const { config } = await load(`arms={strategies: [fedavg], seeds: [7], vary: {${long.join(", ")}}}`);
    const names = config.arms.map(({ name }) => name);
    expect(new Set(names).size).toBe(2);
    expect(names.every((name) => name.length <= 64 && name.endsWith("-seed7"))).toBe(true);
  });

  test("comes back from the stored configuration as it was", async () => {
    const { config } = await load("arms={precisions: [F16], strategies: [fedavg], seeds: [0, 3], vary: {lora.rank: [4, 8]}}");
    const file = join(mkdtempSync(join(tmpdir(), "fedllm-grid-")), "config.yaml");
    writeFileSync(file, stringifyConfig(config));
    expect((await loadConfig({ file })).config).toEqual(config);
  });

  test.each([
    ["vary: {rank: [4]}", /arms\.vary: expected fields of lora, training, federation, privacy, robust, strategyOptions.*received "rank"/],
    ["vary: {seed: [4]}", /lists of their own/],
    ["vary: {lora.rank: [0]}", /lora\.rank \(arms\.vary\): expected a number of at least 1, received 0/],
    ["vary: {lora.rnk: [4]}", /lora\.rnk/],
    ["vary: {lora.__proto__: [4]}", /field\.path=value/],
    ["vary: {lora.rank: []}", /at least 1/],
    ["seeds: [1, 1]", /a name no other arm has/],
    ["seeds: [-1]", /seeds/],
  ])("refuses %s", async (part, message) => {
    expect(await messageOf(load(`arms={strategies: [fedavg], ${part}}`))).toMatch(message);
  });
});
