/** How answers are drawn and how they end: against the softmax of the core's scores, and by the rules of stop texts, limits and end tokens. */
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { scoreContinuations } from "../../src/evaluation/continuations.js";
import { BaseModel } from "../../src/native/base-model.js";
import type { GenerationPrompt } from "../../src/native/generator.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { first, generate, makePrompt, openGenerator } from "../helpers/generator.js";
import { TEST_ADAPTER, makeSample, makeTestFolder, makeTinyModelFile } from "../helpers/native.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const f16 = makeTinyModelFile(folder);
const BUILT_IN = resolve(import.meta.dirname, "..", "..", "models", "fedllm-tiny-f16.gguf");

describe("sampled tokens", () => {
  const NUM_DRAWS = 3000;
  const prompt = makeSample(12, 2).tokens;

  /** Probabilities of all first tokens by the core. */
  async function firstTokenProbabilities(temperature: number): Promise<number[]> {
    const model = await BaseModel.open(addon, f16, { numThreads: 1 });
    const continuations = Array.from({ length: model.info.vocabularySize }, (_, token) => Int32Array.of(token));
    const scores = first(await scoreContinuations(new NativeTrainer(model, TEST_ADAPTER), { groups: [{ prompt, continuations }], microBatchTokens: 512 }));
    model.dispose();
    const powers = scores.map(({ logProbability }) => Math.exp(logProbability / temperature));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }

  async function drawFirstTokens(changes: Partial<GenerationPrompt>): Promise<number[]> {
    const generator = await openGenerator(f16, { maxSequences: 32, contextLength: 64 });
    const prompts = Array.from({ length: NUM_DRAWS }, (_, seed) => makePrompt(prompt, { maxNewTokens: 1, seed, ...changes }));
    // No token: the end token was drawn.
    return (await generator.generate({ prompts })).map(({ tokens }) => tokens[0] ?? 2);
  }

  /** Pearson's statistic over tokens expected at least five times, the others as one class, and its degrees of freedom. */
  function chiSquare(draws: readonly number[], probabilities: readonly number[]): { statistic: number; freedom: number } {
    const counts = probabilities.map(() => 0);
    for (const draw of draws) counts[draw] = (counts[draw] ?? 0) + 1;
    const classes = new Map<number, { expected: number; seen: number }>();
    for (const [token, probability] of probabilities.entries()) {
      const key = probability * draws.length >= 5 ? token : -1;
      const { expected, seen } = classes.get(key) ?? { expected: 0, seen: 0 };
      classes.set(key, { expected: expected + probability * draws.length, seen: seen + (counts[token] ?? 0) });
    }
    const terms = [...classes.values()].map(({ expected, seen }) => (expected === 0 ? seen : (seen - expected) ** 2 / expected));
    return { statistic: terms.reduce((total, term) => total + term, 0), freedom: classes.size - 1 };
  }

  test.each([1, 0.5])("come as often as the softmax at temperature %s says", async (temperature) => {
    const draws = await drawFirstTokens({ temperature });
    const { statistic, freedom } = chiSquare(draws, await firstTokenProbabilities(temperature));
    // Mean `freedom`, deviation sqrt(2 freedom): five deviations are left to chance, a wrong distribution is far beyond.
    expect(freedom).toBeGreaterThan(10);
    expect(statistic).toBeLessThan(freedom + 5 * Math.sqrt(2 * freedom));
    const wrong = await firstTokenProbabilities(temperature * 1.25);
    expect(chiSquare(draws, wrong).statistic).toBeGreaterThan(freedom + 5 * Math.sqrt(2 * freedom));
  });

  test("are only the likeliest under topK, and only the nucleus under topP", async () => {
    const probabilities = await firstTokenProbabilities(1);
    const order = probabilities.map((_, token) => token).sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0));
    expect(new Set(await drawFirstTokens({ temperature: 1, topK: 5 }))).toEqual(new Set(order.slice(0, 5)));
    let mass = 0;
    const nucleus = order.filter((token) => {
      const isNeeded = mass < 0.3;
      mass += probabilities[token] ?? 0;
      return isNeeded;
    });
    expect(new Set(await drawFirstTokens({ temperature: 1, topP: 0.3 }))).toEqual(new Set(nucleus));
  });

  test("follow the seed, of which 0 and the largest are two", async () => {
    const generator = await openGenerator(f16);
    const draw = async (seed: number): Promise<string> => first(await generate(generator, [makePrompt(prompt, { temperature: 1.5, seed })])).tokens.join();
    const seeds = [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER];
    const drawn = await Promise.all(seeds.map(draw));
    expect(new Set(drawn).size).toBe(seeds.length);
    expect(await draw(0)).toBe(drawn[0]);
  });
});

describe("an answer ends", () => {
  test("before a stop text, wherever tokens meet in it", async () => {
    const generator = await openGenerator(BUILT_IN, { contextLength: 128 });
    const tokenizer = await Tokenizer.open(addon, BUILT_IN);
    const tokens = Int32Array.of(...(tokenizer.bosToken === undefined ? [] : [tokenizer.bosToken]), ...tokenizer.tokenize("The farmer", false));
    tokenizer.dispose();
    const { text } = first(await generate(generator, [makePrompt(tokens, { maxNewTokens: 30 })]));
    const stops = [3, 7, 12].map((begin) => text.slice(begin, begin + 6));
    const cut = await generate(generator, stops.map((stop) => makePrompt(tokens, { maxNewTokens: 30, stopTexts: ["never there", stop] })));
    for (const [index, stop] of stops.entries()) {
      expect(cut[index]).toMatchObject({ text: text.slice(0, text.indexOf(stop)), stop: "stopText" });
    }
  });

  test("with the context, and a prompt that fills it has no answer, beside others that have", async () => {
    const generator = await openGenerator(f16, { contextLength: 40 });
    const results = await generate(generator, [10, 39, 40, 41, 300].map((length) => makePrompt(makeSample(length).tokens, { maxNewTokens: 1000 })));
    expect(results.map(({ tokens }) => tokens.length)).toEqual([30, 1, 0, 0, 0]);
    expect(results.map(({ stop }) => stop)).toEqual(Array.from({ length: 5 }, () => "contextFull"));
  });

  test("with the end token, which is not part of it", async () => {
    const path = makeTinyModelFile(folder, "ends.gguf", { metadata: { "tokenizer.ggml.eos_token_id": { u32: 300 } } });
    const draws = await generate(await openGenerator(path), Array.from({ length: 24 }, (_, seed) => makePrompt(makeSample(5).tokens, { temperature: 1.5, seed, maxNewTokens: 100 })));
    const ended = draws.filter(({ stop }) => stop === "endToken");
    expect(ended.length).toBeGreaterThan(0);
    expect(draws.every(({ tokens }) => !tokens.includes(300))).toBe(true);
  });

  test("inside a character, which is then U+FFFD as in TextDecoder", async () => {
    const bytes = [0xe6, 0x97, 0xa5].map((byte) => byte + 3);
    const generator = await openGenerator(f16);
    const draws = await generate(generator, Array.from({ length: 64 }, (_, seed) => makePrompt(Int32Array.of(1, ...bytes), { temperature: 3, seed, maxNewTokens: 6 })));
    const pieces = (tokens: Int32Array): Uint8Array => Uint8Array.from([...tokens].flatMap((token) => (token >= 3 && token < 259 ? [token - 3] : [])));
    const pureBytes = draws.filter(({ tokens }) => tokens.length > 0 && tokens.every((token) => token >= 3 && token < 259));
    expect(pureBytes.length).toBeGreaterThan(0);
    expect(pureBytes.some(({ text }) => text.includes("\uFFFD"))).toBe(true);
    for (const { tokens, text } of pureBytes) expect(text).toBe(new TextDecoder().decode(pieces(tokens)));
  });
});
