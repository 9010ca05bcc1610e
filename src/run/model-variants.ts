/**
 * The base model in each precision of a run. The file itself serves its own precision; the others are made from it by
 * llama.cpp's quantizer on this machine and kept in the user's cache under the hash of their source, so that they are
 * made once. A variant appears under its name only when it is complete.
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { NativeAddon, NativeModelInfo } from "../native/binding.js";
import { quantizeModel } from "../native/quantize.js";
import { hashFile } from "./file-hash.js";

/** Tensor type that carries most weights of a precision; a file dominated by it counts as that precision. */
const MAIN_TENSOR_TYPES: Readonly<Record<string, string>> = {
  F32: "F32",
  F16: "F16",
  BF16: "BF16",
  Q8_0: "Q8_0",
  Q6_K: "Q6_K",
  Q4_0: "Q4_0",
};

export interface ModelVariant {
  readonly precision: string;
  readonly path: string;
  readonly sha256: string;
  /** False when the file was there already. */
  readonly made: boolean;
}

export interface VariantSource {
  readonly path: string;
  readonly sha256: string;
  readonly tensorTypes: NativeModelInfo["tensorTypes"];
}

export interface VariantOptions {
  readonly cacheDir: string;
  readonly numThreads: number;
  readonly addon: NativeAddon;
}

/** The file of a precision, made when needed. Rejects with the quantizer's error. */
export async function ensureModelVariant(
  source: VariantSource,
  precision: string,
  options: VariantOptions,
): Promise<ModelVariant> {
  if (precision === "source" || precision === precisionOf(source.tensorTypes)) {
    return { precision, path: source.path, sha256: source.sha256, made: false };
  }
  const path = variantPath(source, precision, options);
  const isThere = existsSync(path);
  if (!isThere) {
    await mkdir(dirname(path), { recursive: true });
    const { addon, numThreads } = options;
    await quantizeModel(addon, { inputPath: source.path, outputPath: path, type: precision, numThreads });
  }
  return { precision, path, sha256: await hashFile(path), made: !isThere };
}

/** Where a variant is kept: the key holds everything its bytes depend on. */
export function variantPath(
  source: VariantSource,
  precision: string,
  options: Pick<VariantOptions, "cacheDir" | "addon">,
): string {
  const key = `${source.sha256.slice(0, 32)}-${precision}-llama.cpp-${options.addon.llamaCppRelease}.gguf`;
  return join(options.cacheDir, "models", key);
}

/** The precision a file already has, as far as one tensor type tells; undefined for mixtures. */
export function precisionOf(tensorTypes: NativeModelInfo["tensorTypes"]): string | undefined {
  // Norms are always F32, so F32 is the file's precision only when nothing else is in it.
  const types = Object.keys(tensorTypes).map((type) => type.toUpperCase());
  const others = types.filter((type) => type !== "F32");
  if (others.length > 1) return undefined;
  const main = others[0] ?? "F32";
  return Object.entries(MAIN_TENSOR_TYPES).find(([, type]) => type === main)?.[0];
}
