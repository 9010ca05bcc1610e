/**
 * What a run would do, without training: clients, rounds, trainable parameters, steps, tokens, bytes sent, memory.
 * Counts are exact where the configuration fixes them, and bytes where everybody answers; tokens and memory are estimates and named so.
 * Nothing is written.
 */
import { createArmStrategy } from "../config/arm-strategies.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { renumberLayers } from "../adapter/other-layers.js";
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
import type { MemoryRequest, TrainingEngine } from "./engine.js";
import { precisionOf } from "./model-variants.js";
import { describeSynthetic } from "./data-source.js";
import { expectedData } from "./expected-data.js";
import { BITS_PER_WEIGHT, knownInputs, missingInputs, openInputs, type PlannedModel } from "./planned-model.js";
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
  /** How a client is computed, and the bytes of each part with the source's weights; absent while the model's file is not there. */
  readonly memory?: NativeMemoryPlan;
  /** Highest resident memory of the process while one client trains. */
  readonly predictedMemoryBytes?: number;
}

export interface ExperimentPlan {
  readonly name: string;
  readonly model: string;
  readonly data: DataCounts;
  readonly arms: readonly ArmEstimate[];
  /** What is missing and how to get it, and that data is synthetic; sentences. */
  readonly notes: readonly string[];
}

/** The arms' requests to the memory planner: samples as long as the configuration lets them be. */
export function memoryRequests(config: Pick<ExperimentConfig, "arms" | "data">): MemoryRequest[] {
  return config.arms.map(({ lora, training }) => ({
    lora,
    longestSample: config.data.maxLength,
    batchSize: training.batchSize,
    microBatchTokens: training.microBatchTokens,
  }));
}

/**
 * Works the plan out from model and data. Throws like a run would for a wrong model or data. A data set of the catalogue and a known
 * base model need not be there: then counts are the expected ones, and `missing` says what to get. Without a model there is no engine
 * to give, and nothing is said about memory.
 */
export async function planExperiment(config: ExperimentConfig, engine?: TrainingEngine): Promise<ExperimentPlan> {
  const missing = missingInputs(config);
  const model = engine === undefined ? knownInputs(config) : await openInputs(config, engine);
  try {
    const data = missing.data === undefined && model.loadData !== undefined ? await model.loadData() : await expectedData(config);
    const { clients, counts } = data;
    const members = clients.map(({ id, numSamples }) => ({ clientId: id, numExamples: numSamples }));
    const arms: ArmEstimate[] = [];
    for (const written of config.arms) {
      const own = await createArmStrategy(written);
      const { arm, layers } = placeArm(written, own, model.source.numLayers);
      // What travels goes by the numbers of the layers that clients have.
      const inModel = await model.layoutOf(arm);
      const layout = layers === undefined ? inModel : renumberLayers(inModel, layers.inFullModel, layers.inEmulator);
      const strategy = groupedFor(arm, own, data);
      const [request] = memoryRequests({ ...config, arms: [arm] });
      assert(request !== undefined, "one arm has one request");
      const memory = await model.planMemory?.(request);
      arms.push(estimateArm(arm, { source: model.source, counts, clients, members, layout, strategy, memory }));
    }
    const { synthetic, generated } = config.data;
    const notes = [...(synthetic ? [describeSynthetic(generated)] : []), ...missing.notes];
    return { name: config.name, model: model.path, data: counts, arms, notes };
  } finally {
    model.dispose();
  }
}

interface ArmFacts {
  readonly source: PlannedModel["source"];
  readonly counts: DataCounts;
  readonly clients: readonly FederatedClient[];
  readonly members: readonly CohortMember[];
  readonly layout: AdapterLayout;
  readonly strategy: Strategy;
  readonly memory: NativeMemoryPlan | undefined;
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
    // The plan is made with the source's weights; another precision has more or fewer bytes of them.
    ...(memory === undefined ? {} : { memory, predictedMemoryBytes: memory.processBytes + (memory.streams ? 0 : weightBytes - source.weightBytes) }),
  };
}

/** Whether the configuration lets clients break off, be refused or be given up. */
function mayFail({ federation }: ArmConfig): boolean {
  const { devices, clientTimeoutSeconds, wallClockTimeoutSeconds } = federation;
  const profiles = Object.values(devices?.profiles ?? {});
  const canFail = profiles.some(({ failureProbability, memoryGiB }) => failureProbability > 0 || memoryGiB !== undefined);
  return canFail || clientTimeoutSeconds !== undefined || wallClockTimeoutSeconds !== undefined;
}

function estimateWeightBytes(source: PlannedModel["source"], precision: string): number {
  const bits = BITS_PER_WEIGHT[precision];
  const isSource = precision === "source" || precision === precisionOf(source.tensorTypes);
  return isSource || bits === undefined
    ? source.weightBytes
    : Math.round((source.numParameters * bits) / 8);
}
