/** Makes emulators: GGUF files of a model with some of its layers left out. */
import type { NativeAddon } from "./binding.js";
import { checkLayers } from "./checks.js";
import { awaitNative } from "./native-error.js";

export interface EmulateRequest {
  readonly inputPath: string;
  /** Replaced in one step if it exists. */
  readonly outputPath: string;
  /** Layers of the full model that are kept, ascending; see adapter/emulator-layers.ts. */
  readonly layers: readonly number[];
}

/**
 * Writes the emulator: an ordinary model of any program, which holds nothing of the other layers. Rejects with
 * CONFIG_INVALID (layers, equal paths), MODEL_LOAD_FAILED or MODEL_UNSUPPORTED (input, or a layer that would mean something
 * else at its new place), IO_FAILED.
 */
export async function emulateModel(addon: NativeAddon, { inputPath, outputPath, layers }: EmulateRequest): Promise<void> {
  checkLayers(layers, "layers");
  await awaitNative(() => addon.emulateModel(inputPath, outputPath, layers));
}
