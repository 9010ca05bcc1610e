/**
 * Text generation with an open model file and adapters, by llama.cpp's own forward pass: many prompts at once, their common
 * beginnings computed once. Results are a function of the request alone.
 */

/** One prompt to continue. */
export interface GenerationPrompt {
  /** At least one token; BOS included where the model wants it. */
  readonly tokens: Int32Array;
  readonly maxNewTokens: number;
  /** 0: greedy. */
  readonly temperature: number;
  /** 0: all. */
  readonly topK: number;
  /** 1: all. */
  readonly topP: number;
  /** Of this prompt's random stream, from 0 to 2^53 - 1. */
  readonly seed: number;
  /** Decoded text that ends the answer; it is cut before the first of them. */
  readonly stopTexts: readonly string[];
}

export interface GenerationRequest {
  readonly prompts: readonly GenerationPrompt[];
  /** Called as answers grow: tokens made so far, of all prompts. */
  readonly onProgress?: (numTokens: number) => void;
}

export interface Generation {
  /** New tokens, without an end token. */
  readonly tokens: Int32Array;
  readonly text: string;
  readonly stop: "endToken" | "stopText" | "maxTokens" | "contextFull";
  /** Tokens of the prompt that were computed for this prompt alone; the rest was shared. */
  readonly numOwnPromptTokens: number;
}

/** An adapter by its file. */
export interface GenerationAdapter {
  /** GGUF adapter. */
  readonly path: string;
  /** Multiplies the adapter's own scale; usually 1. */
  readonly scale: number;
}

export interface GeneratorOptions {
  /** Tokens of each sequence, prompt and answer. At most the model's own length. */
  readonly contextLength: number;
  /** Sequences that are computed at once. */
  readonly maxSequences: number;
  readonly numThreads: number;
  /** ggml's device name; absent: the CPU. */
  readonly device?: string;
  readonly adapters: readonly GenerationAdapter[];
}
