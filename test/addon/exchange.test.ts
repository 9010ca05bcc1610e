/**
 * Adapters out of this program and back: every form on a real model. The oracle of PEFT's form is a transformer in the order of transformers: W of queries
 * and keys un-interleaved by the rule of llama.cpp's converter, so that B A must be the same change of the same weight.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { adapterPairs, readProduct } from "../../src/adapter/pairs.js";
import { exportAdapter } from "../../src/exchange/export-adapter.js";
import type { ExportForms } from "../../src/exchange/export-adapter.js";
import { importAdapter } from "../../src/exchange/import-adapter.js";
import { readSafetensors, encodeSafetensors } from "../../src/exchange/safetensors.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { mergeAdapter } from "../../src/native/merge.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { makeSample, makeTestFolder, makeTinyModelFile } from "../helpers/native.js";
import { stockLogProbabilities } from "../helpers/stock-llama.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const modelPath = makeTinyModelFile(folder, "tiny.gguf", { type: "F32" });
const model = await BaseModel.open(addon, modelPath, { numThreads: 1 });
afterAll(() => {
  model.dispose();
});

const OPTIONS = { rank: 6, loraAlpha: 9.5, targetModules: ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] };
const layout = model.adapterLayout(OPTIONS);
/** A as it is drawn, B filled so that it changes answers clearly. */
const weights = model.initialWeights(OPTIONS, 7).map((value, index) => (value === 0 ? Math.sin(index * 1.7) / 10 : value));
const adapterPath = join(folder, "adapter.gguf");
await model.saveAdapter(adapterPath, OPTIONS, weights);

let numFolders = 0;
const newPath = (name: string) => join(folder, `${name}-${String(numFolders++)}`);

async function exported(forms: ExportForms, source = adapterPath): Promise<string> {
  const out = newPath("export");
  await exportAdapter(addon, { modelPath, adapterPath: source, folder: out, forms, numThreads: 1, describe: ({ files }) => `files: ${files.map(({ name }) => name).join(" ")}` });
  return out;
}

/** The tensors of an export as PyTorch has them. */
const tensorsOf = async (out: string) => new Map((await readSafetensors(join(out, "adapter_model.safetensors"))).map((tensor) => [tensor.name, tensor]));

describe("PEFT", () => {
  test("has the names, shapes, order and settings that PEFT reads", async () => {
    const out = await exported({ peft: "F32" });
    expect(readdirSync(out).sort()).toEqual(["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    const tensors = await tensorsOf(out);
    expect(tensors.size).toBe(2 * 2 * 7);
    expect(tensors.get("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")?.shape).toEqual([6, 256]);
    expect(tensors.get("base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight")?.shape).toEqual([128, 6]);
    for (const path of ["self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]) expect(tensors.has(`base_model.model.model.layers.1.${path}.lora_B.weight`)).toBe(true);
    expect(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"))).toMatchObject({
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      r: 6,
      lora_alpha: 9.5,
      target_modules: ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
      layers_to_transform: null,
      bias: "none",
      fan_in_fan_out: false,
      use_rslora: false,
      use_dora: false,
    });
  });

  test("changes each weight as the GGUF adapter does, where the converter interleaves the rows of queries and keys", async () => {
    const tensors = await tensorsOf(await exported({ peft: "F32" }));
    const paths: Record<string, [path: string, heads: number]> = { attn_q: ["self_attn.q_proj", 4], attn_k: ["self_attn.k_proj", 2], attn_v: ["self_attn.v_proj", 0], ffn_down: ["mlp.down_proj", 0] };
    for (const [module, [path, heads]] of Object.entries(paths)) {
      const pair = adapterPairs(layout).find(({ name }) => name === `blk.1.${module}.weight`);
      if (pair === undefined) throw new Error(module);
      const { a, bt } = readProduct(weights, pair);
      const at = (half: string) => tensors.get(`base_model.model.model.layers.1.${path}.lora_${half}.weight`)?.values ?? new Float32Array();
      const [peftA, peftB] = [at("A"), at("B")];
      // The converter: reshape(heads, 2, d / 2, columns), swap the middle axes, reshape. Row s d/2 + j of a head goes to 2 j + s.
      const inGguf = (row: number) => {
        if (heads === 0) return row;
        const d = pair.dOut / heads;
        const [head, inHead] = [Math.floor(row / d), row % d];
        return head * d + 2 * (inHead % (d / 2)) + Math.floor(inHead / (d / 2));
      };
      for (const row of [0, 1, 2, 31, 33, 63, 64, pair.dOut - 1]) {
        for (const column of [0, 5, pair.dIn - 1]) {
          let ours = 0;
          let theirs = 0;
          for (let r = 0; r < 6; r++) {
            ours += (bt.data[r * pair.dOut + inGguf(row)] ?? 0) * (a.data[r * pair.dIn + column] ?? 0);
            theirs += (peftB[row * 6 + r] ?? 0) * (peftA[r * pair.dIn + column] ?? 0);
          }
          expect(theirs).toBe(ours);
        }
      }
    }
  });

  test("comes back bit for bit: export, import, export", async () => {
    const first = await exported({ peft: "F32", gguf: "f32" });
    const imported = newPath("start.gguf");
    const options = await importAdapter(addon, { source: first, modelPath, outputPath: imported });
    expect(options).toMatchObject({ rank: 6, loraAlpha: 9.5 });
    expect(readFileSync(imported).equals(readFileSync(adapterPath))).toBe(true);
    expect(readFileSync(join(first, "adapter-f32.gguf")).equals(readFileSync(adapterPath))).toBe(true);
    const second = await exported({ peft: "F32" }, imported);
    for (const name of ["adapter_model.safetensors", "adapter_config.json"]) expect(readFileSync(join(second, name)).equals(readFileSync(join(first, name)))).toBe(true);
  });

  test("of some layers and in BF16 comes back to its rounding", async () => {
    const options = { rank: 2, loraAlpha: 2, targetModules: ["attn_q"], layers: [1] };
    const path = newPath("part.gguf");
    await model.saveAdapter(path, options, model.initialWeights(options, 3).map((value, index) => value + index / 1000));
    const out = await exported({ peft: "BF16" }, path);
    expect(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"))).toMatchObject({ layers_to_transform: [1] });
    const imported = newPath("part.gguf");
    expect(await importAdapter(addon, { source: out, modelPath, outputPath: imported })).toMatchObject({ layers: [1] });
    const [before, after] = [await model.loadAdapter(path), await model.loadAdapter(imported)];
    // BF16 keeps 8 bits: half of 2^-8 of each number at most.
    for (const [index, value] of after.weights.entries()) expect(Math.abs(value - (before.weights[index] ?? 0))).toBeLessThanOrEqual(2 ** -8 * Math.abs(value) + 1e-38);
  });

  const python = (() => {
    try {
      execFileSync("python3", ["-c", "import torch"], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  })();
  test.skipIf(!python)("reads in PyTorch's order (needs python3 with torch)", async () => {
    const out = await exported({ peft: "F32" });
    const program = [
      "import json, struct, sys, torch",
      "data = open(sys.argv[1], 'rb').read()",
      "n, = struct.unpack('<Q', data[:8])",
      "head = json.loads(data[8:8 + n])",
      "def t(name):",
      "    e = head[name]; b, f = e['data_offsets']",
      "    return torch.frombuffer(bytearray(data[8 + n + b:8 + n + f]), dtype=torch.float32).reshape(e['shape'])",
      "p = 'base_model.model.model.layers.0.self_attn.v_proj.'",
      "w = t(p + 'lora_B.weight') @ t(p + 'lora_A.weight')",
      "print(w.shape[0], w.shape[1], float(w[3, 5]))",
    ];
    const [rows, columns, value] = execFileSync("python3", ["-c", program.join("\n"), join(out, "adapter_model.safetensors")]).toString().trim().split(" ").map(Number);
    const pair = adapterPairs(layout).find(({ name }) => name === "blk.0.attn_v.weight");
    if (pair === undefined) throw new Error("attn_v");
    const { a, bt } = readProduct(weights, pair);
    let expected = 0;
    for (let r = 0; r < 6; r++) expected += (bt.data[r * pair.dOut + 3] ?? 0) * (a.data[r * pair.dIn + 5] ?? 0);
    expect([rows, columns]).toEqual([pair.dOut, pair.dIn]);
    expect(value).toBeCloseTo(expected, 6);
  });
});

describe("GGUF", () => {
  const samples = [makeSample(20)];

  test("in F32, F16 and Q8_0 is loaded by llama.cpp, whose answers are within the type's rounding", async () => {
    const out = await Promise.all((["f32", "f16", "q8_0"] as const).map(async (gguf) => join(await exported({ gguf }), `adapter-${gguf}.gguf`)));
    const [base = 0] = await stockLogProbabilities(modelPath, samples);
    const scores = [];
    for (const path of out) scores.push((await stockLogProbabilities(modelPath, samples, path))[0] ?? Number.NaN);
    const [exact = 0, half = 0, eight = 0] = scores;
    const effect = Math.abs(exact - base);
    expect(effect).toBeGreaterThan(0.05);
    // F16 keeps 11 bits of each number, Q8_0 seven of a block's largest; sums over 256 numbers average errors out.
    expect(Math.abs(half - exact)).toBeLessThan(0.01 * effect);
    expect(Math.abs(eight - exact)).toBeLessThan(0.1 * effect);
    expect(readFileSync(out[2] ?? "").length).toBeLessThan(readFileSync(out[0] ?? "").length);
  });

  test("in Q8_0 imports as F32 numbers that its blocks stand for", async () => {
    const out = await exported({ gguf: "q8_0" });
    const imported = newPath("from-q8.gguf");
    await importAdapter(addon, { source: join(out, "adapter-q8_0.gguf"), modelPath, outputPath: imported });
    const { weights: back } = await model.loadAdapter(imported);
    const largest = weights.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(back.every((value, index) => Math.abs(value - (weights[index] ?? 0)) <= largest / 254 + 1e-4)).toBe(true);
  });
});

describe("a merged model", () => {
  async function scoreOf(path: string, adapter?: Float32Array): Promise<number> {
    const opened = await BaseModel.open(addon, path, { numThreads: 1 });
    try {
      const { samples } = await new NativeTrainer(opened, OPTIONS).evaluate({ samples: [makeSample(20)], microBatchTokens: 64, ...(adapter === undefined ? {} : { weights: adapter }) });
      return samples[0]?.logProbability ?? Number.NaN;
    } finally {
      opened.dispose();
    }
  }

  test("in F32 computes what base and adapter do, and in Q8_0 nearly", async () => {
    const expected = await scoreOf(modelPath, weights);
    const effect = Math.abs(expected - (await scoreOf(modelPath)));
    const whole = join(await exported({ merged: "F32" }), "merged-f32.gguf");
    // One more rounding of each weight to F32, 6e-8 of it; the score is a sum over ten tokens.
    expect(Math.abs((await scoreOf(whole)) - expected)).toBeLessThan(1e-3 * effect);
    expect(Math.abs((await scoreOf(join(await exported({ merged: "q8_0" }), "merged-q8_0.gguf"))) - expected)).toBeLessThan(0.3 * effect);
  });

  test("may come from a quantized base", async () => {
    const base = newPath("q8.gguf");
    await addon.quantizeModel(modelPath, base, "Q8_0", 1);
    const merged = newPath("merged.gguf");
    await mergeAdapter(addon, { modelPath: base, adapterPath, outputPath: merged, type: "F32", numThreads: 1 });
    const [expected, base0] = [await scoreOf(base, weights), await scoreOf(base)];
    expect(Math.abs((await scoreOf(merged)) - expected)).toBeLessThan(1e-3 * Math.abs(expected - base0));
    expect(readdirSync(folder).filter((name) => name.includes(".merging-"))).toEqual([]);
  });

  test("of an unknown type leaves no file behind", async () => {
    await expect(exported({ merged: "Q9" })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    expect(readdirSync(join(folder, `export-${String(numFolders - 1)}`))).toEqual([]);
  });
});

describe("refused", () => {
  async function withConfig(changes: object, tensors?: Parameters<typeof encodeSafetensors>[0]): Promise<string> {
    const out = await exported({ peft: "F32" });
    const path = join(out, "adapter_config.json");
    writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, "utf8")) as object), ...changes }));
    if (tensors !== undefined) writeFileSync(join(out, "adapter_model.safetensors"), Buffer.concat([...encodeSafetensors(tensors, "F32")]));
    return out;
  }
  const load = (source: string) => importAdapter(addon, { source, modelPath, outputPath: newPath("refused.gguf") });
  const zeros = (name: string, rows: number, columns: number) => ({ name, shape: [rows, columns] as const, values: new Float32Array(rows * columns) });
  const Q = "base_model.model.model.layers.0.self_attn.q_proj";

  test.each<[string, object, RegExp]>([
    ["DoRA", { use_dora: true }, /use_dora: expected false, received true/u],
    ["trained biases", { bias: "all" }, /bias: expected none, received "all"/u],
    ["saved modules", { modules_to_save: ["lm_head"] }, /modules_to_save/u],
    ["ranks that differ", { rank_pattern: { q_proj: 4 } }, /rank_pattern/u],
    ["another method", { peft_type: "IA3" }, /peft_type: expected LORA/u],
    ["transposed weights", { fan_in_fan_out: true }, /fan_in_fan_out/u],
    ["another rank than its tensors", { r: 5 }, /expected rank 5, as r in adapter_config.json, received 6/u],
  ])("PEFT with %s", async (_, changes, message) => {
    await expect(load(await withConfig(changes))).rejects.toMatchObject({ code: "ADAPTER_INVALID", message: expect.stringMatching(message) as string });
  });

  test.each<[string, Parameters<typeof encodeSafetensors>[0], RegExp]>([
    ["a pair on the embedding", [zeros("base_model.model.model.embed_tokens.lora_embedding_A", 6, 9)], /expected a name such as/u],
    ["a vector of DoRA", [zeros(`${Q}.lora_magnitude_vector`, 6, 1)], /expected a name such as/u],
    ["a module that the model lacks", [zeros("base_model.model.model.layers.0.mlp.experts.lora_A.weight", 6, 9)], /linear layer of llama/u],
    ["a layer that the model lacks", [zeros("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", 6, 256)], /a layer below 2/u],
    ["half a pair", [zeros(`${Q}.lora_A.weight`, 6, 256)], /lora_b: expected a pair/u],
    ["a pair of another width", [zeros(`${Q}.lora_A.weight`, 6, 128), zeros(`${Q}.lora_B.weight`, 256, 6)], /expected \[6, 256\], as the model's weight asks, received \[6, 128\]/u],
    ["an odd number of rows", [zeros(`${Q}.lora_A.weight`, 6, 256), zeros(`${Q}.lora_B.weight`, 255, 6)], /even number of rows/u],
  ])("PEFT with %s", async (_, tensors, message) => {
    await expect(load(await withConfig({}, tensors))).rejects.toMatchObject({ code: "ADAPTER_INVALID", message: expect.stringMatching(message) as string });
  });

  test("pickled weights, missing files and used places, with what to do", async () => {
    const out = newPath("pickled");
    mkdirSync(out);
    writeFileSync(join(out, "adapter_config.json"), JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 4 }));
    await expect(load(out)).rejects.toMatchObject({ code: "ADAPTER_INVALID", message: expect.stringContaining("received none") as string });
    writeFileSync(join(out, "adapter_model.bin"), "");
    await expect(load(out)).rejects.toMatchObject({ message: expect.stringContaining("safe_serialization=True") as string });
    await expect(load(join(folder, "nowhere"))).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await expect(importAdapter(addon, { source: adapterPath, modelPath, outputPath: adapterPath })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await expect(exportAdapter(addon, { modelPath, adapterPath, folder, forms: { gguf: "f32" }, numThreads: 1, describe: () => "" })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("a new or empty folder") as string });
  });

  test("nothing of rank-stabilised LoRA: its scale lora_alpha / sqrt(r) is kept", async () => {
    const out = await withConfig({ use_rslora: true });
    const imported = newPath("rslora.gguf");
    const { loraAlpha } = await importAdapter(addon, { source: out, modelPath, outputPath: imported });
    expect(loraAlpha / 6).toBeCloseTo(9.5 / Math.sqrt(6), 6);
  });
});
