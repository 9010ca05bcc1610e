/** What the tests of text generation share: generators over tiny models and prompts of all forms. */
import { onTestFinished } from "vitest";
import { TextGenerator } from "../../src/native/generator.js";
import type { Generation, GenerationPrompt, GeneratorOptions } from "../../src/native/generator.js";
import { loadNative } from "../../src/native/load.js";
import { makeSample } from "./native.js";

/** One thread: ggml's others spin while they wait for each other. */
export const GENERATOR_OPTIONS: GeneratorOptions = { contextLength: 400, maxSequences: 4, numThreads: 1, adapters: [] };

/** Disposed after the calling test. */
export async function openGenerator(path: string, changes: Partial<GeneratorOptions> = {}): Promise<TextGenerator> {
  const generator = await TextGenerator.open(loadNative().addon, path, { ...GENERATOR_OPTIONS, ...changes });
  onTestFinished(() => {
    generator.dispose();
  });
  return generator;
}

/** Greedy, 20 tokens; tests change what they are about. */
export function makePrompt(tokens: Int32Array, changes: Partial<GenerationPrompt> = {}): GenerationPrompt {
  return { tokens, maxNewTokens: 20, temperature: 0, topK: 0, topP: 1, seed: 0, stopTexts: [], ...changes };
}

/** Of all forms: alone, the same twice, sharing a long beginning, the beginning of another, a single token, longer than a batch. */
export function makePrompts(): GenerationPrompt[] {
  const common = makeSample(60, 1).tokens;
  const behind = (variant: number, length: number): Int32Array => Int32Array.of(...common, ...makeSample(length + 1, variant).tokens.subarray(1));
  const prompts = [behind(2, 3), behind(3, 40), makeSample(9, 5).tokens, behind(2, 3), common, Int32Array.of(1), Int32Array.of(1, 300), makeSample(300, 7).tokens, behind(4, 1)];
  return prompts.map((tokens, index) => makePrompt(tokens, index % 2 === 0 ? {} : { temperature: 0.9, seed: index, maxNewTokens: 10 + index }));
}

/** With log-probabilities, so that equal answers are equal to the last bit. */
export async function generate(generator: TextGenerator, prompts: readonly GenerationPrompt[]): Promise<readonly Generation[]> {
  return await generator.generate({ prompts, logProbabilities: true });
}

/** Without what tells how work was shared. */
export function answers(generations: readonly Generation[]): unknown[] {
  return generations.map(({ numOwnPromptTokens: _shared, ...answer }) => answer);
}

/** The first of a list that has one. */
export function first<T>(values: readonly T[]): T {
  const [value] = values;
  if (value === undefined) throw new Error("expected a value");
  return value;
}
