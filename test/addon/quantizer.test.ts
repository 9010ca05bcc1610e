/** Quantized variants made by llama.cpp's own quantizer. */
import { copyFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { quantizeModel } from "../../src/native/quantize.js";
import { encodeGguf, makeTinyModel } from "../fixtures/tiny-gguf.js";
import { TEST_ADAPTER, makeSample, makeTestFolder, makeTinyModelFile } from "../helpers/native.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const inputPath = makeTinyModelFile(folder);

async function quantize(type: string, changes: { inputPath?: string; outputPath?: string } = {}): Promise<string> {
  const request = { inputPath, outputPath: join(folder, `tiny-${type}.gguf`), type, numThreads: 2, ...changes };
  await quantizeModel(addon, request);
  return request.outputPath;
}

describe("the quantizer", () => {
  // Matrices: two layers of seven, the embedding and the head. Q4_K_M keeps the head and some others in Q6_K.
  test.each<[string, Record<string, number>]>([
    ["Q8_0", { f32: 5, q8_0: 16 }],
    ["Q4_K_M", { f32: 5, q4_K: 13, q6_K: 3 }],
    ["q4_0", { f32: 5, q4_0: 15, q6_K: 1 }],
    ["BF16", { f32: 5, bf16: 16 }],
    ["F32", { f32: 21 }],
  ])("makes %s files that the core loads", async (type, tensorTypes) => {
    const model = await BaseModel.open(addon, await quantize(type), { numThreads: 1 });
    expect(model.info.tensorTypes).toEqual(tensorTypes);
    model.dispose();
  });

  test("makes every type it lists, and leaves no other file", async () => {
    const failure: unknown = await quantize("none").catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "CONFIG_INVALID" });
    const list = /one of (.+), received "none"/u.exec((failure as Error).message)?.[1]?.split(", ") ?? [];
    expect(list).toContain("IQ4_XS");
    for (const type of list) expect(existsSync(await quantize(type))).toBe(true);
    expect(readdirSync(folder).filter((name) => !name.endsWith(".gguf"))).toEqual([]);
  });

  test("keeps the model's answers: eight bits score nearly as sixteen", async () => {
    const scores: number[] = [];
    for (const path of [inputPath, await quantize("Q8_0")]) {
      const model = await BaseModel.open(addon, path, { numThreads: 1 });
      const trainer = new NativeTrainer(model, TEST_ADAPTER);
      const result = await trainer.evaluate({ samples: [makeSample(40)], microBatchTokens: 64 });
      scores.push((result.samples[0]?.logProbability ?? Number.NaN) / 20);
      model.dispose();
    }
    // Q8_0 rounds each weight to 1/127 of the largest in its block of 32: under one per cent of noise per product.
    expect(Math.abs((scores[0] ?? 0) - (scores[1] ?? 1))).toBeLessThan(0.05);
  });

  test("replaces an existing file", async () => {
    const outputPath = join(folder, "replaced.gguf");
    writeFileSync(outputPath, "old");
    await quantize("Q8_0", { outputPath });
    expect(readFileSync(outputPath).subarray(0, 4).toString()).toBe("GGUF");
  });
});

describe("the quantizer refuses", () => {
  test("a quantized input, naming the tensor", async () => {
    const quantized = await quantize("Q8_0");
    await expect(quantize("Q4_0", { inputPath: quantized })).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringMatching(/tensor .+: expected F32, F16 or BF16, received q8_0/u) as string,
    });
  });

  test("its input as its output", async () => {
    const copy = join(folder, "same.gguf");
    copyFileSync(inputPath, copy);
    await expect(quantize("Q8_0", { inputPath: copy, outputPath: copy })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    expect(readFileSync(copy).equals(readFileSync(inputPath))).toBe(true);
  });

  test.each<[string, () => Promise<unknown>, string]>([
    ["a missing input", () => quantize("Q8_0", { inputPath: join(folder, "none.gguf") }), "MODEL_LOAD_FAILED"],
    ["a missing folder", () => quantize("Q8_0", { outputPath: join(folder, "none", "a.gguf") }), "IO_FAILED"],
    ["a folder as output", () => quantize("Q8_0", { outputPath: folder }), "CONFIG_INVALID"],
  ])("%s", async (_, call, code) => {
    await expect(call()).rejects.toMatchObject({ code });
  });

  test.each<[string, Uint8Array]>([
    ["a text file", Buffer.from("a text file that is long enough for a header")],
    ["a file cut off", encodeGguf(makeTinyModel()).subarray(0, 100_000)],
    ["no layers", encodeGguf(makeTinyModel({ metadata: { "llama.block_count": { u32: 0 } } }))],
    ["too many layers", encodeGguf(makeTinyModel({ metadata: { "llama.block_count": { u32: 100_000 } } }))],
    ["experts used but none there", encodeGguf(makeTinyModel({ metadata: { "llama.expert_used_count": { u32: 2 } } }))],
    ["an unknown RoPE scaling", encodeGguf(makeTinyModel({ metadata: { "llama.rope.scaling.type": { string: "odd" } } }))],
    ["an unknown architecture", encodeGguf(makeTinyModel({ metadata: { "general.architecture": { string: "odd" } } }))],
  ])("%s", async (_, bytes) => {
    const bad = join(folder, "bad.gguf");
    writeFileSync(bad, bytes);
    const outputPath = join(folder, "from-bad.gguf");
    await expect(quantize("Q8_0", { inputPath: bad, outputPath })).rejects.toMatchObject({ code: "MODEL_LOAD_FAILED" });
    expect(readdirSync(folder).filter((name) => name.startsWith("from-bad"))).toEqual([]);
  });
});
