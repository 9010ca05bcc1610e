/** An adapter of this program in the forms of other programs, each a file in one folder, with a card that says what it is. */
import { mkdir, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { problemError } from "../errors.js";
import { BaseModel } from "../native/base-model.js";
import type { AdapterFileType, NativeAddon } from "../native/binding.js";
import { mergeAdapter } from "../native/merge.js";
import { hasErrorCode, writeFileAtomic } from "../util/atomic-file.js";
import type { NumberType } from "./number-types.js";
import { PEFT_CONFIG, PEFT_WEIGHTS, writePeft } from "./peft.js";

/** Which forms are written; at least one. */
export interface ExportForms {
  /** GGUF adapter of this type. */
  readonly gguf?: AdapterFileType | undefined;
  /** PEFT, numbers of this type. */
  readonly peft?: NumberType | undefined;
  /** The whole model with the adapter in its weights, of a type of llama.cpp such as Q4_K_M. */
  readonly merged?: string | undefined;
}

export interface ExportRequest {
  readonly modelPath: string;
  readonly adapterPath: string;
  /** New or empty. */
  readonly folder: string;
  readonly forms: ExportForms;
  /** What transformers calls the base; absent: the name that the model file has. */
  readonly baseModelName?: string | undefined;
  readonly numThreads: number;
  /** The card of these files; receives their names. */
  readonly describe: (facts: ExportFacts) => string;
}

/** What the files say of themselves. */
export interface ExportFacts {
  readonly architecture: string;
  readonly baseModelName: string;
  readonly rank: number;
  readonly loraAlpha: number;
  readonly targetModules: readonly string[];
  readonly numParameters: number;
  readonly files: readonly ExportedFile[];
}

export interface ExportedFile {
  /** Below the folder. */
  readonly name: string;
  readonly bytes: number;
}

const CARD = "README.md";

/**
 * Writes the forms and README.md. Throws CONFIG_INVALID for a folder with files or an unknown type, MODEL_LOAD_FAILED, ADAPTER_INVALID for an
 * adapter of another model or numbers that a type cannot hold, IO_FAILED.
 */
export async function exportAdapter(addon: NativeAddon, request: ExportRequest): Promise<ExportFacts> {
  const { modelPath, adapterPath, folder, forms, numThreads } = request;
  await makeEmptyFolder(folder);
  const names: string[] = [];
  const model = await BaseModel.open(addon, modelPath, { numThreads: 1 });
  try {
    const { info } = model;
    const { options, weights } = await model.loadAdapter(adapterPath);
    const layout = model.adapterLayout(options);
    const baseModelName = request.baseModelName ?? info.name ?? basename(modelPath, ".gguf");
    if (forms.gguf !== undefined) {
      names.push(`adapter-${forms.gguf}.gguf`);
      await model.saveAdapter(join(folder, names.at(-1) ?? ""), options, weights, forms.gguf);
    }
    if (forms.peft !== undefined) {
      names.push(PEFT_WEIGHTS, PEFT_CONFIG);
      await writePeft(folder, { layout, weights, model: info, baseModelName, type: forms.peft });
    }
    if (forms.merged !== undefined) {
      const name = `merged-${forms.merged.toLowerCase()}.gguf`;
      names.push(name);
      await mergeAdapter(addon, { modelPath, adapterPath, outputPath: join(folder, name), type: forms.merged, numThreads });
    }
    const files = await Promise.all(names.map(async (name) => ({ name, bytes: (await stat(join(folder, name))).size })));
    const { rank, loraAlpha, targetModules } = options;
    const facts = { architecture: info.architecture, baseModelName, rank, loraAlpha, targetModules, numParameters: layout.numParameters, files };
    await writeFileAtomic(join(folder, CARD), request.describe(facts));
    return facts;
  } finally {
    model.dispose();
  }
}

async function makeEmptyFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    const [name] = await readdir(folder);
    if (name === undefined) return;
    throw problemError("CONFIG_INVALID", { subject: `--out ${folder}`, expected: "a new or empty folder", received: `a folder with ${name}` });
  } catch (error) {
    if (!hasErrorCode(error, "EEXIST") && !hasErrorCode(error, "ENOTDIR")) throw error;
    throw problemError("CONFIG_INVALID", { subject: `--out ${folder}`, expected: "a new or empty folder", received: "a file" }, error);
  }
}
