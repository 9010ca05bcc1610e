/**
 * Which kernel variants a model runs with on a device: timed once, then remembered in a small file of the user's cache folder, so that
 * two runs on one machine compute the same bits. A run keeps its choice in its record and resumes with it.
 */
import { createHash, randomBytes } from "node:crypto";
import { link, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { NativeKernelVariants } from "../native/binding.js";
import { hasErrorCode, readFileWithin, writeFileAtomic } from "../util/atomic-file.js";

/** Results depend on nothing but the inputs: what a run takes that must give the same bits on every machine of a kind. */
export const EXACT_VARIANTS: NativeKernelVariants = { weightProduct: "f32", transposes: "none" };

/** For records: kernel variants as read from outside. */
export const kernelVariantsSchema = z.object({
  weightProduct: z.enum(["f32", "bf16"]),
  transposes: z.enum(["none", "bf16", "f16", "q8_0"]),
});

const FILE_VERSION = 1;
const fileSchema = z.object({ version: z.literal(FILE_VERSION), key: z.record(z.string(), z.string()), variants: kernelVariantsSchema });

/** Such a file has some hundred bytes. */
const MAX_FILE_BYTES = 65536;

/** What a choice holds for. */
export interface VariantKey {
  readonly device: string;
  /** The processor's or graphics card's own name. */
  readonly deviceDescription: string;
  readonly modelSha256: string;
  readonly llamaCppRelease: string;
}

/**
 * The remembered choice, or the one that `tune` makes now, remembered. Of two processes that time at once both get the choice of the
 * one that wrote first. A damaged file counts as none and is replaced.
 */
export async function rememberVariants(
  cacheDir: string,
  key: VariantKey,
  tune: () => Promise<NativeKernelVariants>,
): Promise<NativeKernelVariants> {
  const folder = join(cacheDir, "kernel-variants");
  const name = createHash("sha256").update(JSON.stringify([key.device, key.deviceDescription, key.modelSha256, key.llamaCppRelease])).digest("hex");
  const path = join(folder, `${name}.json`);
  const remembered = await readVariants(path);
  if (remembered.variants !== undefined) return remembered.variants;
  const variants = await tune();
  await mkdir(folder, { recursive: true });
  const content = `${JSON.stringify({ version: FILE_VERSION, key, variants }, null, 2)}\n`;
  if (remembered.isDamaged) {
    await writeFileAtomic(path, content);
    return variants;
  }
  return (await writeFirst(path, content)) ? variants : ((await readVariants(path)).variants ?? variants);
}

async function readVariants(path: string): Promise<{ readonly variants?: NativeKernelVariants; readonly isDamaged: boolean }> {
  try {
    const bytes = await readFileWithin(path, MAX_FILE_BYTES);
    if (bytes === undefined) return { isDamaged: false };
    return { variants: fileSchema.parse(JSON.parse(bytes.toString("utf8"))).variants, isDamaged: false };
  } catch {
    return { isDamaged: true };
  }
}

/** Writes a file that must not be there yet; false when another process was first. */
async function writeFirst(path: string, content: string): Promise<boolean> {
  const own = `${path}.${String(process.pid)}-${randomBytes(6).toString("hex")}`;
  await writeFileAtomic(own, content);
  try {
    await link(own, path);
    return true;
  } catch (error) {
    if (hasErrorCode(error, "EEXIST")) return false;
    // A file system without links: the last one wins.
    await rename(own, path);
    return true;
  } finally {
    await rm(own, { force: true });
  }
}
