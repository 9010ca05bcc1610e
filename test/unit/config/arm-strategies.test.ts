/** Settings that a strategy cannot be run with are refused with the configuration, not in the round that meets them. */
import { describe, expect, test } from "vitest";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";

const load = async (...settings: string[]) =>
  (await loadConfig({ overrides: ["data.train=a.json", ...settings].map((text) => parseSetOption(text)), workingFolder: "/w" })).config;

const DPO_FROM_START = ["training.objective=dpo", "training.startAdapter=sft.gguf", "training.dpo.reference=start"];

describe("refused", () => {
  test.each([
    ...["fedex-lora", "flora", "feddpa"].map(
      (name) => [[...DPO_FROM_START, `arms=[{strategy: ${name}}]`], `training.dpo.reference of arm source-${name}: expected base or round, because strategy ${name} keeps adapters`] as const,
    ),
    [["training.loraPlusRatio=16", "arms=[{strategy: fed-sb}]"], "training.loraPlusRatio of arm source-fed-sb: expected 1, because strategy fed-sb trains matrices"],
    [["lora.rank=8", "arms=[{strategy: flora, strategyOptions: {clientRanks: [4, 16]}}]"], "strategyOptions.clientRanks of arm source-flora: expected at most lora.rank (8), received 16"],
    [["lora.rank=8", "strategyOptions.clientRanks={ana: 9}", "arms=[{strategy: hetlora}]"], "strategyOptions.clientRanks of arm source-hetlora: expected at most lora.rank (8), received 9"],
    [["arms=[{name: wide, strategy: flexlora, lora: {rank: 2}, strategyOptions: {clientRanks: {ana: 3}}}]"], "strategyOptions.clientRanks of arm wide"],
  ] as const)("%j", async (settings, message) => {
    await expect(load(...settings)).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(message) as unknown });
  });
});

describe("accepted", () => {
  test.each([
    [[...DPO_FROM_START, "arms=[{strategy: fed-sb}, {strategy: ditto}]"]],
    [["training.objective=dpo", "training.dpo.reference=round", "arms=[{strategy: fedex-lora}, {strategy: flora}, {strategy: feddpa}]"]],
    [["training.loraPlusRatio=16", "arms=[{strategy: ffa-lora}, {strategy: fed-sb, training: {loraPlusRatio: 1}}]"]],
    [["lora.rank=8", "arms=[{strategy: flora, strategyOptions: {clientRanks: [4, 8]}}]"]],
  ])("%j", async (settings) => {
    expect((await load(...settings)).arms.length).toBeGreaterThan(0);
  });
});
