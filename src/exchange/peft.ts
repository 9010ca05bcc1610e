/**
 * Adapters in the form of Hugging Face's PEFT: a folder with adapter_config.json and adapter_model.safetensors. A and B are the same numbers in the
 * same order as in GGUF (A [rank, d_in] and B [d_out, rank] by rows), apart from the order of some rows of B (peft-names.ts), and the
 * scale is lora_alpha / r as here.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { AdapterLayout } from "../adapter/layout.js";
import { adapterPairs } from "../adapter/pairs.js";
import { layersOf, targetModulesOf } from "../adapter/joined.js";
import { FedllmError, problemError } from "../errors.js";
import { readFileWithin, writeFileAtomic } from "../util/atomic-file.js";
import type { NumberType } from "./number-types.js";
import { ggufModule, parsePeftName, peftModule, peftName, rowsToGguf, rowsToModule } from "./peft-names.js";
import type { ModelShape } from "./peft-names.js";
import { encodeSafetensors, readSafetensors } from "./safetensors.js";
import type { StoredTensor } from "./safetensors.js";

export const PEFT_CONFIG = "adapter_config.json";
export const PEFT_WEIGHTS = "adapter_model.safetensors";

const CONFIG_BYTES_MAX = 2 ** 20;

export interface PeftAdapter {
  readonly layout: AdapterLayout;
  /** In the order of the layout. */
  readonly weights: Float32Array;
  readonly model: ModelShape & { readonly numLayers: number };
  /** How transformers finds the base model: a name of the hub, or a folder. */
  readonly baseModelName: string;
  readonly type: NumberType;
}

/** Writes both files into a folder that is there. Throws ADAPTER_INVALID for numbers that the type cannot hold, IO_FAILED. */
export async function writePeft(folder: string, adapter: PeftAdapter): Promise<void> {
  await writeFileAtomic(join(folder, PEFT_WEIGHTS), encodeSafetensors(peftTensors(adapter), adapter.type));
  await writeFileAtomic(join(folder, PEFT_CONFIG), `${JSON.stringify(peftConfig(adapter), null, 2)}\n`);
}

/** Largest number that rounds to a finite one of F16. */
const HALF_MAX = 65_504;

function peftTensors({ layout, weights, model, type }: PeftAdapter): readonly StoredTensor[] {
  return adapterPairs(layout).flatMap(({ name, a, b, dIn, dOut, rank, layer = 0 }) => {
    const module = moduleOf(name);
    const values = weights.subarray(b.offset, b.offset + rank * dOut);
    const pair: StoredTensor[] = [
      { name: peftName(layer, module, "A", model), shape: [rank, dIn], values: weights.subarray(a.offset, a.offset + rank * dIn) },
      { name: peftName(layer, module, "B", model), shape: [dOut, rank], values: rowsToModule(values, module, rank, model) },
    ];
    for (const tensor of pair) if (type === "F16") checkHalf(tensor);
    return pair;
  });
}

function checkHalf({ name, values }: StoredTensor): void {
  const large = values.find((value) => Math.abs(value) > HALF_MAX);
  if (large === undefined) return;
  throw problemError("ADAPTER_INVALID", { subject: `tensor ${name}`, expected: "numbers that F16 can hold", received: String(large), remedy: "Choose F32 or BF16" });
}

function moduleOf(weightName: string): string {
  return weightName.replace(/^blk\.\d+\./u, "").replace(/\.weight$/u, "");
}

function peftConfig({ layout, model, baseModelName }: PeftAdapter): Readonly<Record<string, unknown>> {
  const { layers = [] } = layersOf(layout);
  const modules = targetModulesOf(layout).map((module) => peftModule(module, model).replace(/^.*\./u, ""));
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModelName,
    r: layout.rank,
    lora_alpha: layout.loraAlpha,
    lora_dropout: 0,
    target_modules: [...modules].sort(),
    layers_to_transform: layers.length === model.numLayers ? null : layers,
    layers_pattern: null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    use_rslora: false,
    use_dora: false,
    rank_pattern: {},
    alpha_pattern: {},
    modules_to_save: null,
  };
}

const empty = z.union([z.null(), z.tuple([]), z.strictObject({})]).optional();
const configSchema = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().min(1).max(2 ** 16),
  lora_alpha: z.number().positive(),
  bias: z.literal("none").optional(),
  fan_in_fan_out: z.literal(false).optional(),
  use_rslora: z.boolean().nullish(),
  use_dora: z.literal(false).nullish(),
  use_qalora: z.literal(false).nullish(),
  lora_bias: z.literal(false).nullish(),
  rank_pattern: empty,
  alpha_pattern: empty,
  modules_to_save: empty,
  trainable_token_indices: empty,
  target_parameters: empty,
  alora_invocation_tokens: empty,
});

/** What an adapter of PEFT is in this program. */
export interface ImportedAdapter {
  readonly rank: number;
  readonly loraAlpha: number;
  readonly targetModules: readonly string[];
  /** Absent: all. */
  readonly layers?: readonly number[];
  /** The numbers of half a pair by GGUF name, such as `blk.0.attn_q.weight.lora_a`, as GGUF orders them. */
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly [number, number]; readonly values: Float32Array }>;
}

/**
 * Reads a folder of PEFT for a model. An adapter with use_rslora, whose scale is lora_alpha / sqrt(r), gets a loraAlpha that gives the same scale.
 * Throws ADAPTER_INVALID for what LoRA pairs on linear layers do not cover (dora, biases, saved modules, ranks that differ), for other modules, and
 * as readSafetensors.
 */
export async function readPeft(folder: string, model: ModelShape & { readonly numLayers: number }): Promise<ImportedAdapter> {
  const { r: rank, lora_alpha: alpha, use_rslora: isRankStabilized } = await readConfig(join(folder, PEFT_CONFIG));
  const path = join(folder, PEFT_WEIGHTS);
  if (!existsSync(path)) {
    const pickled = existsSync(join(folder, "adapter_model.bin"));
    throw problemError("ADAPTER_INVALID", {
      subject: folder,
      expected: `weights in ${PEFT_WEIGHTS}`,
      received: pickled ? "adapter_model.bin, which can run programs when it is read" : "none",
      remedy: pickled ? "Save the adapter with save_pretrained(..., safe_serialization=True)" : "Name the folder that save_pretrained has written",
    });
  }
  const tensors = new Map<string, { readonly shape: readonly [number, number]; readonly values: Float32Array }>();
  const modules = new Set<string>();
  const layers = new Set<number>();
  for (const tensor of await readSafetensors(path)) {
    const { layer, module, half } = placeOf(tensor, path, model, rank);
    modules.add(module);
    layers.add(layer);
    const name = `blk.${String(layer)}.${module}.weight.lora_${half.toLowerCase()}`;
    if (tensors.has(name)) throw problemError("ADAPTER_INVALID", { subject: `${path}: tensor ${tensor.name}`, expected: "each half of a pair once", received: "a second one" });
    tensors.set(name, half === "A" ? { shape: [tensor.shape[1], rank], values: tensor.values } : { shape: [rank, tensor.shape[0]], values: orderRows(tensor, module, path, rank, model) });
  }
  return {
    rank,
    loraAlpha: isRankStabilized === true ? Math.fround(alpha * Math.sqrt(rank)) : alpha,
    targetModules: [...modules],
    ...(layers.size === model.numLayers ? {} : { layers: [...layers].sort((left, right) => left - right) }),
    tensors,
  };
}

/** Whether a path is a folder of PEFT. */
export function isPeftFolder(path: string): boolean {
  return existsSync(join(path, PEFT_CONFIG));
}

async function readConfig(path: string): Promise<z.output<typeof configSchema>> {
  const bytes = await readFileWithin(path, CONFIG_BYTES_MAX);
  if (bytes === undefined) throw problemError("ADAPTER_INVALID", { subject: path, expected: "a file of PEFT", received: "none" });
  let parsed: unknown;
  try {
    parsed = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw problemError("ADAPTER_INVALID", { subject: path, expected: "JSON", received: error instanceof Error ? error.message : String(error) }, error);
  }
  const config = configSchema.safeParse(parsed);
  if (config.success) return config.data;
  const [issue] = config.error.issues;
  const field = String(issue?.path[0] ?? "");
  const value = typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>)[field] : parsed;
  throw problemError("ADAPTER_INVALID", {
    subject: `${path}: ${field}`,
    expected: EXPECTED[field] ?? issue?.message ?? "another value",
    received: value === undefined ? "nothing" : JSON.stringify(value).slice(0, 100),
    remedy: "Only plain LoRA pairs of one rank on linear layers can be taken over",
  });
}

const EXPECTED: Readonly<Record<string, string>> = {
  peft_type: "LORA",
  r: "a rank from 1 to 65536",
  lora_alpha: "a number above 0",
  bias: "none",
  fan_in_fan_out: "false",
  use_dora: "false",
  lora_bias: "false",
  rank_pattern: "one rank for all pairs",
  alpha_pattern: "one lora_alpha for all pairs",
  modules_to_save: "none",
};

function placeOf({ name, shape }: StoredTensor, path: string, model: ModelShape & { readonly numLayers: number }, rank: number) {
  const subject = `${path}: tensor ${name}`;
  const place = parsePeftName(name);
  const module = place === undefined ? undefined : ggufModule(place.path, model);
  if (place === undefined || module === undefined) {
    throw problemError("ADAPTER_INVALID", {
      subject,
      expected: `a name such as ${peftName(0, model.architecture === "phi3" ? "attn_qkv" : "attn_q", "A", model)}, of a linear layer of ${model.architecture}`,
      received: "another one",
      remedy: "Only pairs on the attention's and the feed-forward's linear layers can be taken over",
    });
  }
  if (place.layer >= model.numLayers) throw problemError("ADAPTER_INVALID", { subject, expected: `a layer below ${String(model.numLayers)}, as the model has`, received: String(place.layer) });
  const ownRank = shape[place.half === "A" ? 0 : 1];
  if (ownRank !== rank) throw problemError("ADAPTER_INVALID", { subject, expected: `rank ${String(rank)}, as r in ${PEFT_CONFIG}`, received: String(ownRank) });
  return { layer: place.layer, half: place.half, module };
}

function orderRows({ name, shape: [rows], values }: StoredTensor, module: string, path: string, rank: number, model: ModelShape): Float32Array {
  const heads = module === "attn_q" ? model.numHeads : module === "attn_k" ? model.numKvHeads : 1;
  if (rows % (2 * heads) === 0 || heads === 1) return rowsToGguf(values, module, rank, model);
  throw new FedllmError("ADAPTER_INVALID", `${path}: tensor ${name}: expected an even number of rows for each of ${String(heads)} heads, received ${String(rows)} rows`);
}
