/** The base model of a plan: opened, or, while its file is not there, known by its name and shape. */
import { existsSync } from "node:fs";
import { resolveModelPath } from "../config/builtin.js";
import { knownLayout, knownModelAt, numWeights, precisionOf, type KnownModel } from "../config/known-models.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import type { AdapterLayout } from "../adapter/layout.js";
import type { NativeMemoryPlan } from "../native/binding.js";
import { assert } from "../util/assert.js";
import type { CatalogueFile } from "../data/catalogue.js";
import { howToGet, missingDataset } from "./data-source.js";
import type { MemoryRequest, SourceModel, TrainingEngine } from "./engine.js";
import { EXACT_VARIANTS } from "./kernel-variants.js";
import { locateStartAdapters, readStartAdapter } from "./start-adapter.js";
import { loadTrainingData, type TrainingData } from "./training-data.js";

/** Bits per weight of each precision, scales included; mixtures by what llama.cpp's quantizer gives on common models. */
export const BITS_PER_WEIGHT: Readonly<Record<string, number>> = {
  F32: 32,
  F16: 16,
  BF16: 16,
  Q8_0: 8.5,
  Q6_K: 6.5625,
  Q5_K_M: 5.7,
  Q5_K_S: 5.55,
  Q5_1: 6,
  Q5_0: 5.5,
  Q4_K_M: 4.85,
  Q4_K_S: 4.6,
  Q4_1: 5,
  Q4_0: 4.5,
  IQ4_NL: 4.5,
  IQ4_XS: 4.3,
  Q3_K_L: 4.27,
  Q3_K_M: 3.91,
  Q3_K_S: 3.5,
  IQ3_M: 3.7,
  IQ3_S: 3.5,
  Q2_K: 3.35,
};

/** What a plan needs of a model. */
export interface PlannedModel {
  /** The file, or where it is expected. */
  readonly path: string;
  readonly source: Pick<SourceModel, "numLayers" | "numParameters" | "weightBytes" | "tensorTypes">;
  /** The arm's adapter; its start adapter is read and checked where the model is there. */
  layoutOf(arm: ArmConfig): Promise<AdapterLayout>;
  /** Absent while the model's file is not there, as is the tokenizer that data needs. */
  planMemory?(request: MemoryRequest): Promise<NativeMemoryPlan>;
  loadData?(): Promise<TrainingData>;
  dispose(): void;
}

/** What a plan can do without, and sentences that say how to get it. */
export interface MissingInputs {
  readonly data?: CatalogueFile;
  readonly model?: KnownModel;
  readonly notes: readonly string[];
}

/** Which inputs are not there, of those that are known all the same. */
export function missingInputs({ data, model }: Pick<ExperimentConfig, "data" | "model">): MissingInputs {
  const file = missingDataset(data);
  const known = missingModel(model);
  return {
    ...(file === undefined ? {} : { data: file }),
    ...(known === undefined ? {} : { model: known }),
    notes: [
      ...(file === undefined ? [] : [`the data file ${String(data.train)} is not there, so counts are those expected of ${file.entry.title} and lengths those of its published statistics. ${howToGet(file)}`]),
      ...(known === undefined
        ? []
        : [
            `the model file ${model} is not there, so the adapter is that of the published shape of ${known.name}, and memory is not known. ` +
              `Put a GGUF file of ${known.name} into ./models, or name another model with --model (builtin:fedllm-tiny comes with the program)`,
          ]),
    ],
  };
}

/** The known model whose file the configuration names and that is not there. */
export function missingModel(path: string): KnownModel | undefined {
  return path.startsWith("builtin:") || existsSync(path) ? undefined : knownModelAt(path);
}

/** Opens model and tokenizer. Throws as a run would. */
export async function openInputs(config: ExperimentConfig, engine: TrainingEngine): Promise<PlannedModel> {
  const source = await engine.openSource(resolveModelPath(config.model));
  const tokenizer = await engine.openTokenizer(source.path);
  const base = await engine.openBaseModel(source.path, EXACT_VARIANTS);
  const dispose = () => {
    base.dispose();
    tokenizer.dispose();
  };
  try {
    const startAdapters = await locateStartAdapters(config.training.startAdapter, config.arms);
    return {
      path: source.path,
      source,
      layoutOf: async (arm) => {
        const start = startAdapters.get(arm.name);
        if (start !== undefined) await readStartAdapter(start, arm, base);
        return base.trainer(arm.lora).layout;
      },
      planMemory: (request) => engine.planMemory(source.path, request),
      loadData: () => loadTrainingData(config, tokenizer, { countTokens: true }),
      dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** The known model in the place of its file, in the precision that the file's name says. */
export function knownInputs({ model }: Pick<ExperimentConfig, "model">): PlannedModel {
  const known = missingModel(model);
  assert(known !== undefined, "a plan without an engine is for a known model whose file is missing");
  const numParameters = numWeights(known);
  const named = precisionOf(model)?.toUpperCase() ?? "";
  const precision = Object.hasOwn(BITS_PER_WEIGHT, named) ? named : "Q8_0";
  const weightBytes = Math.round((numParameters * (BITS_PER_WEIGHT[precision] ?? 8.5)) / 8);
  return {
    path: model,
    source: { numLayers: known.numLayers, numParameters, weightBytes, tensorTypes: { [precision]: 1 } },
    layoutOf: ({ lora }) => Promise.resolve(knownLayout(known, lora)),
    dispose: () => undefined,
  };
}
