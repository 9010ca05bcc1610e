/** What a model sees in some samples of each client: losses of answers, embeddings of instructions and where these lie in the plane. */
import type { FederatedDataset } from "../data/dataset.js";
import type { PromptTemplate } from "../data/prompt-template.js";
import type { SampleTokenizer } from "../data/tokenized.js";
import { problemError } from "../errors.js";
import type { LocalTrainer } from "../federated/local-trainer.js";
import type { SampleFindings } from "./describe.js";
import { embeddingPass } from "./embeddings.js";
import type { ReadHiddenStates } from "./embeddings.js";
import { runPass } from "./pass.js";
import type { PassContext } from "./pass.js";
import type { Point } from "./principal-components.js";
import { projectEmbeddings } from "./projection.js";
import { qualityPass } from "./quality.js";
import type { ModelReport } from "./report.js";
import { chooseSamples, samplesPerClient } from "./samples.js";
import type { AnalyzedSample } from "./samples.js";

/** A model whose tokenizer, losses and hidden states the analysis may use. */
export interface AnalysisModel {
  readonly name: string;
  /** SHA-256 of the file. */
  readonly sha256: string;
  readonly tokenizer: SampleTokenizer;
  /** Absent: only its tokens are counted. */
  readonly inference?: ModelInference;
}

/** What the model computes. */
export interface ModelInference {
  readonly template: PromptTemplate;
  readonly trainer: Pick<LocalTrainer, "evaluate">;
  readonly readHiddenStates: ReadHiddenStates;
  readonly numLayers: number;
  /** Numbers of a hidden state. */
  readonly width: number;
  /** Where it computes, for example CPU or Vulkan0: devices round differently, so findings are kept for each. */
  readonly device: string;
}

export interface ModelOptions {
  /** Boundary between layers at which embeddings are read; default: the output of the last layer. */
  readonly boundary?: number;
  /** Most tokens that the model reads at once: longer samples are not scored; default DEFAULT_MAX_LENGTH. */
  readonly maxLength?: number;
  /** Most samples that are scored and embedded, at least one per client; default DEFAULT_MODEL_SAMPLES. */
  readonly modelSamples?: number;
  /** Of the projections; default 0. */
  readonly seed?: number;
}

export const DEFAULT_MAX_LENGTH = 1024;
export const DEFAULT_MODEL_SAMPLES = 2000;

/** What will be computed with the model, with all defaults filled in. */
export interface ModelPlan {
  readonly model: AnalysisModel;
  readonly report: ModelReport;
  /** Absent: its tokens are counted and nothing else. */
  readonly inference?: InferencePlan;
}

interface InferencePlan extends ModelInference, Pick<AnalysisModel, "tokenizer"> {
  readonly modelSha256: string;
  readonly boundary: number;
  readonly maxLength: number;
  readonly maxSamplesPerClient: number;
  readonly seed: number;
}

/** Throws CONFIG_INVALID for a boundary, length or number of samples that cannot be. */
export function planModel(dataset: FederatedDataset, model: AnalysisModel, options: ModelOptions): ModelPlan {
  const { name, sha256, inference } = model;
  if (inference === undefined) return { model, report: { name, sha256 } };
  const { modelSamples = DEFAULT_MODEL_SAMPLES } = options;
  const { boundary, maxLength, seed } = checkModelOptions(inference, options);
  checkInteger("samples for the model", modelSamples, 1, Number.MAX_SAFE_INTEGER);
  const maxSamplesPerClient = samplesPerClient(dataset.clients.map(({ samples }) => samples.length), modelSamples);
  return {
    model,
    report: { name, sha256, device: inference.device, template: inference.template.name, boundary, maxLength, maxSamplesPerClient },
    inference: { ...inference, tokenizer: model.tokenizer, modelSha256: sha256, boundary, maxLength, maxSamplesPerClient, seed },
  };
}

/** The options of embeddings with their defaults. Throws CONFIG_INVALID for one that cannot be. */
export function checkModelOptions({ numLayers }: Pick<ModelInference, "numLayers">, options: Omit<ModelOptions, "modelSamples">) {
  const { boundary = numLayers, maxLength = DEFAULT_MAX_LENGTH, seed = 0 } = options;
  checkInteger("boundary between layers", boundary, 0, numLayers);
  checkInteger("most tokens", maxLength, 2, Number.MAX_SAFE_INTEGER);
  checkInteger("seed", seed, 0, 2 ** 32 - 1);
  return { boundary, maxLength, seed };
}

/** Findings of the chosen samples, and the part of the embeddings' variance in the plane of PCA. */
export async function seeWithModel(samples: readonly AnalyzedSample[], plan: InferencePlan, context: PassContext) {
  const chosen = chooseSamples(samples, plan.maxSamplesPerClient);
  const difficulties = await runPass(chosen, qualityPass(plan), context);
  const embedding = embeddingPass(plan);
  const vectors = await runPass(chosen, embedding, context);
  const hashes = chosen.map(({ hash }) => hash);
  const { pca, umap, explained } = await projectEmbeddings({ hashes, vectors, analysis: embedding.analysis, seed: plan.seed }, context);
  const entries = chosen.map((sample, index): [AnalyzedSample, Partial<SampleFindings>] => {
    const [difficulty, vector, place, neighbour] = [difficulties[index], vectors[index], pca[index], umap?.[index]];
    return [
      sample,
      {
        ...(difficulty === undefined ? {} : { difficulty }),
        ...(vector === undefined ? {} : { embedding: vector }),
        ...(place === undefined ? {} : { projected: { pca: place, ...(neighbour === undefined ? {} : { umap: neighbour }) } }),
      },
    ];
  });
  return { findings: new Map(entries), explained: explained satisfies Point };
}

function checkInteger(subject: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw problemError("CONFIG_INVALID", { subject, expected: `an integer from ${String(least)} to ${String(most)}`, received: String(value) });
}
