/** The part of the addon that generates text; binding.ts describes the rest. What each field means is said in generator.ts. */
import type { NativeTask } from "./binding.js";

export interface NativeGeneratorOptions {
  readonly contextLength: number;
  readonly maxSequences: number;
  readonly numThreads: number;
  readonly device?: string;
  readonly repack?: boolean;
  readonly adapters: readonly { readonly path: string; readonly scale: number }[];
}

export interface NativeGeneratorInfo {
  readonly contextLength: number;
  readonly maxSequences: number;
  readonly vocabularySize: number;
  readonly device: string;
  readonly cacheBytes: number;
}

export interface NativeGenerationPlan {
  readonly maxSequences: number;
  readonly cacheBytes: number;
  readonly computeBytes: number;
  readonly weightBytes: number;
  readonly neededBytes: number;
  readonly limitBytes: number;
}

export interface NativeGenerationPrompt {
  readonly tokens: Int32Array;
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  readonly stopTexts: readonly string[];
}

export interface NativeGenerationRequest {
  readonly prompts: readonly NativeGenerationPrompt[];
  readonly logProbabilities?: boolean;
  readonly onProgress?: (numTokens: number) => void;
}

export interface NativeGeneration {
  readonly tokens: Int32Array;
  readonly text: string;
  readonly stop: "endToken" | "stopText" | "maxTokens" | "contextFull";
  readonly numOwnPromptTokens: number;
  readonly logProbabilities?: Float64Array;
}

export interface NativeGenerator {
  readonly info: NativeGeneratorInfo;
  /** Requests of one generator follow one another. */
  generate(request: NativeGenerationRequest): NativeTask<readonly NativeGeneration[]>;
  /** Frees the native memory once no request uses it any more; safe to call twice. */
  dispose(): void;
}
