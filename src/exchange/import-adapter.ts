/** An adapter of another program, made a GGUF adapter in F32 that a run can begin with (training.startAdapter). */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { AdapterLayout } from "../adapter/layout.js";
import { problemError } from "../errors.js";
import { BaseModel } from "../native/base-model.js";
import type { LoadedAdapter } from "../native/base-model.js";
import type { NativeAddon, NativeAdapterOptions } from "../native/binding.js";
import { isPeftFolder, readPeft } from "./peft.js";
import type { ImportedAdapter } from "./peft.js";

export interface ImportRequest {
  /** Folder of PEFT, or GGUF adapter of any type. */
  readonly source: string;
  /** GGUF model that the adapter belongs to. */
  readonly modelPath: string;
  /** Not there yet. */
  readonly outputPath: string;
}

/** Writes the adapter and returns its options. Throws CONFIG_INVALID for paths, ADAPTER_INVALID for what is no adapter of the model, MODEL_LOAD_FAILED, IO_FAILED. */
export async function importAdapter(addon: NativeAddon, { source, modelPath, outputPath }: ImportRequest): Promise<NativeAdapterOptions> {
  if ((await kindOf(outputPath)) !== undefined) throw problemError("CONFIG_INVALID", { subject: "--out", expected: "a file that is not there yet", received: outputPath });
  const kind = await kindOf(source);
  const isPeft = kind === "folder" && isPeftFolder(source);
  if (kind === undefined || (kind === "folder" && !isPeft)) {
    throw problemError("CONFIG_INVALID", { subject: "adapter", expected: "a folder with adapter_config.json, or a GGUF adapter", received: kind === undefined ? `${source}, which is not there` : `${source}, which has none` });
  }
  const model = await BaseModel.open(addon, modelPath, { numThreads: 1 });
  try {
    const { options, weights } = isPeft ? await fromPeft(source, model) : await model.loadAdapter(source);
    await mkdir(dirname(outputPath), { recursive: true });
    await model.saveAdapter(outputPath, options, weights);
    return options;
  } finally {
    model.dispose();
  }
}

async function kindOf(path: string): Promise<"file" | "folder" | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  return found.isDirectory() ? "folder" : "file";
}

async function fromPeft(folder: string, model: BaseModel): Promise<LoadedAdapter> {
  const imported = await readPeft(folder, model.info);
  const { rank, loraAlpha, targetModules, layers } = imported;
  const options: NativeAdapterOptions = { rank, loraAlpha, targetModules, ...(layers === undefined ? {} : { layers }) };
  return { options, weights: arrange(imported, model.adapterLayout(options), folder) };
}

/** The numbers in the order of the layout; every pair must be there in its shape. */
function arrange({ tensors }: ImportedAdapter, layout: AdapterLayout, folder: string): Float32Array {
  const weights = new Float32Array(layout.numParameters);
  for (const { name, shape, offset } of layout.tensors) {
    const tensor = tensors.get(name);
    if (tensor === undefined) {
      throw problemError("ADAPTER_INVALID", { subject: `${folder}: ${name}`, expected: "a pair on every one of its modules in each of its layers", received: "none here" });
    }
    if (tensor.shape[0] !== shape[0] || tensor.shape[1] !== shape[1]) {
      const text = ([columns, rows]: readonly [number, number]) => `[${String(rows)}, ${String(columns)}]`;
      throw problemError("ADAPTER_INVALID", { subject: `${folder}: ${name}`, expected: `${text(shape)}, as the model's weight asks`, received: text(tensor.shape) });
    }
    weights.set(tensor.values, offset);
  }
  return weights;
}
