/** The training engine over the addon: loads libraries, opens models, makes variants. See engine.ts for the interface. */
import { readEnvironment } from "../config/environment.js";
import type { LoraConfig } from "../config/schema.js";
import { problemError } from "../errors.js";
import { BaseModel } from "../native/base-model.js";
import type { NativeAdapterOptions, NativeDevice, NativeKernelVariants } from "../native/binding.js";
import { ensureAddon } from "../native/build.js";
import type { NativeBackend } from "../native/libraries.js";
import { NativeTrainer } from "../native/native-trainer.js";
import { Tokenizer } from "../native/tokenizer.js";
import type { OpenBaseModel, SourceModel, TrainingEngine } from "./engine.js";
import { hashFile } from "./file-hash.js";
import { EXACT_VARIANTS, rememberVariants } from "./kernel-variants.js";
import { ensureModelVariant } from "./model-variants.js";

export interface NativeEngineOptions {
  readonly numThreads: number;
  /** Device name, see findDevice; absent: the CPU. */
  readonly device?: string | undefined;
  /** Hears of builds that take a while. */
  readonly onProgress?: (line: string) => void;
}

/** Tokens of the products that are timed: enough to fill a device, few enough for a second. */
const TUNED_TOKENS = 512;

/** Of a device's free memory, what copies of the weights may take; activations need the rest. */
const COPY_SHARE = 0.25;

/** Loads the addon, building it first when there is none. Throws NATIVE_UNAVAILABLE, NATIVE_MISMATCH, CONFIG_INVALID. */
export async function createNativeEngine(options: NativeEngineOptions): Promise<TrainingEngine> {
  const environment = readEnvironment();
  const native = await ensureAddon({
    backend: backendOfDevice(options.device),
    environment,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  });
  const deviceName = findDevice(native.devices, options.device);
  const open = (path: string, variants: NativeKernelVariants) =>
    BaseModel.open(native.addon, path, {
      ...variants,
      numThreads: options.numThreads,
      ...(options.device === undefined ? {} : { device: deviceName }),
    });
  return {
    llamaCppRelease: native.release,
    addonPath: native.addonPath,
    deviceName,
    openSource: async (path) => describeSource(await open(path, EXACT_VARIANTS), await hashFile(path)),
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
      return rememberVariants(environment.cacheDir, key, async () => {
        const model = await open(path, EXACT_VARIANTS);
        try {
          const cacheBytes = Math.floor(COPY_SHARE * (device?.freeBytes ?? 0));
          return (await model.tune({ numTokens: TUNED_TOKENS, cacheBytes })).best;
        } finally {
          model.dispose();
        }
      });
    },
    openBaseModel: async (path, variants) => wrapBaseModel(await open(path, variants)),
  };
}

/** Which build of the libraries has a device: its name, ours or ggml's, begins with the backend's. */
export function backendOfDevice(device: string | undefined): NativeBackend {
  const match = /^(vulkan|cuda|metal|mtl)/i.exec(device ?? "");
  const backend = match?.[1]?.toLowerCase();
  return backend === undefined ? "cpu" : backend === "mtl" ? "metal" : (backend as NativeBackend);
}

/**
 * ggml's name of the wanted device. `cpu`, `metal`, `cuda:0` and `vulkan:1` are understood beside ggml's own names (CPU, MTL0,
 * CUDA0, Vulkan1), in any case. Absent: the CPU. Throws CONFIG_INVALID naming the devices there are.
 */
export function findDevice(devices: readonly Pick<NativeDevice, "name">[], wanted: string | undefined): string {
  if (wanted === undefined) return "CPU";
  const plain = wanted.toLowerCase().replace(/^metal/u, "mtl").replace(":", "");
  // Without a number the first of its kind is meant.
  const found = devices.find(({ name }) => [plain, `${plain}0`].includes(name.toLowerCase().replace(/^metal/u, "mtl")));
  if (found !== undefined) return found.name;
  throw problemError("CONFIG_INVALID", {
    subject: "device",
    expected: `one of ${devices.map((candidate) => candidate.name).join(", ")}`,
    received: JSON.stringify(wanted),
  });
}

function describeSource(model: BaseModel, sha256: string): SourceModel {
  const { info, path } = model;
  model.dispose();
  return { ...info, path, sha256 };
}

function wrapBaseModel(model: BaseModel): OpenBaseModel {
  return {
    weightBytes: model.info.weightBytes,
    info: model.info,
    trainer: (lora) => new NativeTrainer(model, adapterOptions(lora)),
    saveAdapter: (path, lora, weights) => model.saveAdapter(path, adapterOptions(lora), weights),
    loadAdapter: async (path) => {
      const { options, weights } = await model.loadAdapter(path);
      return { lora: options, weights };
    },
    dispose: () => {
      model.dispose();
    },
  };
}

function adapterOptions({ rank, loraAlpha, targetModules }: LoraConfig): NativeAdapterOptions {
  return { rank, loraAlpha, targetModules };
}
