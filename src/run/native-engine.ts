/** The training engine over the addon: loads libraries, opens models, makes variants. See engine.ts for the interface. */
import { readEnvironment } from "../config/environment.js";
import type { LoraConfig } from "../config/schema.js";
import type { LocalTrainer, TrainRequest } from "../federated/local-trainer.js";
import { BaseModel } from "../native/base-model.js";
import type { AdapterFileType, HiddenStateCacheSize, NativeAddon, NativeAdapterOptions, NativeHiddenStateCache, NativeKernelVariants, NativeMemoryPlan, NativeModelInfo, NativePlanRequest, TransposeCache } from "../native/binding.js";
import type { DistillResult } from "../native/distillation.js";
import { emulateModel } from "../native/emulate.js";
import { ensureAddon } from "../native/build.js";
import { TextGenerator } from "../native/generator.js";
import { locateLibraries, type NativeBackend } from "../native/libraries.js";
import { awaitNative } from "../native/native-error.js";
import { NativeTrainer } from "../native/native-trainer.js";
import { Tokenizer } from "../native/tokenizer.js";
import { assert } from "../util/assert.js";
import { AUTO_DEVICE, backendOfDevice, chooseDevice, findDevice } from "./device-choice.js";
import type { AdapterShape, MemoryRequest, ModelTeacher, OpenBaseModel, SourceModel, TrainingEngine } from "./engine.js";
import { hashFile } from "./file-hash.js";
import { EXACT_VARIANTS, rememberVariants } from "./kernel-variants.js";
import { ensureModelVariant } from "./model-variants.js";

export interface NativeEngineOptions {
  readonly numThreads: number;
  /** Device name, see findDevice, or `auto`; absent: the CPU. */
  readonly device?: string | undefined;
  /** Most bytes of cached hidden states per model, or `auto`, see NativeModelOptions; absent or `off`: none. */
  readonly hiddenStateCache?: HiddenStateCacheSize | "off" | undefined;
  /** What will be computed: decides which device `auto` takes and whether weights must be streamed to it. */
  readonly workload?: { readonly path: string; readonly requests: readonly MemoryRequest[] };
  /** Hears of builds that take a while. */
  readonly onProgress?: (line: string) => void;
}

/** Tokens of the products that are timed: enough to fill a device, few enough for a second. */
const TUNED_TOKENS = 512;

/** Loads the addon, building it first when there is none. Throws NATIVE_UNAVAILABLE, NATIVE_MISMATCH, CONFIG_INVALID. */
export async function createNativeEngine(options: NativeEngineOptions): Promise<TrainingEngine> {
  const environment = readEnvironment();
  const native = await ensureAddon({
    backend: backendOfDevice(options.device, hasLibraries),
    environment,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  });
  const { addon } = native;
  const { numThreads, workload, hiddenStateCache = "off" } = options;
  const common = { numThreads, ...(hiddenStateCache === "off" ? {} : { hiddenStateCache }) };
  const planOn = (device: string, path: string, request: MemoryRequest, transposes: TransposeCache = "none") =>
    awaitNative(() => addon.planMemory(path, { ...common, transposes, ...deviceOption(device) }, planRequest(request)));
  const plansOn = (device: string, path: string, transposes?: TransposeCache) =>
    Promise.all((workload?.requests ?? []).map((request) => planOn(device, path, request, transposes)));
  const deviceName =
    options.device?.toLowerCase() === AUTO_DEVICE
      ? await chooseDevice(native.devices, (device) => (workload === undefined ? Promise.resolve() : plansOn(device, workload.path)))
      : findDevice(native.devices, options.device);
  const placement = async (path: string) => weightLimit(deviceName === "CPU" ? [] : await plansOn(deviceName, path));
  const open = async (path: string, variants: NativeKernelVariants) =>
    BaseModel.open(addon, path, { ...variants, ...common, ...deviceOption(deviceName), ...(await placement(path)) });
  return {
    llamaCppRelease: native.release,
    addonPath: native.addonPath,
    deviceName,
    openSource: async (path) => describeSource(await openDescription(addon, path, numThreads), await hashFile(path)),
    openTokenizer: (path) => Tokenizer.open(native.addon, path),
    ensureVariant: (source, precision) =>
      ensureModelVariant(source, precision, {
        addon: native.addon,
        cacheDir: environment.cacheDir,
        numThreads: options.numThreads,
      }),
    chooseVariants: async (path, modelSha256) => {
      const device = native.devices.find(({ name }) => name === deviceName);
      const key = { device: deviceName, deviceDescription: device?.description ?? "", modelSha256, llamaCppRelease: native.release };
      const plans = deviceName === "CPU" ? [] : await plansOn(deviceName, path);
      // Streamed weights have no place on the device where they could be timed.
      if (plans.some(({ streams }) => streams)) return EXACT_VARIANTS;
      const fastest = await rememberVariants(environment.cacheDir, key, async () => {
        const model = await open(path, EXACT_VARIANTS);
        try {
          // All kinds that the device could hold at all: the choice outlives this moment's free memory, which the plan looks at.
          const cacheBytes = device?.totalBytes ?? 0;
          return (await model.tune({ numTokens: TUNED_TOKENS, cacheBytes })).best;
        } finally {
          model.dispose();
        }
      });
      if (fastest.transposes === "none") return fastest;
      const withCopies = await plansOn(deviceName, path, fastest.transposes);
      return withCopies.some(({ transposes }) => transposes === "none") ? { ...fastest, transposes: "none" } : fastest;
    },
    emulate: (inputPath, outputPath, layers) => emulateModel(native.addon, { inputPath, outputPath, layers }),
    openBaseModel: async (path, variants) => new NativeOpenModel(await open(path, variants)),
    openGenerator: (path, options) => TextGenerator.open(addon, path, { ...options, numThreads, ...deviceOption(deviceName) }),
    planMemory: (path, request) => planOn(deviceName, path, request),
  };
}

/** The file's facts: the CPU maps it, so that nothing is copied to another device for them. */
function openDescription(addon: NativeAddon, path: string, numThreads: number): Promise<BaseModel> {
  return BaseModel.open(addon, path, { numThreads });
}

/** Whether the libraries of a backend are installed. */
export function hasLibraries(backend: NativeBackend): boolean {
  try {
    locateLibraries(backend);
    return true;
  } catch {
    return false;
  }
}

function deviceOption(device: string): { device?: string } {
  return device === "CPU" ? {} : { device };
}

/** One model serves all requests, so it is loaded for the one that leaves least room for weights. */
function weightLimit(plans: readonly NativeMemoryPlan[]): { weightLimitBytes?: number } {
  const streamed = plans.filter(({ streams }) => streams).map(({ parts }) => parts.weights);
  return streamed.length === 0 ? {} : { weightLimitBytes: Math.min(...streamed) };
}

function planRequest({ lora, ...numbers }: MemoryRequest): NativePlanRequest {
  return { ...numbers, dropout: lora.dropout, adapter: adapterOptions(lora) };
}

function describeSource(model: BaseModel, sha256: string): SourceModel {
  const { info, path } = model;
  model.dispose();
  return { ...info, path, sha256 };
}

class NativeOpenModel implements OpenBaseModel {
  readonly #model: BaseModel;

  constructor(model: BaseModel) {
    this.#model = model;
  }

  get weightBytes(): number {
    return this.#model.info.weightBytes;
  }

  get info(): NativeModelInfo {
    return this.#model.info;
  }

  hiddenStateCache(): NativeHiddenStateCache | undefined {
    return this.#model.hiddenStateCache;
  }

  trainer(lora: LoraConfig): LocalTrainer {
    return new NativeTrainer(this.#model, adapterOptions(lora));
  }

  async distil(lora: LoraConfig, request: TrainRequest, { base, signal, ...teacher }: ModelTeacher): Promise<DistillResult> {
    assert(base instanceof NativeOpenModel, "student and teacher are of one engine");
    return new NativeTrainer(this.#model, adapterOptions(lora)).distil(request, { ...teacher, model: base.#model }, signal);
  }

  saveAdapter(path: string, lora: LoraConfig, weights: Float32Array, type?: AdapterFileType): Promise<void> {
    return this.#model.saveAdapter(path, adapterOptions(lora), weights, type);
  }

  async loadAdapter(path: string): Promise<{ readonly lora: AdapterShape; readonly weights: Float32Array }> {
    const { options, weights } = await this.#model.loadAdapter(path);
    return { lora: options, weights };
  }

  dispose(): void {
    this.#model.dispose();
  }
}

function adapterOptions({ rank, loraAlpha, targetModules, layers }: LoraConfig): NativeAdapterOptions {
  return { rank, loraAlpha, targetModules, ...(layers === undefined ? {} : { layers }) };
}
