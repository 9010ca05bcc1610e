/**
 * The single typed description of the addon; the part for text generation is generator-binding.ts. Only this folder loads or calls it.
 * Everything is validated in TypeScript before it crosses; the addon checks again and throws errors with a `code`.
 */
import type { Arithmetic } from "../adapter/arithmetic.js";
import type { MemoryUse } from "../federated/local-trainer.js";
import type { NativeGenerationPlan, NativeGenerator, NativeGeneratorOptions } from "./generator-binding.js";

/** What the addon exports. Long work runs off the JS thread and returns promises. */
export interface NativeAddon {
  /** llama.cpp release the addon was compiled against, for example `v0.4.0`. */
  readonly llamaCppRelease: string;
  /** The sources of the boundary that it was built from; read from the file before it is loaded (stale.ts). */
  readonly sources: string;
  /**
   * Loads ggml's backends from the folder of the prebuilt libraries and checks that the ggml and llama symbols the
   * addon is bound to come from that folder. Returns the devices. Calling it again with the same folder is harmless.
   */
  initBackends(binsDir: string): readonly NativeDevice[];
  /** Routes log lines of ggml and llama.cpp (level: "debug" | "info" | "warn" | "error") to one callback, or drops them (null). */
  setLogger(callback: ((level: string, text: string) => void) | null): void;
  loadModel(path: string, options: NativeModelOptions): Promise<NativeModel>;
  /** What training or scoring would take, from the file's description alone. Rejects with OUT_OF_MEMORY and the numbers when no plan fits. */
  planMemory(path: string, options: NativeModelOptions, request: NativePlanRequest): Promise<NativeMemoryPlan>;
  loadTokenizer(path: string): Promise<NativeTokenizer>;
  /** A model file with adapters, for text generation by llama.cpp. */
  openGenerator(path: string, options: NativeGeneratorOptions): Promise<NativeGenerator>;
  /** What a generator would take, from the file's description alone; options.maxSequences is the most. Rejects with OUT_OF_MEMORY when not even one fits. */
  planGeneration(path: string, options: NativeGeneratorOptions, limitBytes?: number): Promise<NativeGenerationPlan>;
  /** llama.cpp's own quantizer; type is a llama.cpp name such as "Q4_K_M". allowRequantize: the input may be quantized already. */
  quantizeModel(inputPath: string, outputPath: string, type: string, numThreads: number, allowRequantize?: boolean): Promise<void>;
  /** A GGUF of the same model with only these layers (ascending), which is an ordinary model. Atomic. */
  emulateModel(inputPath: string, outputPath: string, layers: readonly number[]): Promise<void>;
  /** The model with W + scale B A in place of each weight with a pair, which becomes F32. Atomic. */
  mergeAdapter(modelPath: string, adapterPath: string, outputPath: string): Promise<void>;
  /** Peak resident memory of this process in bytes, as the system counts it. */
  peakResidentBytes(): number;
  /** On the calling thread. Throws for arrays of another type or length than stated there. */
  readonly arithmetic: Arithmetic;
}

export interface NativeDevice {
  readonly name: string;
  readonly description: string;
  readonly type: "cpu" | "gpu" | "igpu" | "accel";
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export interface NativeModelOptions {
  /** Device name as listed by initBackends; absent: the CPU. */
  readonly device?: string;
  readonly numThreads: number;
  /** Absent: f32. What the processor or device cannot do is ignored. */
  readonly weightProduct?: WeightProduct;
  /** Absent: none. */
  readonly transposes?: TransposeCache;
  /** Larger weights stay in the file and are copied to the device layer by layer. Absent: never. */
  readonly weightLimitBytes?: number;
  /**
   * Hidden states below the lowest adapted layer are kept: at most so many bytes, or half of what each call's plan leaves. Absent: not.
   */
  readonly hiddenStateCache?: HiddenStateCacheSize;
}

export type HiddenStateCacheSize = "auto" | number;

/** Of one call, or since the model was opened. */
export interface NativeHiddenStateCounts {
  /** Samples whose hidden states were there. */
  readonly numHits: number;
  readonly numMisses: number;
  /** Tokens of the hits, which did not pass the lower layers. */
  readonly numTokensReused: number;
  readonly numTokensComputed: number;
}

/** What a model's cache of hidden states holds now. */
export interface NativeHiddenStateCache extends NativeHiddenStateCounts {
  readonly capacityBytes: number;
  readonly bytes: number;
  readonly numSequences: number;
  readonly numEvicted: number;
}

/** Operands of products with frozen weights on the CPU: as they are, or rounded to BF16. */
export type WeightProduct = "f32" | "bf16";

/** Type of the copies W^T that other devices multiply with in the backward pass. */
export type TransposeCache = "none" | "bf16" | "f16" | "q8_0";

/** Choices among kernels; what each may change in the results is stated in native/core/variants.h. */
export interface NativeKernelVariants {
  readonly weightProduct: WeightProduct;
  readonly transposes: TransposeCache;
}

export interface NativeTuneOptions {
  /** Tokens of the timed products, 1 to 65536. */
  readonly numTokens: number;
  /** Device memory that copies W^T of the whole model may take. */
  readonly cacheBytes: number;
}

export interface NativeTuneResult {
  readonly best: NativeKernelVariants;
  /** The first is f32 and none. durationMs: of the products of two layers; copyBytes: of the whole model's copies. */
  readonly timings: readonly (NativeKernelVariants & { readonly durationMs: number; readonly copyBytes: number })[];
}

export interface NativePlanRequest {
  /** Absent: scores of the base alone. */
  readonly adapter?: NativeAdapterOptions;
  /** Tokens of the longest sample. */
  readonly longestSample: number;
  /** Samples of a step. */
  readonly batchSize: number;
  /** Most tokens at once. */
  readonly microBatchTokens: number;
  readonly dropout: number;
  /** Bytes that may be taken; absent: nine tenths of what is free on the device. */
  readonly memoryLimitBytes?: number;
}

export interface NativeMemoryPlan {
  readonly microBatchTokens: number;
  /** Rows of logits at once. */
  readonly headChunk: number;
  /** Layers are computed again in the backward pass instead of being kept. */
  readonly recomputes: boolean;
  /** Weights stay in the file and come layer by layer; `parts.weights` is the weightLimitBytes to load the model with. */
  readonly streams: boolean;
  /** Copies W^T to load the model with: those that were asked for, or none where they leave too little. */
  readonly transposes: TransposeCache;
  /** Bytes. The first four are on the device, the others in this process; on the CPU that is the same. */
  readonly parts: {
    readonly weights: number;
    readonly adapter: number;
    readonly activations: number;
    readonly checkpoints: number;
    readonly scratch: number;
    readonly vectors: number;
    readonly descriptions: number;
    /** Pages of the file that are being read where weights are streamed; the system may take them back. */
    readonly mapped: number;
    readonly process: number;
  };
  readonly deviceBytes: number;
  /** Highest resident memory of this process. */
  readonly processBytes: number;
  /** What must fit into `limitBytes`. */
  readonly neededBytes: number;
  readonly limitBytes: number;
}

export interface NativeModelInfo {
  readonly architecture: string;
  readonly name?: string;
  readonly numLayers: number;
  readonly embeddingLength: number;
  readonly feedForwardLength: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headLength: number;
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly tiedHead: boolean;
  /** Numbers in all weights. */
  readonly numParameters: number;
  /** Bytes of all tensors as stored. */
  readonly weightBytes: number;
  /** Number of tensors per ggml type name. */
  readonly tensorTypes: Readonly<Record<string, number>>;
}

export interface NativeAdapterOptions {
  readonly rank: number;
  readonly loraAlpha: number;
  /** Subset of attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down, attn_qkv that the architecture has. */
  readonly targetModules: readonly string[];
  /** Layers that have pairs, ascending; absent: all. */
  readonly layers?: readonly number[];
}

/** Of an adapter's file; tensors whose rows are no whole blocks of q8_0 are f16 in it. Absent: f32. */
export type AdapterFileType = "f32" | "f16" | "q8_0";

export interface NativeLayoutTensor {
  readonly name: string;
  readonly shape: readonly [number, number];
  readonly offset: number;
}

export interface NativeModel {
  readonly info: NativeModelInfo;
  /** Absent where the model was opened without one. */
  readonly hiddenStateCache?: NativeHiddenStateCache;
  /** Layout of an adapter with these options on this model. */
  adapterLayout(options: NativeAdapterOptions): { tensors: NativeLayoutTensor[]; numParameters: number };
  initialWeights(options: NativeAdapterOptions, seed: number): Float32Array;
  /** Times the kernel variants on the model's device with its own weights. Two calls may choose differently. */
  tune(options: NativeTuneOptions): Promise<NativeTuneResult>;
  train(options: NativeTrainOptions): NativeTask<NativeTrainResult>;
  evaluate(options: NativeEvaluateOptions): NativeTask<NativeEvaluateResult>;
  /** States of the residual stream between layers; all of them in memory at once. */
  hiddenStates(options: NativeStatesOptions): NativeTask<NativeHiddenStates>;
  /** Writes a GGUF LoRA adapter that unmodified llama.cpp loads. Atomic: temporary file, fsync, rename. */
  saveAdapter(path: string, options: NativeAdapterOptions, weights: Float32Array, type?: AdapterFileType): Promise<void>;
  /** Reads an adapter back; its rank, loraAlpha and target modules come from the file. */
  loadAdapter(path: string): Promise<{ options: NativeAdapterOptions; weights: Float32Array }>;
  /** Frees the native memory; safe to call twice. */
  dispose(): void;
}

/** Samples packed for the boundary: tokens and flags concatenated, offsets has one entry more than there are samples. */
export interface NativeSamples {
  readonly tokens: Int32Array;
  readonly supervised: Uint8Array;
  /** Start of each sample in `tokens`; last entry = tokens.length. */
  readonly offsets: Uint32Array;
  /** Weight of each token's loss; absent: all 1. */
  readonly weights?: Float32Array;
  /** Start of each group of samples whose common prefix is computed once; last entry = number of samples. Absent: no groups. */
  readonly groupOffsets?: Uint32Array;
}

/** DPO over groups of two samples, the chosen and the rejected one. */
export interface NativePreferenceOptions {
  readonly beta: number;
  readonly labelSmoothing: number;
  /** Adapter of the reference; absent: the base alone. */
  readonly referenceWeights?: Float32Array;
}

/** Means over the pairs of each step. */
export interface NativePreferenceSteps {
  readonly rewardMargins: Float64Array;
  readonly rewardAccuracies: Float64Array;
  readonly chosenRewards: Float64Array;
  readonly rejectedRewards: Float64Array;
  readonly chosenLogProbabilities: Float64Array;
  readonly rejectedLogProbabilities: Float64Array;
}

/** Following a teacher of more layers, see native/core/distillation.h. Boundaries: 0 is the input of the first layer, l the output of layer l - 1. */
export interface NativeDistillationOptions {
  /** On the same device and of the same architecture, width, vocabulary and head. */
  readonly teacher: NativeModel;
  /** Of the teacher's layers. */
  readonly teacherAdapters?: readonly NativeFrozenAdapter[];
  /** Weight of the states' relative squared error, summed over boundaries. */
  readonly hiddenWeight: number;
  /** Weight of KL(teacher || student) over the vocabulary, the mean over supervised positions. */
  readonly divergenceWeight: number;
  /** Ascending, of the student; without divergence the adapter's layers are below the last. */
  readonly boundaries: readonly number[];
  /** Of the teacher, one for each, ascending. */
  readonly teacherBoundaries: readonly number[];
}

/** Means over the samples of each step, before their weights. */
export interface NativeDistillationSteps {
  readonly hidden: Float64Array;
  readonly divergence: Float64Array;
}

/** An adapter that takes part but is not trained, with a rank and modules of its own. */
export interface NativeFrozenAdapter {
  readonly options: NativeAdapterOptions;
  readonly weights: Float32Array;
}

export interface NativeTrainOptions {
  readonly adapter: NativeAdapterOptions;
  /** In layout order; with `outer` the inner matrices, as are the anchor, the offset and the result. */
  readonly weights: Float32Array;
  /** A and B, fixed, with the inner matrices between them trained; absent: A and B are trained. */
  readonly outer?: Float32Array;
  readonly frozenAdapters?: readonly NativeFrozenAdapter[];
  readonly samples: NativeSamples;
  readonly localSteps: number;
  readonly batchSize: number;
  readonly microBatchTokens: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  readonly maxGradientNorm?: number;
  readonly dropout: number;
  readonly seed: number;
  /** The half of each pair that is trained; absent: both. */
  readonly trainable?: "both" | "a" | "b";
  readonly proximalMu?: number;
  readonly proximalAnchor?: Float32Array;
  readonly gradientOffset?: Float32Array;
  readonly labelSmoothing?: number;
  readonly neftuneAlpha?: number;
  readonly loraPlusRatio?: number;
  /** A power of two; absent: the device's own. */
  readonly lossScale?: number;
  readonly preference?: NativePreferenceOptions;
  readonly distillation?: NativeDistillationOptions;
  readonly onProgress?: (step: number, loss: number, numTokens: number) => void;
}

export interface NativeTrainResult {
  readonly weights: Float32Array;
  readonly numSteps: number;
  readonly stepLosses: Float64Array;
  readonly gradientNorms: Float64Array;
  readonly numTokens: number;
  readonly numSupervisedTokens: number;
  readonly trainDurationMs: number;
  readonly memory: MemoryUse;
  /** Absent where hidden states were not cached. */
  readonly hiddenStateCache?: NativeHiddenStateCounts;
  /** At the end. */
  readonly lossScale: number;
  readonly numScaleHalvings: number;
  /** Only with `preference`. */
  readonly preferenceSteps?: NativePreferenceSteps;
  /** Only with `distillation`. */
  readonly distillationSteps?: NativeDistillationSteps;
}

export interface NativeEvaluateOptions {
  /** Absent with `weights`: the base model alone. */
  readonly adapter?: NativeAdapterOptions;
  readonly weights?: Float32Array;
  readonly frozenAdapters?: readonly NativeFrozenAdapter[];
  readonly samples: NativeSamples;
  readonly microBatchTokens: number;
}

export interface NativeEvaluateResult {
  readonly logProbabilities: Float64Array;
  readonly numCorrectTokens: Uint32Array;
  readonly numSupervisedTokens: Uint32Array;
  readonly evaluateDurationMs: number;
  readonly memory: MemoryUse;
}

export interface NativeStatesOptions extends NativeEvaluateOptions {
  /** Ascending, 0 (input of the first layer) to the number of layers (output of the last, before the final norm). */
  readonly boundaries: readonly number[];
}

export interface NativeHiddenStates {
  /** Where each sample's computed tokens (those before its last supervised one) begin in the states; last entry = their number. */
  readonly offsets: Uint32Array;
  /** Of each boundary: a row of the model's width for each token. */
  readonly states: readonly Float32Array[];
}

/** A running native task. `cancel` makes the promise reject with code CANCELLED within one micro-batch. */
export interface NativeTask<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

/** The model's own tokenizer, through llama.cpp (vocabulary only; no weights are loaded). */
export interface NativeTokenizer {
  readonly vocabularySize: number;
  readonly bosToken?: number;
  readonly eosToken?: number;
  /** Whether the model file asks for BOS before a text. */
  readonly addBos: boolean;
  /** The Jinja chat template stored in the model file. */
  readonly chatTemplate?: string;
  /** parseSpecial: text such as "</s>" becomes the special token. Never adds BOS or EOS by itself. */
  tokenize(text: string, parseSpecial: boolean): Int32Array;
  detokenize(tokens: Int32Array, renderSpecial: boolean): string;
  dispose(): void;
}
