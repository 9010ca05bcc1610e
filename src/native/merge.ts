/** Makes models that have an adapter in their weights. */
import { rm } from "node:fs/promises";
import type { NativeAddon } from "./binding.js";
import { awaitNative } from "./native-error.js";
import { quantizeModel } from "./quantize.js";

export interface MergeRequest {
  readonly modelPath: string;
  /** GGUF adapter of the model. */
  readonly adapterPath: string;
  /** Replaced in one step if it exists. */
  readonly outputPath: string;
  /** A llama.cpp name such as "Q4_K_M", upper or lower case. */
  readonly type: string;
  readonly numThreads: number;
}

/**
 * Writes an ordinary model whose weights are W + scale B A, in any type: the base is dequantized, the sum computed in double, and the result made by llama.cpp's quantizer. Takes the memory of
 * one tensor, and on the disk beside the output the room of a file with the changed weights in F32. Rejects as quantizeModel, and with ADAPTER_INVALID.
 */
export async function mergeAdapter(addon: NativeAddon, { modelPath, adapterPath, outputPath, type, numThreads }: MergeRequest): Promise<void> {
  const whole = `${outputPath}.merging-${String(process.pid)}`;
  try {
    await awaitNative(() => addon.mergeAdapter(modelPath, adapterPath, whole));
    await quantizeModel(addon, { inputPath: whole, outputPath, type, numThreads, allowRequantize: true });
  } finally {
    await rm(whole, { force: true });
  }
}
