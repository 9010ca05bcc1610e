/** Makes variants of a GGUF file in other types with llama.cpp's own quantizer. */
import { MAX_THREADS } from "./base-model.js";
import type { NativeAddon } from "./binding.js";
import { checkInteger } from "./checks.js";
import { awaitNative } from "./native-error.js";

export interface QuantizeRequest {
  readonly inputPath: string;
  /** Replaced in one step if it exists. */
  readonly outputPath: string;
  /** A llama.cpp name such as "Q4_K_M", upper or lower case. */
  readonly type: string;
  readonly numThreads: number;
  /** Takes an input that is quantized already, which loses quality; default: refuses it. */
  readonly allowRequantize?: boolean;
}

/**
 * Rejects with CONFIG_INVALID (unknown type, the message lists the known ones; input quantized already; equal paths),
 * MODEL_LOAD_FAILED (bad input) or IO_FAILED (output cannot be written).
 */
export async function quantizeModel(addon: NativeAddon, request: QuantizeRequest): Promise<void> {
  const { inputPath, outputPath, type, numThreads, allowRequantize = false } = request;
  checkInteger(numThreads, "numThreads", 1, MAX_THREADS);
  await awaitNative(() => addon.quantizeModel(inputPath, outputPath, type, numThreads, allowRequantize));
}
