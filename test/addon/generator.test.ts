/**
 * Text generation: against the model run over the whole sequence for each token, against the core's own scores, against
 * node-llama-cpp, and against itself in other company. All models here are tiny, so equal logits do not occur.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { scoreContinuations } from "../../src/evaluation/continuations.js";
import type { FrozenAdapter } from "../../src/federated/local-trainer.js";
import { BaseModel } from "../../src/native/base-model.js";
import { emulateModel } from "../../src/native/emulate.js";
import { TextGenerator, planGeneration } from "../../src/native/generator.js";
import type { Generation, GenerationPrompt, GeneratorOptions } from "../../src/native/generator.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { quantizeModel } from "../../src/native/quantize.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { encodeGguf, makeTinyModel } from "../fixtures/tiny-gguf.js";
import { GENERATOR_OPTIONS, answers, first, generate, makePrompt, makePrompts, openGenerator } from "../helpers/generator.js";
import { TEST_ADAPTER, makeSample, makeTestFolder, makeTinyModelFile } from "../helpers/native.js";
import { stockGreedyTokens } from "../helpers/stock-llama.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const f16 = makeTinyModelFile(folder);
const f32 = makeTinyModelFile(folder, "f32.gguf", { type: "F32" });
const BUILT_IN = resolve(import.meta.dirname, "..", "..", "models", "fedllm-tiny-f16.gguf");
const STORIES = "/work/shared/data/models/stories260K-f32.gguf";

describe.each(["F32", "F16", "Q8_0", "Q4_0", "Q4_K_M", "Q6_K"])("prompts of a %s model together", (type) => {
  const path = type === "F32" ? f32 : type === "F16" ? f16 : join(folder, `${type}.gguf`);

  // What is not quantized has nothing to be repacked.
  test.each(type.startsWith("Q") ? [false, true] : [false])("get the bits that each gets alone, in any order and beside any others, repacked: %s", async (repack) => {
    if (type.startsWith("Q")) await quantizeModel(addon, { inputPath: f32, outputPath: path, type, numThreads: 1 });
    const prompts = makePrompts();
    const alone: Generation[] = [];
    const two = await openGenerator(path, { maxSequences: 2, repack });
    for (const prompt of prompts) alone.push(first(await generate(two, [prompt])));
    for (const maxSequences of [2, 3, 16]) {
      const generator = await openGenerator(path, { maxSequences, repack });
      expect(answers(await generate(generator, prompts))).toEqual(answers(alone));
      const backwards = await generate(generator, [...prompts].reverse());
      expect(answers([...backwards].reverse())).toEqual(answers(alone));
    }
    expect(new Set(alone.map(({ tokens }) => tokens.join())).size).toBeGreaterThan(6);
  });
});

describe("greedy answers", () => {
  test("are those of a model that sees the whole sequence anew for each token", async () => {
    const prompt = makeSample(30, 3).tokens;
    const generator = await openGenerator(f16);
    const { tokens } = first(await generate(generator, [makePrompt(prompt, { maxNewTokens: 8 }), ...makePrompts()]));
    const naive: number[] = [];
    while (naive.length < 8) {
      const fresh = await TextGenerator.open(addon, f16, { ...GENERATOR_OPTIONS, maxSequences: 1 + (naive.length % 2) });
      naive.push(...first(await generate(fresh, [makePrompt(Int32Array.of(...prompt, ...naive), { maxNewTokens: 1 })])).tokens);
      fresh.dispose();
    }
    expect([...tokens]).toEqual(naive);
  });

  test("are those of node-llama-cpp, and greedy by the core's evaluation", async () => {
    const generator = await openGenerator(BUILT_IN, { contextLength: 256 });
    const tokenizer = await Tokenizer.open(addon, BUILT_IN);
    const prompts = ["The farmer", "What is the capital of", "A list of animals:"].map((text) =>
      Int32Array.of(...(tokenizer.bosToken === undefined ? [] : [tokenizer.bosToken]), ...tokenizer.tokenize(text, false)),
    );
    tokenizer.dispose();
    const together = await generate(generator, prompts.map((tokens) => makePrompt(tokens, { maxNewTokens: 30 })));
    const model = await BaseModel.open(addon, BUILT_IN, { numThreads: 1 });
    const groups = prompts.map((prompt, index) => ({ prompt, continuations: [together[index]?.tokens ?? new Int32Array(0)] }));
    const scores = await scoreContinuations(new NativeTrainer(model, TEST_ADAPTER), { groups, microBatchTokens: 256 });
    model.dispose();
    expect(scores.map((score) => first(score).isGreedy)).toEqual([true, true, true]);
    for (const [index, prompt] of prompts.entries()) {
      expect([...(together[index]?.tokens ?? [])]).toEqual(await stockGreedyTokens(BUILT_IN, prompt, 30));
    }
  });

  test.skipIf(!existsSync(STORIES))("of a model that tells stories tell one", async () => {
    const generator = await openGenerator(STORIES, { contextLength: 128 });
    const { text, stop } = first(await generate(generator, [makePrompt(Int32Array.of(1), { maxNewTokens: 40 })]));
    expect(text.trimStart()).toMatch(/^Once upon a time, there was a little girl named Lily\./);
    expect(stop).toBe("maxTokens");
  });
});

describe("adapters", () => {
  /** Two adapters with weights large enough to change what is likely. */
  async function makeAdapters(model: BaseModel): Promise<{ adapters: FrozenAdapter[]; paths: string[] }> {
    const adapters = [0, 1].map((index): FrozenAdapter => {
      const options = index === 0 ? TEST_ADAPTER : { rank: 2, loraAlpha: 2, targetModules: ["ffn_down", "attn_k"] };
      const { numParameters } = model.adapterLayout(options);
      return { ...options, weights: Float32Array.from({ length: numParameters }, (_, place) => 0.1 * Math.sin(place * (index + 1.3) + 0.01 * place ** 2)) };
    });
    const paths = adapters.map((_, index) => join(folder, `adapter-${model.info.numLayers}-${index}.gguf`));
    for (const [index, { weights, ...options }] of adapters.entries()) await model.saveAdapter(paths[index] ?? "", options, weights);
    return { adapters, paths };
  }

  /** The core's log-probability of each token of an answer. */
  async function scoreTokens(model: BaseModel, frozenAdapters: readonly FrozenAdapter[], prompt: Int32Array, answer: Int32Array): Promise<number[]> {
    const trainer = new NativeTrainer(model, TEST_ADAPTER);
    const evaluate: NativeTrainer["evaluate"] = async (request, signal) => await trainer.evaluate({ ...request, frozenAdapters }, signal);
    const groups = Array.from(answer, (token, index) => ({ prompt: Int32Array.of(...prompt, ...answer.subarray(0, index)), continuations: [Int32Array.of(token)] }));
    return (await scoreContinuations({ evaluate }, { groups, microBatchTokens: 512 })).map((scores) => first(scores).logProbability);
  }

  /**
   * llama.cpp keeps keys and values in F16, which rounds each by up to 2^-11 of itself, and over a few layers the logits, of size 4 or so, by
   * some thousandths. Measured: up to 1e-3. With another adapter some token's is other by tenths.
   */
  const TOLERANCE = 3e-3;

  async function checkScores(path: string): Promise<void> {
    const model = await BaseModel.open(addon, path, { numThreads: 1 });
    const { adapters, paths } = await makeAdapters(model);
    const prompt = makeSample(24, 9).tokens;
    for (const used of [[], [0], [1], [0, 1]]) {
      const generator = await openGenerator(path, { adapters: used.map((index) => ({ path: paths[index] ?? "", scale: 1 })) });
      const { tokens, logProbabilities } = first(await generate(generator, [makePrompt(prompt)]));
      for (const others of [[], [0], [1], [0, 1]]) {
        const scores = await scoreTokens(model, others.flatMap((index) => adapters[index] ?? []), prompt, tokens);
        const distance = Math.max(...scores.map((score, index) => Math.abs(score - (logProbabilities?.[index] ?? 0))));
        if (others.join() === used.join()) expect(distance).toBeLessThan(TOLERANCE);
        else expect(distance).toBeGreaterThan(30 * TOLERANCE);
      }
    }
    model.dispose();
  }

  test("change the logits as the core's evaluation with the same weights does", async () => {
    await checkScores(f32);
  });

  test("work on an emulator", async () => {
    const full = makeTinyModelFile(folder, "four.gguf", { type: "F32", numLayers: 4 });
    const emulator = join(folder, "emulator.gguf");
    await emulateModel(addon, { inputPath: full, outputPath: emulator, layers: [0, 2, 3] });
    await checkScores(emulator);
  });

  test("are scaled: half the weights of B are the adapter at scale one half", async () => {
    const model = await BaseModel.open(addon, f32, { numThreads: 1 });
    const { adapters, paths } = await makeAdapters(model);
    const { weights, ...options } = first(adapters);
    const halved = weights.slice();
    for (const { name, shape, offset } of model.adapterLayout(options).tensors) {
      if (name.endsWith(".lora_b")) for (let place = offset; place < offset + shape[0] * shape[1]; place++) halved[place] = (halved[place] ?? 0) / 2;
    }
    const halvedPath = join(folder, "halved.gguf");
    await model.saveAdapter(halvedPath, options, halved);
    model.dispose();
    const scaled = await generate(await openGenerator(f32, { adapters: [{ path: paths[0] ?? "", scale: 0.5 }] }), makePrompts());
    expect(scaled).toEqual(await generate(await openGenerator(f32, { adapters: [{ path: halvedPath, scale: 1 }] }), makePrompts()));
  });

  test("that are damaged or of another model are refused by name", async () => {
    const model = await BaseModel.open(addon, f32, { numThreads: 1 });
    const { paths } = await makeAdapters(model);
    model.dispose();
    const bytes = readFileSync(paths[0] ?? "");
    const damaged = join(folder, "damaged.gguf");
    for (const part of [bytes.subarray(0, bytes.length / 2), bytes.subarray(0, 100), Buffer.from("no adapter")]) {
      writeFileSync(damaged, part);
      await expect(openGenerator(f32, { adapters: [{ path: damaged, scale: 1 }] })).rejects.toMatchObject({ code: "ADAPTER_INVALID" });
    }
    const other = makeTinyModelFile(folder, "narrow.gguf", { embeddingLength: 64 });
    await expect(openGenerator(other, { adapters: [{ path: paths[0] ?? "", scale: 1 }] })).rejects.toMatchObject({ code: "ADAPTER_INVALID" });
    await expect(openGenerator(f32, { adapters: [{ path: f32, scale: 1 }] })).rejects.toMatchObject({ code: "ADAPTER_INVALID" });
  });
});

describe("a request", () => {
  test("shares what prompts have in common", async () => {
    const results = await generate(await openGenerator(f16), makePrompts());
    // In the order of tokens: [1] comes first and shares nothing; of the five with the common 60, one computes it.
    const own = results.map(({ numOwnPromptTokens }) => numOwnPromptTokens);
    expect(own[3]).toBeLessThanOrEqual(3);
    expect([own[0], own[1], own[4], own[8]].filter((count) => (count ?? 0) > 45)).toHaveLength(1);
    expect(own[7]).toBeGreaterThan(290);
  });

  test("gives the same bits again, after others and in a new generator", async () => {
    const generator = await openGenerator(f16);
    const before = await generate(generator, makePrompts());
    await generate(generator, [makePrompt(makeSample(200, 8).tokens, { maxNewTokens: 100, temperature: 2 })]);
    expect(await generate(generator, makePrompts())).toEqual(before);
    expect(await generate(await openGenerator(f16), makePrompts())).toEqual(before);
  });

  test("fails when logits are no numbers, and names the prompt", async () => {
    const content = makeTinyModel({ type: "F32" });
    const tensors = content.tensors.map((tensor) => (tensor.name === "output_norm.weight" ? { ...tensor, values: tensor.values.map(() => Number.NaN) } : tensor));
    const path = join(folder, "nan.gguf");
    writeFileSync(path, encodeGguf({ ...content, tensors }));
    await expect(generate(await openGenerator(path), makePrompts())).rejects.toMatchObject({ code: "TRAIN_FAILED", message: expect.stringContaining("prompt 5") as unknown });
  });

  test("reports how many tokens there are, and may be empty", async () => {
    const generator = await openGenerator(f16);
    const reports: number[] = [];
    const results = await generator.generate({ prompts: makePrompts(), onProgress: (count) => reports.push(count) });
    expect(reports.at(-1)).toBe(results.reduce((sum, { tokens }) => sum + tokens.length, 0));
    expect(reports.every((count, index) => index === 0 || count >= (reports[index - 1] ?? 0))).toBe(true);
    expect(results.every(({ logProbabilities }) => logProbabilities === undefined)).toBe(true);
    expect(await generator.generate({ prompts: [] })).toEqual([]);
  });

  test("stops at once when cancelled, also while it waits for another, and the next one runs", async () => {
    const generator = await openGenerator(f16, { contextLength: 512 });
    const endless = { prompts: Array.from({ length: 2000 }, (_, seed) => makePrompt(makeSample(200, seed % 7).tokens, { maxNewTokens: 300, temperature: 1, seed })) };
    const controller = new AbortController();
    let settled = 0;
    const watch = { ...endless, onProgress: (): void => { if (settled === 0) { settled = performance.now(); controller.abort("enough"); } } };
    const running = generator.generate(watch, controller.signal);
    const waiting = generator.generate(endless, controller.signal);
    const refused = { status: "rejected", reason: { code: "CANCELLED", cause: "enough" } };
    expect(await Promise.allSettled([running, waiting])).toMatchObject([refused, refused]);
    // The whole would take minutes.
    expect(performance.now() - settled).toBeLessThan(5000);
    expect(first(await generate(generator, [makePrompt(Int32Array.of(1))])).tokens).toHaveLength(20);
  });

  test("goes on when its generator is disposed, which refuses the next", async () => {
    const generator = await TextGenerator.open(addon, f16, GENERATOR_OPTIONS);
    const running = generate(generator, makePrompts());
    generator.dispose();
    generator.dispose();
    expect(await running).toHaveLength(makePrompts().length);
    await expect(generate(generator, makePrompts())).rejects.toThrow("disposed");
  });

  test.each<[string, Partial<GenerationPrompt>]>([
    ["tokens", { tokens: new Int32Array(0) }],
    ["tokens[1]", { tokens: Int32Array.of(1, 368) }],
    ["tokens[0]", { tokens: Int32Array.of(-1) }],
    ["maxNewTokens", { maxNewTokens: 0 }],
    ["maxNewTokens", { maxNewTokens: 1.5 }],
    ["temperature", { temperature: -1 }],
    ["temperature", { temperature: Number.NaN }],
    ["topK", { topK: -1 }],
    ["topP", { topP: 1.01 }],
    ["seed", { seed: -1 }],
    ["seed", { seed: 2 ** 53 }],
    ["stopTexts", { stopTexts: ["a", ""] }],
  ])("is refused for wrong %s", async (field, changes) => {
    const refused = { code: "CONFIG_INVALID", message: expect.stringContaining(`prompts[1].${field}`) as unknown };
    const prompts = [makePrompt(Int32Array.of(1)), makePrompt(Int32Array.of(1), changes)];
    const generator = await openGenerator(f16);
    await expect(generator.generate({ prompts })).rejects.toMatchObject(refused);
    // The addon checks by itself.
    const native = await addon.openGenerator(f16, GENERATOR_OPTIONS);
    await expect((async () => await native.generate({ prompts }).promise)()).rejects.toMatchObject(refused);
    native.dispose();
  });
});

describe("opening", () => {
  test("tells what was opened", async () => {
    const { info } = await openGenerator(f16, { contextLength: 300, maxSequences: 3 });
    // 4 streams (an even number) of 512 cells (a multiple of 256), 2 layers, keys and values of 2 heads of 64 numbers in F16.
    expect(info).toEqual({ contextLength: 300, maxSequences: 3, vocabularySize: 368, device: "CPU", cacheBytes: 4 * 512 * 2 * 2 * 128 * 2 });
  });

  test.each<[string, Partial<GeneratorOptions>, string]>([
    ["contextLength", { contextLength: 513 }, "CONFIG_INVALID"],
    ["contextLength", { contextLength: 1 }, "CONFIG_INVALID"],
    ["maxSequences", { maxSequences: 0 }, "CONFIG_INVALID"],
    ["maxSequences", { maxSequences: 257 }, "CONFIG_INVALID"],
    ["numThreads", { numThreads: 0 }, "CONFIG_INVALID"],
    ["device", { device: "Nonsense9" }, "NATIVE_MISMATCH"],
  ])("is refused for wrong %s", async (field, changes, code) => {
    await expect(openGenerator(f16, changes)).rejects.toMatchObject({ code, message: expect.stringContaining(field) as unknown });
  });

  test("of a damaged model, of no model, and of one too large for the memory is refused", async () => {
    const bytes = readFileSync(f16);
    const damaged = join(folder, "damaged-model.gguf");
    for (const part of [bytes.subarray(0, bytes.length / 2), bytes.subarray(0, 2000), Buffer.from("no model")]) {
      writeFileSync(damaged, part);
      await expect(openGenerator(damaged)).rejects.toMatchObject({ code: "MODEL_LOAD_FAILED" });
    }
    await expect(openGenerator(join(folder, "absent.gguf"))).rejects.toMatchObject({ code: "MODEL_LOAD_FAILED" });
    const long = makeTinyModelFile(folder, "long.gguf", { metadata: { "llama.context_length": { u32: 2 ** 26 } } });
    await expect(openGenerator(long, { contextLength: 2 ** 26, maxSequences: 256 })).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringContaining("Lower maxSequences or contextLength") as unknown,
    });
  });

  test("takes what was planned", async () => {
    for (const [contextLength, maxSequences] of [[30, 1], [512, 1], [512, 8], [300, 16]] as const) {
      const plan = await planGeneration(addon, f16, { contextLength, maxSequences, numThreads: 1 });
      const lines: string[] = [];
      addon.setLogger((_, line) => lines.push(line));
      await openGenerator(f16, { contextLength, maxSequences });
      await setTimeout(50); // lines come later than the promise
      addon.setLogger(null);
      const bytesOf = (pattern: RegExp): number => lines.reduce((sum, line) => sum + Number(pattern.exec(line)?.[1] ?? 0) * 2 ** 20, 0);
      // llama.cpp's log has MiB with two places.
      expect(Math.abs(plan.cacheBytes - bytesOf(/KV buffer size = +([\d.]+) MiB/u))).toBeLessThan(2 ** 20 * 0.01);
      const computeBytes = bytesOf(/compute buffer size = +([\d.]+) MiB/u) + bytesOf(/output buffer size = +([\d.]+) MiB/u);
      expect(computeBytes).toBeGreaterThan(0);
      expect(plan.computeBytes).toBeGreaterThan(computeBytes);
      // Not all vectors are there at once, and the log leaves out what products convert in passing.
      expect(plan.computeBytes).toBeLessThan(4 * computeBytes);
      expect(plan).toMatchObject({ maxSequences, weightBytes: 0, neededBytes: plan.cacheBytes + plan.computeBytes });
    }
  });

  test("is planned with as many sequences as fit", async () => {
    const options = { contextLength: 512, maxSequences: 64, numThreads: 1 };
    const all = await planGeneration(addon, f16, options);
    expect(all.maxSequences).toBe(64);
    const some = await planGeneration(addon, f16, options, Math.floor(all.neededBytes / 3));
    const more = await planGeneration(addon, f16, { ...options, maxSequences: some.maxSequences + 2 }, Number.MAX_SAFE_INTEGER);
    expect(some.maxSequences).toBeGreaterThan(4);
    expect(some.neededBytes).toBeLessThanOrEqual(some.limitBytes);
    expect(more.neededBytes).toBeGreaterThan(some.limitBytes);
    const model = await BaseModel.open(addon, f16, { numThreads: 1 });
    expect(await planGeneration(addon, f16, { ...options, repack: true })).toMatchObject({ weightBytes: model.info.weightBytes });
    model.dispose();
    await expect(planGeneration(addon, f16, options, 1000)).rejects.toMatchObject({ code: "OUT_OF_MEMORY", message: expect.stringContaining("Lower contextLength") as unknown });
  });
});
