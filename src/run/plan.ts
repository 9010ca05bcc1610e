/**
 * What a run would do, without training: clients, rounds, trainable parameters, steps, tokens, bytes sent, memory.
 * Counts are exact where the configuration fixes them; tokens and memory are estimates and named so. Nothing is written.
 */
import { createArmStrategy } from "../config/arm-strategies.js";
import { resolveModelPath } from "../config/builtin.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { strategyLabel } from "../config/strategy-file.js";
import type { CohortMember } from "../federated/protocol.js";
import type { Strategy } from "../federated/strategy.js";
import { downloadBytes, expectedUploadBytes } from "../federated/traffic.js";
import type { SourceModel, TrainingEngine } from "./engine.js";
import { EXACT_VARIANTS } from "./kernel-variants.js";
import { precisionOf } from "./model-variants.js";
import { loadTrainingData } from "./training-data.js";
import { locateStartAdapters, readStartAdapter } from "./start-adapter.js";
import type { DataCounts } from "./training-data.js";
import { answersPerRound, planTraining, stepsPerRound } from "./training-plan.js";

export interface ArmEstimate {
  readonly name: string;
  readonly precision: string;
  readonly strategy: string;
  readonly numRounds: number;
  readonly clientsPerRound: number;
  readonly trainableParameters: number;
  readonly numSteps: number;
  /** Computed tokens, from the mean length of a sample. */
  readonly estimatedTokens: number;
  /** Both directions, all clients of a round. */
  readonly bytesPerRound: number;
  readonly bytesInAll: number;
  readonly weightBytes: number;
  /** Weights, adapter states and the activations of one micro-batch. */
  readonly estimatedMemoryBytes: number;
}

export interface ExperimentPlan {
  readonly name: string;
  readonly model: string;
  readonly data: DataCounts;
  readonly arms: readonly ArmEstimate[];
}

/** Bits per weight of each precision, scales included; mixtures by what llama.cpp's quantizer gives on common models. */
const BITS_PER_WEIGHT: Readonly<Record<string, number>> = {
  F32: 32,
  F16: 16,
  BF16: 16,
  Q8_0: 8.5,
  Q6_K: 6.5625,
  Q5_K_M: 5.7,
  Q5_K_S: 5.55,
  Q4_K_M: 4.85,
  Q4_K_S: 4.6,
  Q4_0: 4.5,
};

const FLOAT_BYTES = 4;
/** Vectors of adapter size alive at once in a client: start, weights, gradient, two moments, result. */
const ADAPTER_VECTORS = 6;
/** Vectors of model width per token while one layer is computed forward and backward. */
const WIDTH_BUFFERS = 16;
/** Vectors of feed-forward width per token in the same place. */
const FEED_FORWARD_BUFFERS = 6;

/** Reads model and data and works the plan out. Throws like a run would for a wrong model or data. */
export async function planExperiment(config: ExperimentConfig, engine: TrainingEngine): Promise<ExperimentPlan> {
  const source = await engine.openSource(resolveModelPath(config.model));
  const tokenizer = await engine.openTokenizer(source.path);
  const base = await engine.openBaseModel(source.path, EXACT_VARIANTS);
  try {
    const startAdapters = await locateStartAdapters(config.training.startAdapter, config.arms);
    const { clients, counts } = await loadTrainingData(config, tokenizer);
    const members = clients.map(({ id, numSamples }) => ({ clientId: id, numExamples: numSamples }));
    const arms: ArmEstimate[] = [];
    for (const arm of config.arms) {
      const { layout } = base.trainer(arm.lora);
      const strategy = await createArmStrategy(arm);
      const start = startAdapters.get(arm.name);
      if (start !== undefined) await readStartAdapter(start, arm, base);
      arms.push(estimateArm(arm, { source, counts, members, layout, strategy }));
    }
    return { name: config.name, model: source.path, data: counts, arms };
  } finally {
    base.dispose();
    tokenizer.dispose();
  }
}

interface ArmFacts {
  readonly source: SourceModel;
  readonly counts: DataCounts;
  readonly members: readonly CohortMember[];
  readonly layout: AdapterLayout;
  readonly strategy: Strategy;
}

function estimateArm(arm: ArmConfig, { source, counts, members, layout, strategy }: ArmFacts): ArmEstimate {
  const { numParameters } = layout;
  const { training } = arm;
  const isPooled = strategy.participants === "pooled";
  const plan = planTraining(training);
  const cohort = answersPerRound(plan, strategy, members.length);
  const numSteps = Math.round(stepsPerRound(plan, strategy, members) * training.numRounds);
  const tokensPerSample = counts.numTokens / Math.max(1, counts.numSamples);
  const bytesPerRound = strategy.exchangesWeights ? bytesOfRound(strategy, members.slice(0, cohort), layout) : 0;
  const weightBytes = estimateWeightBytes(source, arm.precision);
  const adapterVectors = ADAPTER_VECTORS + (isPooled ? 1 : cohort);
  return {
    name: arm.name,
    precision: arm.precision,
    strategy: strategyLabel(arm.strategy),
    numRounds: training.numRounds,
    clientsPerRound: isPooled ? 1 : cohort,
    trainableParameters: numParameters,
    numSteps,
    estimatedTokens: Math.round(numSteps * training.batchSize * tokensPerSample),
    bytesPerRound,
    bytesInAll: bytesPerRound * training.numRounds,
    weightBytes,
    estimatedMemoryBytes:
      weightBytes + adapterVectors * numParameters * FLOAT_BYTES + activationBytes(source, training.microBatchTokens),
  };
}

/** Read off the tasks of a first round with these members; where ranks differ by client, another cohort's bytes differ. */
function bytesOfRound(strategy: Strategy, members: readonly CohortMember[], layout: AdapterLayout): number {
  const once = { numRounds: 1, clientsPerRound: 1, localSteps: 1, batchSize: 1, initialLearningRate: 1, finalLearningRate: 1 };
  const context = { round: 1, plan: once, numClients: members.length, layout };
  const tasks = strategy.configure(strategy.init(new Float32Array(layout.numParameters)), members, context);
  return tasks.reduce((sum, task) => sum + downloadBytes(task) + expectedUploadBytes(task, layout), 0);
}

function estimateWeightBytes(source: SourceModel, precision: string): number {
  const bits = BITS_PER_WEIGHT[precision];
  const isSource = precision === "source" || precision === precisionOf(source.tensorTypes);
  return isSource || bits === undefined
    ? source.weightBytes
    : Math.round((source.numParameters * bits) / 8);
}

/** Layer inputs are kept, one layer at a time is recomputed; the head works on a part of the rows at once. */
function activationBytes(source: SourceModel, microBatchTokens: number): number {
  const perToken =
    source.embeddingLength * (source.numLayers + WIDTH_BUFFERS) + source.feedForwardLength * FEED_FORWARD_BUFFERS;
  const headChunk = Math.min(microBatchTokens, 256) * source.vocabularySize * 2;
  return FLOAT_BYTES * (perToken * microBatchTokens + headChunk);
}
