/**
 * What a run needs of the native side, as one interface: open a model for training, read its tokenizer, make a variant.
 * The implementation over the addon is native-engine.ts; tests put a trainer without a model behind the same interface.
 */
import type { LoraConfig } from "../config/schema.js";
import type { SampleTokenizer } from "../data/tokenized.js";
import type { LocalTrainer, TrainRequest } from "../federated/local-trainer.js";
import type { AdapterFileType, NativeHiddenStateCache, NativeKernelVariants, NativeMemoryPlan, NativeModelInfo } from "../native/binding.js";
import type { DistillResult, Teacher } from "../native/distillation.js";
import type { Generation, GenerationRequest, GeneratorOptions } from "../native/generator.js";
import type { ModelVariant } from "./model-variants.js";

/** The source model's facts, known before any training. */
export interface SourceModel extends NativeModelInfo {
  readonly path: string;
  readonly sha256: string;
}

/** The tokenizer of the source model, shared by all precisions. */
export interface ModelTokenizer extends SampleTokenizer {
  readonly chatTemplate?: string;
  detokenize(tokens: Int32Array, renderSpecial: boolean): string;
  dispose(): void;
}

/** What an adapter file says about itself. */
export type AdapterShape = Pick<LoraConfig, "rank" | "loraAlpha"> & { readonly targetModules: readonly string[]; readonly layers?: readonly number[] | undefined };

/** Whom a model follows, see src/native/distillation.ts. */
export interface ModelTeacher extends Omit<Teacher, "model"> {
  readonly base: OpenBaseModel;
  readonly signal?: AbortSignal;
}

/** One precision of the base model, opened; trainers over it share its weights. */
export interface OpenBaseModel {
  readonly weightBytes: number;
  readonly info: NativeModelInfo;
  trainer(lora: LoraConfig): LocalTrainer;
  /** What its cache of hidden states holds and has saved since it was opened; undefined without one. */
  hiddenStateCache?(): NativeHiddenStateCache | undefined;
  /** Trains an adapter of this model so that it is like a teacher, which the same engine opened; rejects as training. Absent: the engine cannot. */
  distil?(lora: LoraConfig, request: TrainRequest, teacher: ModelTeacher): Promise<DistillResult>;
  /** Writes an adapter file atomically; the type is f32 unless said otherwise. */
  saveAdapter(path: string, lora: LoraConfig, weights: Float32Array, type?: AdapterFileType): Promise<void>;
  /** Reads an adapter file. Rejects with ADAPTER_INVALID when it does not fit the model. */
  loadAdapter(path: string): Promise<{ readonly lora: AdapterShape; readonly weights: Float32Array }>;
  /** Frees the weights; safe to call twice. */
  dispose(): void;
}

/** A model with adapters that writes text. */
export interface OpenGenerator {
  /** Answers in the order of the prompts. */
  generate(request: GenerationRequest, signal?: AbortSignal): Promise<readonly Generation[]>;
  /** Safe to call twice. */
  dispose(): void;
}

/** What memory depends on. */
export interface MemoryRequest {
  readonly lora: LoraConfig;
  /** Tokens of the longest sample. */
  readonly longestSample: number;
  readonly batchSize: number;
  readonly microBatchTokens: number;
  readonly memoryLimitBytes?: number;
}

export interface TrainingEngine {
  readonly llamaCppRelease: string;
  /** File of the addon, for the run's record. */
  readonly addonPath: string;
  /** Name of the device that computes. */
  readonly deviceName: string;
  openSource(path: string): Promise<SourceModel>;
  openTokenizer(path: string): Promise<ModelTokenizer>;
  ensureVariant(source: SourceModel, precision: string): Promise<ModelVariant>;
  /** The fastest kernel variants for a model on this device, the same ones at each call; absent: there is only the exact one. */
  chooseVariants?(path: string, sha256: string): Promise<NativeKernelVariants>;
  /** Writes a model with only these layers of another one; rejects as emulateModel. */
  emulate(inputPath: string, outputPath: string, layers: readonly number[]): Promise<void>;
  openBaseModel(path: string, variants: NativeKernelVariants): Promise<OpenBaseModel>;
  /** Opens a model for generation on the engine's device. Absent: the engine cannot. */
  openGenerator?(path: string, options: Pick<GeneratorOptions, "contextLength" | "maxSequences" | "adapters">): Promise<OpenGenerator>;
  /** How training would be computed and what it would take; loads nothing. Rejects with OUT_OF_MEMORY and the numbers when no plan fits. */
  planMemory(path: string, request: MemoryRequest): Promise<NativeMemoryPlan>;
}
