/** The training engine over the addon: loads libraries, opens models, makes variants. See engine.ts for the interface. */
import { readEnvironment } from "../config/environment.js";
import type { LoraConfig } from "../config/schema.js";
import { problemError } from "../errors.js";
import { BaseModel } from "../native/base-model.js";
import type { NativeAdapterOptions } from "../native/binding.js";
import { ensureAddon } from "../native/build.js";
import type { NativeBackend } from "../native/libraries.js";
import type { LoadedNative } from "../native/load.js";
import { NativeTrainer } from "../native/native-trainer.js";
import { Tokenizer } from "../native/tokenizer.js";
import type { OpenBaseModel, SourceModel, TrainingEngine } from "./engine.js";
import { hashFile } from "./file-hash.js";
import { ensureModelVariant } from "./model-variants.js";

export interface NativeEngineOptions {
  readonly numThreads: number;
  /** Device name; absent: the CPU. */
  readonly device?: string | undefined;
  /** Hears of builds that take a while. */
  readonly onProgress?: (line: string) => void;
}

/** Loads the addon, building it first when there is none. Throws NATIVE_UNAVAILABLE, NATIVE_MISMATCH, CONFIG_INVALID. */
export async function createNativeEngine(options: NativeEngineOptions): Promise<TrainingEngine> {
  const environment = readEnvironment();
  const native = await ensureAddon({
    backend: backendOfDevice(options.device),
    environment,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  });
  const deviceName = checkDevice(native, options.device);
  const open = (path: string) =>
    BaseModel.open(native.addon, path, {
      numThreads: options.numThreads,
      ...(options.device === undefined ? {} : { device: options.device }),
    });
  return {
    llamaCppRelease: native.release,
    addonPath: native.addonPath,
    deviceName,
    openSource: async (path) => describeSource(await open(path), await hashFile(path)),
    openTokenizer: (path) => Tokenizer.open(native.addon, path),
    ensureVariant: (source, precision) =>
      ensureModelVariant(source, precision, {
        addon: native.addon,
        cacheDir: environment.cacheDir,
        numThreads: options.numThreads,
      }),
    openBaseModel: async (path) => wrapBaseModel(await open(path)),
  };
}

/** Which build of the libraries has a device; its name begins with the backend's, as ggml names devices. */
export function backendOfDevice(device: string | undefined): NativeBackend {
  const match = /^(vulkan|cuda|metal)/i.exec(device ?? "");
  return (match?.[1]?.toLowerCase() as NativeBackend | undefined) ?? "cpu";
}

function checkDevice(native: LoadedNative, device: string | undefined): string {
  if (device === undefined) return "CPU";
  if (native.devices.some((candidate) => candidate.name === device)) return device;
  throw problemError("CONFIG_INVALID", {
    subject: "device",
    expected: `one of ${native.devices.map((candidate) => candidate.name).join(", ")}`,
    received: JSON.stringify(device),
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
    trainer: (lora) => new NativeTrainer(model, adapterOptions(lora)),
    saveAdapter: (path, lora, weights) => model.saveAdapter(path, adapterOptions(lora), weights),
    dispose: () => {
      model.dispose();
    },
  };
}

function adapterOptions({ rank, loraAlpha, targetModules }: LoraConfig): NativeAdapterOptions {
  return { rank, loraAlpha, targetModules };
}
