/**
 * Base models by name, with their shapes: enough to say what a run would train and send before its file is there. References
 * `known:NAME` and `known:NAME@f16` are looked for below the working folder's `models`. Shapes are those of the models' published configurations.
 */
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import type { AdapterLayout, AdapterTensor } from "../adapter/layout.js";
import { problemError } from "../errors.js";
import { suggest } from "./suggest.js";

/** A dense transformer's shape. */
export interface KnownModel {
  readonly name: string;
  readonly numLayers: number;
  /** Width of the residual stream. */
  readonly embeddingLength: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headLength: number;
  readonly feedForwardLength: number;
  readonly vocabularySize: number;
  /** The head shares the embedding's numbers. */
  readonly tiedHead: boolean;
}

type Row = readonly [
  layers: number,
  width: number,
  heads: number,
  kvHeads: number,
  headLength: number,
  feedForward: number,
  vocabulary: number,
  tiedHead: boolean,
];

const ROWS: Readonly<Record<string, Row>> = {
  "smollm2-135m": [30, 576, 9, 3, 64, 1536, 49_152, true],
  "smollm2-360m": [32, 960, 15, 5, 64, 2560, 49_152, true],
  "qwen2.5-0.5b": [24, 896, 14, 2, 64, 4864, 151_936, true],
  "qwen3-0.6b": [28, 1024, 16, 8, 128, 3072, 151_936, true],
  "tinyllama-1.1b": [22, 2048, 32, 4, 64, 5632, 32_000, false],
  "llama-3.2-1b": [16, 2048, 32, 8, 64, 8192, 128_256, true],
  "smollm2-1.7b": [24, 2048, 32, 32, 64, 8192, 49_152, true],
  "qwen3-1.7b": [28, 2048, 16, 8, 128, 6144, 151_936, true],
  "llama-3.2-3b": [28, 3072, 24, 8, 128, 8192, 128_256, true],
  "qwen3-4b": [36, 2560, 32, 8, 128, 9728, 151_936, true],
  "llama-2-7b": [32, 4096, 32, 32, 128, 11_008, 32_000, false],
  "alpaca-7b": [32, 4096, 32, 32, 128, 11_008, 32_001, false],
  "llama-3.1-8b": [32, 4096, 32, 8, 128, 14_336, 128_256, false],
  "qwen3-8b": [36, 4096, 32, 8, 128, 12_288, 151_936, false],
};

/** All known models, by name. */
export const KNOWN_MODELS: ReadonlyMap<string, KnownModel> = new Map(
  Object.entries(ROWS).map(([name, [numLayers, embeddingLength, numHeads, numKvHeads, headLength, feedForwardLength, vocabularySize, tiedHead]]) => [
    name,
    { name, numLayers, embeddingLength, numHeads, numKvHeads, headLength, feedForwardLength, vocabularySize, tiedHead },
  ]),
);

const PREFIX = "known:";
const FOLDER = "models";

export function isKnownModelReference(value: string): boolean {
  return value.startsWith(PREFIX);
}

/** A reference's model and the precision that its file should have; without one Q8_0, which the benchmark's presets train on. */
const REFERENCE = /^(?<name>[^@]*)(?:@(?<precision>[A-Za-z0-9_]+))?$/u;

/**
 * The file of a reference: the first GGUF below `models` whose name begins with the model's, one with the precision in its name before
 * others; when there is none, where the file of that precision is expected. Throws CONFIG_INVALID for an unknown name.
 */
export function locateKnownModel(reference: string, workingFolder: string): string {
  const { name = "", precision = "q8_0" } = REFERENCE.exec(reference.slice(PREFIX.length))?.groups ?? {};
  if (!KNOWN_MODELS.has(name)) {
    const close = suggest(name, [...KNOWN_MODELS.keys()]);
    throw problemError("CONFIG_INVALID", {
      subject: "model",
      expected: `${PREFIX} and one of ${[...KNOWN_MODELS.keys()].join(", ")}`,
      received: JSON.stringify(reference),
      ...(close === undefined ? {} : { remedy: `Did you mean ${PREFIX}${close}?` }),
    });
  }
  const folder = join(workingFolder, FOLDER);
  const files = existsSync(folder) ? readdirSync(folder).filter((file) => knownModelAt(file)?.name === name) : [];
  const wanted = precision.toLowerCase();
  const isWanted = (file: string): boolean => precisionOf(file) === wanted;
  const [found] = files.sort((left, right) => Number(isWanted(right)) - Number(isWanted(left)) || (left < right ? -1 : 1));
  return join(folder, found ?? `${name}-${wanted}.gguf`);
}

/** The precision that a file says in its name, in lower case: `q8_0` of `Qwen3-0.6B-Q8_0.gguf`. */
export function precisionOf(path: string): string | undefined {
  return /[-.](f32|bf16|f16|i?q[0-9]\w*)\.gguf$/u.exec(basename(path).toLowerCase())?.[1];
}

/** The model that a file is by its name, however it is written: `Qwen3-0.6B-Q8_0.gguf`; undefined: an unknown one. */
export function knownModelAt(path: string): KnownModel | undefined {
  const file = basename(path).toLowerCase().replaceAll("_", "-");
  if (!file.endsWith(".gguf")) return undefined;
  return [...KNOWN_MODELS.values()].find(({ name }) => file.startsWith(name) && /^[-.]/u.test(file.slice(name.length)));
}

/** Numbers that take part in matrix products, embedding aside, head included. */
export function numProductWeights({ numLayers, embeddingLength, vocabularySize, ...shape }: KnownModel): number {
  const layer = Object.values(modulesOf({ embeddingLength, ...shape })).reduce((sum, [rows, columns]) => sum + rows * columns, 0);
  return numLayers * layer + embeddingLength * vocabularySize;
}

/** Numbers in all matrices. */
export function numWeights(model: KnownModel): number {
  return numProductWeights(model) + (model.tiedHead ? 0 : model.embeddingLength * model.vocabularySize);
}

/** The layout that an adapter on this model will have. Throws CONFIG_INVALID for a module that the model does not have. */
export function knownLayout(model: KnownModel, lora: { readonly rank: number; readonly loraAlpha: number; readonly targetModules: readonly string[]; readonly layers?: readonly number[] | undefined }): AdapterLayout {
  const { rank, loraAlpha, targetModules, layers } = lora;
  const modules = modulesOf(model);
  const missing = targetModules.find((module) => !Object.hasOwn(modules, module));
  if (missing !== undefined) {
    throw problemError("CONFIG_INVALID", { subject: "lora.targetModules", expected: `modules of ${model.name} (${Object.keys(modules).join(", ")})`, received: missing });
  }
  const tensors: AdapterTensor[] = [];
  let offset = 0;
  for (const layer of layers ?? Array.from({ length: model.numLayers }, (_, index) => index)) {
    for (const [module, [dIn, dOut]] of Object.entries(modules)) {
      if (!targetModules.includes(module)) continue;
      const name = `blk.${String(layer)}.${module}.weight`;
      tensors.push({ name: `${name}.lora_a`, shape: [dIn, rank], offset }, { name: `${name}.lora_b`, shape: [rank, dOut], offset: offset + dIn * rank });
      offset += rank * (dIn + dOut);
    }
  }
  return { tensors, numParameters: offset, rank, loraAlpha };
}

/** Input and output width of each module of a layer, in the order of adapters. */
function modulesOf(shape: Pick<KnownModel, "embeddingLength" | "numHeads" | "numKvHeads" | "headLength" | "feedForwardLength">): Readonly<Record<string, readonly [number, number]>> {
  const { embeddingLength: width, feedForwardLength } = shape;
  const [queries, keys] = [shape.numHeads * shape.headLength, shape.numKvHeads * shape.headLength];
  return {
    attn_q: [width, queries],
    attn_k: [width, keys],
    attn_v: [width, keys],
    attn_output: [queries, width],
    ffn_gate: [width, feedForwardLength],
    ffn_up: [width, feedForwardLength],
    ffn_down: [feedForwardLength, width],
  };
}
