/** Goal: shapes of base models give the sizes in their names, the adapter that the benchmark reports, and are told by file names. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, test } from "vitest";
import { KNOWN_MODELS, knownLayout, knownModelAt, locateKnownModel, precisionOf, numWeights } from "../../../src/config/known-models.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

/** Numbers in all weights as the models' publishers give them, in millions, norms included. */
const PUBLISHED: Readonly<Record<string, number>> = {
  "qwen2.5-0.5b": 494.03,
  "tinyllama-1.1b": 1100.05,
  ...{ "smollm2-135m": 135, "smollm2-360m": 362, "qwen3-0.6b": 596, "llama-3.2-1b": 1236, "smollm2-1.7b": 1711, "qwen3-1.7b": 1721 },
  ...{ "llama-3.2-3b": 3213, "qwen3-4b": 4022, "llama-2-7b": 6738, "alpaca-7b": 6738, "llama-3.1-8b": 8030, "qwen3-8b": 8191 },
};

const model = (name: string) => {
  const known = KNOWN_MODELS.get(name);
  if (known === undefined) throw new Error(`no model ${name}`);
  return known;
};

test.each([...KNOWN_MODELS.keys()])("%s has about the published number of weights", (name) => {
  // Norms and biases, which the shape does not count, are below 0.1 %; publishers round to a million.
  expect(Math.abs(numWeights(model(name)) / 1e6 / (PUBLISHED[name] ?? 0) - 1)).toBeLessThan(0.005);
});

it("gives the adapter of FedLLM-Bench on Llama-2-7B: rank 16 on two modules of 32 layers", () => {
  const layout = knownLayout(model("llama-2-7b"), { rank: 16, loraAlpha: 32, targetModules: ["attn_q", "attn_v"] });
  expect(layout.numParameters).toBe(8_388_608);
  expect(layout.tensors[1]).toEqual({ name: "blk.0.attn_q.weight.lora_b", shape: [16, 4096], offset: 65_536 });
  expect(() => knownLayout(model("llama-2-7b"), { rank: 1, loraAlpha: 1, targetModules: ["attn_qkv"] })).toThrow(/lora.targetModules/u);
});

it("tells models by file names, and finds the Q8_0 file before others", () => {
  expect(knownModelAt("/m/Qwen3-0.6B-Q8_0.gguf")?.name).toBe("qwen3-0.6b");
  expect(knownModelAt("Llama-3.2-1B-Instruct-f16.gguf")?.name).toBe("llama-3.2-1b");
  expect(knownModelAt("qwen3-0.6bx.gguf")).toBeUndefined();
  expect(knownModelAt("qwen3-0.6b.bin")).toBeUndefined();
  const folder = makeTemporaryFolder();
  expect(locateKnownModel("known:qwen3-4b", folder)).toBe(join(folder, "models", "qwen3-4b-q8_0.gguf"));
  mkdirSync(join(folder, "models"));
  for (const file of ["Qwen3-4B-F16.gguf", "Qwen3-4B-Q8_0.gguf", "Qwen3-8B-Q8_0.gguf"]) writeFileSync(join(folder, "models", file), "");
  expect(locateKnownModel("known:qwen3-4b", folder)).toBe(join(folder, "models", "Qwen3-4B-Q8_0.gguf"));
  expect(locateKnownModel("known:qwen3-4b@F16", folder)).toBe(join(folder, "models", "Qwen3-4B-F16.gguf"));
  expect(locateKnownModel("known:qwen3-0.6b@f16", folder)).toBe(join(folder, "models", "qwen3-0.6b-f16.gguf"));
  expect(precisionOf("SmolLM2-135M-Instruct.IQ4_XS.gguf")).toBe("iq4_xs");
  expect(precisionOf("SmolLM2-135M-Instruct.gguf")).toBeUndefined();
});
