/**
 * Text generation with a model file and adapters, by llama.cpp's own forward pass: many prompts at once, their common
 * beginnings computed once. Sampling is ours and its random numbers are functions of a prompt's seed and the place in its answer.
 *
 * The same request gives the same results on one machine and number of threads, whatever ran before. On x86 processors a prompt's
 * tokens moreover do not depend on the prompts beside it, on their order or on `maxSequences` from 2 on: no product is laid out so
 * that its rounding would (on ARM processors that is intended too, but not tested). `maxSequences` 1 and `repack` are faster ways of
 * their own, with other roundings. On other devices kernels may round differently for other numbers of sequences; there, only the whole
 * request and the options decide.
 */
import { problemError } from "../errors.js";
import { MAX_THREADS } from "./base-model.js";
import type { NativeAddon } from "./binding.js";
import { checkInteger, checkNumber } from "./checks.js";
import type { NativeGenerator, NativeGeneratorInfo } from "./generator-binding.js";
import { awaitNative, callNative } from "./native-error.js";
import { settleTask, throwIfAborted } from "./native-task.js";

/** Counts at the boundary have 32 bits. */
const MAX_TOKENS = 2 ** 31 - 1;

/** Largest number of single precision. */
const MAX_FLOAT32 = 3.4028234663852886e38;

/** One prompt to continue. */
export interface GenerationPrompt {
  /** At least one token; BOS included where the model wants it. */
  readonly tokens: Int32Array;
  /** At least 1. */
  readonly maxNewTokens: number;
  /** 0: greedy, the smallest id of equally likely tokens; topK and topP have no effect. */
  readonly temperature: number;
  /** The likeliest tokens after the temperature; 0: all. */
  readonly topK: number;
  /** Of those, the smallest set of likeliest with at least this much of their probability, from 0 (the likeliest alone) to 1 (all). */
  readonly topP: number;
  /** Of this prompt's random stream, from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Decoded text that ends the answer; it is cut before the first of them. None of them is empty. */
  readonly stopTexts: readonly string[];
}

export interface GenerationRequest {
  readonly prompts: readonly GenerationPrompt[];
  /** Whether answers come with their tokens' log-probabilities. */
  readonly logProbabilities?: boolean;
  /** Called as answers grow: tokens made so far, of all prompts. */
  readonly onProgress?: (numTokens: number) => void;
}

export interface Generation {
  /** New tokens, without an end token; with those of a stop text. */
  readonly tokens: Int32Array;
  /**
   * What follows the prompt, so it may begin with a blank. Control tokens have no text; bytes that are no UTF-8, such as half a
   * character at the end, are U+FFFD as in TextDecoder.
   */
  readonly text: string;
  /** contextFull: prompt and answer fill the context; a prompt that leaves no room has no new tokens. */
  readonly stop: "endToken" | "stopText" | "maxTokens" | "contextFull";
  /** Tokens of the prompt that were computed for this prompt alone; the rest was shared. */
  readonly numOwnPromptTokens: number;
  /** Natural logarithms of each new token's probability at temperature 1 without cuts; where the request asks for them. */
  readonly logProbabilities?: Float64Array;
}

/** An adapter by its file. */
export interface GenerationAdapter {
  /** GGUF adapter. */
  readonly path: string;
  /** Multiplies the adapter's own scale; usually 1. */
  readonly scale: number;
}

export interface GeneratorOptions {
  /** Tokens of each sequence, prompt and answer. At least 2, at most the model's own length. */
  readonly contextLength: number;
  /** Sequences that are computed at once. */
  readonly maxSequences: number;
  readonly numThreads: number;
  /** ggml's device name; absent: the CPU. */
  readonly device?: string;
  /** Whether the CPU's weights are copied in the order of its fastest kernels: about twice as fast where they are quantized; they then take their size in memory again. */
  readonly repack?: boolean;
  readonly adapters: readonly GenerationAdapter[];
}

export class TextGenerator {
  /** contextLength and maxSequences as asked for, the device's name, bytes of keys and values. */
  readonly info: NativeGeneratorInfo;
  private readonly native: NativeGenerator;

  private constructor(native: NativeGenerator) {
    this.native = native;
    this.info = native.info;
  }

  /**
   * Opens a GGUF model with adapters on one device. Rejects with CONFIG_INVALID, MODEL_LOAD_FAILED, MODEL_UNSUPPORTED,
   * ADAPTER_INVALID, NATIVE_MISMATCH (device) or OUT_OF_MEMORY.
   */
  static async open(addon: NativeAddon, modelPath: string, options: GeneratorOptions): Promise<TextGenerator> {
    checkOptions(options);
    for (const [index, { scale }] of options.adapters.entries()) {
      checkNumber(scale, `adapters[${index}].scale`, { min: -MAX_FLOAT32, max: MAX_FLOAT32 });
    }
    return new TextGenerator(await awaitNative(() => addon.openGenerator(modelPath, options)));
  }

  /**
   * Answers in the order of the prompts. Requests of one generator follow one another. Rejects with CONFIG_INVALID for a prompt
   * that cannot be, TRAIN_FAILED when the model's logits are no numbers or the device fails, CANCELLED after an abort (on the CPU
   * at once, elsewhere within one decode).
   */
  async generate(request: GenerationRequest, signal?: AbortSignal): Promise<readonly Generation[]> {
    for (const [index, prompt] of request.prompts.entries()) checkPrompt(prompt, `prompts[${index}]`, this.info.vocabularySize);
    throwIfAborted(signal, "generation");
    return await settleTask(callNative(() => this.native.generate(request)), signal, "generation");
  }

  /** Frees the native memory once no request uses it any more; safe to call twice. */
  dispose(): void {
    this.native.dispose();
  }
}

/** Bytes on the device, and the sequences that fit into it. */
export interface GenerationPlan {
  /** The most sequences that fit, up to those that were asked for. */
  readonly maxSequences: number;
  /** Keys and values of all of them. */
  readonly cacheBytes: number;
  /** Activations and logits; an upper bound. */
  readonly computeBytes: number;
  /** Copies of weights; 0 where they stay in the mapped file. */
  readonly weightBytes: number;
  readonly neededBytes: number;
  readonly limitBytes: number;
}

/**
 * What a generator would take, from the model file's description alone. The limit is nine tenths of what is free on the device, or `limitBytes`.
 * What fits may be other tomorrow; where bits depend on the number of sequences (see above), a caller that wants them again keeps the number.
 * Rejects as TextGenerator.open, with OUT_OF_MEMORY when not even one sequence fits.
 */
export async function planGeneration(addon: NativeAddon, modelPath: string, options: Omit<GeneratorOptions, "adapters">, limitBytes?: number): Promise<GenerationPlan> {
  checkOptions(options);
  return await awaitNative(() => addon.planGeneration(modelPath, { ...options, adapters: [] }, limitBytes));
}

function checkOptions(options: Omit<GeneratorOptions, "adapters">): void {
  checkInteger(options.contextLength, "contextLength", 2, MAX_TOKENS);
  checkInteger(options.maxSequences, "maxSequences", 1, MAX_TOKENS);
  checkInteger(options.numThreads, "numThreads", 1, MAX_THREADS);
}

function checkPrompt(prompt: GenerationPrompt, subject: string, vocabularySize: number): void {
  const { tokens } = prompt;
  if (tokens.length === 0) throw problemError("CONFIG_INVALID", { subject: `${subject}.tokens`, expected: "at least one token", received: "none" });
  const badToken = tokens.findIndex((token) => token < 0 || token >= vocabularySize);
  if (badToken >= 0) checkInteger(tokens[badToken] ?? 0, `${subject}.tokens[${badToken}]`, 0, vocabularySize - 1);
  checkInteger(prompt.maxNewTokens, `${subject}.maxNewTokens`, 1, MAX_TOKENS);
  checkNumber(prompt.temperature, `${subject}.temperature`, { min: 0 });
  checkInteger(prompt.topK, `${subject}.topK`, 0, MAX_TOKENS);
  checkNumber(prompt.topP, `${subject}.topP`, { min: 0, max: 1 });
  checkInteger(prompt.seed, `${subject}.seed`, 0, Number.MAX_SAFE_INTEGER);
  if (!prompt.stopTexts.includes("")) return;
  throw problemError("CONFIG_INVALID", { subject: `${subject}.stopTexts`, expected: "texts that are not empty", received: "an empty one" });
}
