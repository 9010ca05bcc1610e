/**
 * What a run would do, without training: clients, rounds, trainable parameters, steps, tokens, bytes sent, memory.
 * Counts are exact where the configuration fixes them, and bytes where everybody answers; tokens and memory are estimates and named so.
 * Nothing is written.
 */
import { createArmStrategy } from "../config/arm-strategies.js";
import { resolveModelPath } from "../config/builtin.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { strategyLabel } from "../config/strategy-file.js";
import { PythonRandom } from "../data/python-random.js";
import { expectTraffic } from "../federated/expected-traffic.js";
import { splitByGroup } from "../federated/groups.js";
import type { CohortMember, FederatedClient } from "../federated/protocol.js";
import type { Strategy } from "../federated/strategy.js";
import type { NativeMemoryPlan } from "../native/binding.js";
import { assert } from "../util/assert.js";
import { groupedFor } from "./arm.js";
import { placeArm } from "./emulator.js";
import type { MemoryRequest, SourceModel, TrainingEngine } from "./engine.js";
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
  /** Both directions, all clients of a round; mean over rounds. */
  readonly bytesPerRound: number;
  readonly bytesInAll: number;
  /** Bytes in one direction, all clients and rounds. */
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  /** Bytes may turn out less: clients can fail, or what travels depends on what is learned. */
  readonly bytesAreUpperBound: boolean;
  readonly weightBytes: number;
  /** How a client is computed, and the bytes of each part with the source's weights. */
  readonly memory: NativeMemoryPlan;
  /** Highest resident memory of the process while one client trains. */
  readonly predictedMemoryBytes: number;
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

/** The arms' requests to the memory planner: samples as long as the configuration lets them be. */
export function memoryRequests(config: Pick<ExperimentConfig, "arms" | "data">): MemoryRequest[] {
  return config.arms.map(({ lora, training }) => ({
    lora,
    longestSample: config.data.maxLength,
    batchSize: training.batchSize,
    microBatchTokens: training.microBatchTokens,
  }));
}

/** Reads model and data and works the plan out. Throws like a run would for a wrong model or data. */
export async function planExperiment(config: ExperimentConfig, engine: TrainingEngine): Promise<ExperimentPlan> {
  const source = await engine.openSource(resolveModelPath(config.model));
  const tokenizer = await engine.openTokenizer(source.path);
  const base = await engine.openBaseModel(source.path, EXACT_VARIANTS);
  try {
    const startAdapters = await locateStartAdapters(config.training.startAdapter, config.arms);
    const data = await loadTrainingData(config, tokenizer, { countTokens: true });
    const { clients, counts } = data;
    const members = clients.map(({ id, numSamples }) => ({ clientId: id, numExamples: numSamples }));
    const arms: ArmEstimate[] = [];
    for (const written of config.arms) {
      const own = await createArmStrategy(written);
      const { arm } = placeArm(written, own, source.numLayers);
      const { layout } = base.trainer(arm.lora);
      const strategy = groupedFor(arm, own, data);
      const start = startAdapters.get(arm.name);
      if (start !== undefined) await readStartAdapter(start, arm, base);
      const [request] = memoryRequests({ ...config, arms: [arm] });
      assert(request !== undefined, "one arm has one request");
      const memory = await engine.planMemory(source.path, request);
      arms.push(estimateArm(arm, { source, counts, clients, members, layout, strategy, memory }));
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
  readonly clients: readonly FederatedClient[];
  readonly members: readonly CohortMember[];
  readonly layout: AdapterLayout;
  readonly strategy: Strategy;
  readonly memory: NativeMemoryPlan;
}

function estimateArm(arm: ArmConfig, { source, counts, clients, members, layout, strategy, memory }: ArmFacts): ArmEstimate {
  const { numParameters } = layout;
  const { training } = arm;
  const isPooled = strategy.participants === "pooled";
  const plan = planTraining(training);
  const cohort = answersPerRound(plan, strategy, members);
  const { fineTuneSteps = 0, numClients = members.length } = training.personalization ?? {};
  const numSteps = Math.round(stepsPerRound(plan, strategy, members) * training.numRounds) + fineTuneSteps * Math.min(numClients, members.length);
  const tokensPerSample = (counts.numTokens ?? 0) / Math.max(1, counts.numSamples);
  const { uploadBytes, downloadBytes, isUpperBound } = expectTraffic({
    strategy,
    clients,
    plan,
    layout,
    sampleIndices: (seed, population, count) => new PythonRandom(seed).sample(population, count),
    overSelection: arm.federation.overSelection,
    mayFail: mayFail(arm),
  });
  const weightBytes = estimateWeightBytes(source, arm.precision);
  return {
    name: arm.name,
    precision: arm.precision,
    strategy: strategyLabel(arm.strategy),
    numRounds: training.numRounds,
    clientsPerRound: isPooled ? splitByGroup(members, strategy.groups, ({ clientId }) => clientId).length : cohort,
    trainableParameters: numParameters,
    numSteps,
    estimatedTokens: Math.round(numSteps * training.batchSize * tokensPerSample),
    bytesPerRound: Math.round((uploadBytes + downloadBytes) / training.numRounds),
    bytesInAll: uploadBytes + downloadBytes,
    uploadBytes,
    downloadBytes,
    bytesAreUpperBound: isUpperBound,
    weightBytes,
    memory,
    // The plan is made with the source's weights; another precision has more or fewer bytes of them.
    predictedMemoryBytes: memory.processBytes + (memory.streams ? 0 : weightBytes - source.weightBytes),
  };
}

/** Whether the configuration lets clients break off, be refused or be given up. */
function mayFail({ federation }: ArmConfig): boolean {
  const { devices, clientTimeoutSeconds, wallClockTimeoutSeconds } = federation;
  const profiles = Object.values(devices?.profiles ?? {});
  const canFail = profiles.some(({ failureProbability, memoryGiB }) => failureProbability > 0 || memoryGiB !== undefined);
  return canFail || clientTimeoutSeconds !== undefined || wallClockTimeoutSeconds !== undefined;
}

function estimateWeightBytes(source: SourceModel, precision: string): number {
  const bits = BITS_PER_WEIGHT[precision];
  const isSource = precision === "source" || precision === precisionOf(source.tensorTypes);
  return isSource || bits === undefined
    ? source.weightBytes
    : Math.round((source.numParameters * bits) / 8);
}
