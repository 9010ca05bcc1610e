/**
 * A frozen base model: opened once, shared by everything that trains or evaluates over it. Training itself is
 * native-trainer.ts. The addon comes in as an argument, so that only the composition root loads it.
 */
import type { AdapterLayout } from "../adapter/layout.js";
import type {
  AdapterFileType,
  NativeAdapterOptions,
  NativeAddon,
  HiddenStateCacheSize,
  NativeHiddenStateCache,
  NativeKernelVariants,
  NativeModel,
  NativeModelInfo,
  NativeTuneOptions,
  NativeTuneResult,
} from "./binding.js";
import { checkInteger, checkLayers, checkNumber, checkWeights } from "./checks.js";
import { awaitNative, callNative } from "./native-error.js";

/** Most threads ggml can use (GGML_MAX_N_THREADS). */
export const MAX_THREADS = 512;

/** Most tokens of a timed product. */
const MAX_TUNED_TOKENS = 2 ** 16;

/** Largest rank the addon takes; the model's own limit, the smaller side of each weight, is checked there. */
const MAX_RANK = 2 ** 31 - 1;

/** Largest number of single precision. */
const MAX_FLOAT32 = 3.4028234663852886e38;

/** Kernel variants that are absent are the exact ones. */
export interface OpenModelOptions extends Partial<NativeKernelVariants> {
  /** Name of a device as listed by the addon; absent: the CPU. */
  readonly device?: string;
  readonly numThreads: number;
  /** Larger weights are streamed from the file; absent: never. */
  readonly weightLimitBytes?: number;
  /** Bytes for hidden states below the lowest adapted layer, see NativeModelOptions; absent: none. */
  readonly hiddenStateCache?: HiddenStateCacheSize;
}

export interface LoadedAdapter {
  readonly options: NativeAdapterOptions;
  /** In layout order of these options. */
  readonly weights: Float32Array;
}

export class BaseModel {
  readonly path: string;
  readonly info: NativeModelInfo;
  /** The addon's object, for native-trainer.ts; throws after dispose. */
  readonly native: NativeModel;

  private constructor(path: string, native: NativeModel) {
    this.path = path;
    this.native = native;
    this.info = native.info;
  }

  /** Opens a GGUF file. Rejects with MODEL_LOAD_FAILED, MODEL_UNSUPPORTED, NATIVE_MISMATCH (device) or OUT_OF_MEMORY. */
  static async open(addon: NativeAddon, path: string, options: OpenModelOptions): Promise<BaseModel> {
    checkInteger(options.numThreads, "numThreads", 1, MAX_THREADS);
    const { hiddenStateCache } = options;
    if (typeof hiddenStateCache === "number") checkInteger(hiddenStateCache, "hiddenStateCache", 1, Number.MAX_SAFE_INTEGER);
    return new BaseModel(path, await awaitNative(() => addon.loadModel(path, options)));
  }

  /** What the cache of hidden states holds and has saved; undefined without one. Throws after dispose. */
  get hiddenStateCache(): NativeHiddenStateCache | undefined {
    return callNative(() => this.native.hiddenStateCache);
  }

  /** Times the kernel variants, see NativeModel.tune. Rejects with CONFIG_INVALID or OUT_OF_MEMORY. */
  async tune(options: NativeTuneOptions): Promise<NativeTuneResult> {
    checkInteger(options.numTokens, "numTokens", 1, MAX_TUNED_TOKENS);
    checkInteger(options.cacheBytes, "cacheBytes", 0, Number.MAX_SAFE_INTEGER);
    return await awaitNative(() => this.native.tune(options));
  }

  /** Layout of an adapter with these options; throws ADAPTER_INVALID when they do not fit the model. */
  adapterLayout(options: NativeAdapterOptions): AdapterLayout {
    checkAdapterOptions(options);
    const { tensors, numParameters } = callNative(() => this.native.adapterLayout(options));
    return { tensors, numParameters, rank: options.rank, loraAlpha: options.loraAlpha };
  }

  /** A uniform in +-1/sqrt(d_in) from a seed per tensor name, B zero. */
  initialWeights(options: NativeAdapterOptions, seed: number): Float32Array {
    checkAdapterOptions(options);
    checkInteger(seed, "seed", 0, Number.MAX_SAFE_INTEGER);
    return callNative(() => this.native.initialWeights(options, seed));
  }

  /**
   * Writes a GGUF adapter that unmodified llama.cpp loads; an existing file is replaced in one step. Rejects with ADAPTER_INVALID for
   * numbers that the type cannot hold.
   */
  async saveAdapter(path: string, options: NativeAdapterOptions, weights: Float32Array, type: AdapterFileType = "f32"): Promise<void> {
    checkWeights(weights, "weights", this.adapterLayout(options).numParameters);
    await awaitNative(() => this.native.saveAdapter(path, options, weights, type));
  }

  /** Reads an adapter back; rejects with ADAPTER_INVALID when it does not fit the model. */
  async loadAdapter(path: string): Promise<LoadedAdapter> {
    return await awaitNative(() => this.native.loadAdapter(path));
  }

  /** Frees the native memory once no task uses it any more; safe to call twice. */
  dispose(): void {
    this.native.dispose();
  }
}

function checkAdapterOptions(options: NativeAdapterOptions): void {
  checkInteger(options.rank, "adapter.rank", 1, MAX_RANK);
  if (options.layers !== undefined) checkLayers(options.layers, "adapter.layers");
  checkNumber(options.loraAlpha, "adapter.loraAlpha", { min: 0, openMin: true, max: MAX_FLOAT32 });
}
