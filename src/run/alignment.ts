/** The alignment of an arm's emulator with the model it was made of, on the native core. */
import type { EmulatorLayers } from "../adapter/emulator-layers.js";
import type { LoraConfig } from "../config/schema.js";
import { problemError } from "../errors.js";
import type { AlignmentRequest, AlignmentResult, AlignmentTask, HiddenLoss, ServerTrainer } from "../federated/alignment.js";
import { sequencesOf, type TrainRequest } from "../federated/local-trainer.js";
import type { FederatedClient } from "../federated/protocol.js";
import { assert } from "../util/assert.js";
import type { OpenEmulator } from "./emulator.js";
import type { OpenBaseModel } from "./engine.js";

/** What is aligned with what. */
export interface AlignedModels {
  readonly emulator: OpenEmulator;
  /** The full model. */
  readonly base: OpenBaseModel;
  /** The clients' adapter, by the full model's layers. */
  readonly lora: LoraConfig;
  readonly data: FederatedClient;
}

/** Boundaries between layers at which emulator and model are to be alike: 0 is the input of the first layer, l the output of layer l - 1. */
export interface AlignedBoundaries {
  readonly inEmulator: readonly number[];
  readonly inModel: readonly number[];
}

/**
 * The emulator's own layers are those below the adapter's. What leaves the last of them is to be what enters the adapter's first layer
 * in the model; what leaves another one, what leaves the layer it was copied from.
 */
export function alignedBoundaries({ kept, inEmulator, inFullModel }: EmulatorLayers, hiddenLoss: HiddenLoss): AlignedBoundaries {
  const [numOwn, numBelow] = [inEmulator[0], inFullModel[0]];
  assert(numOwn !== undefined && numBelow !== undefined && numOwn > 0, "an aligned emulator has layers below the adapter's");
  if (hiddenLoss === "plain") return { inEmulator: [numOwn], inModel: [numBelow] };
  const copied = kept.slice(0, numOwn - 1);
  return { inEmulator: [...copied.map((_, place) => place + 1), numOwn], inModel: [...copied.map((layer) => layer + 1), numBelow] };
}

/** Rejects with CONFIG_INVALID on an engine that cannot follow a teacher, and as training. */
export function createServerTrainer({ emulator, base, lora, data }: AlignedModels): ServerTrainer {
  const loraOf = ({ rank, loraAlpha, layers }: AlignmentTask["adapter"]): LoraConfig => ({ ...lora, rank, loraAlpha, layers: [...(layers ?? [])] });
  return {
    numSamples: data.numSamples,
    initialWeights: (adapter, seed) => emulator.base.trainer(loraOf(adapter)).initialWeights(seed),
    align: async (request, signal) => {
      if (emulator.base.distil === undefined) {
        throw problemError("CONFIG_INVALID", { subject: "engine", expected: "one that can train a model to be like another", received: "one that cannot" });
      }
      const samples = sequencesOf(await data.readSamples(request.sampleIndices));
      const { rank, loraAlpha, targetModules } = lora;
      const shared = { rank, loraAlpha, targetModules, weights: request.globalWeights };
      const { inEmulator, inModel } = alignedBoundaries(emulator.layers, request.hiddenLoss);
      const result = await emulator.base.distil(
        loraOf(request.adapter),
        trainRequest(request, samples, [{ ...shared, layers: emulator.layers.inEmulator }]),
        {
          base,
          adapters: [{ ...shared, layers: emulator.layers.inFullModel }],
          hiddenWeight: request.hiddenWeight,
          divergenceWeight: request.divergenceWeight,
          boundaries: inEmulator,
          teacherBoundaries: inModel,
          ...(signal === undefined ? {} : { signal }),
        },
      );
      return toAlignment(result.weights, result.distances);
    },
  };
}

/** Without dropout: the emulator is to be like the model, which has none. */
function trainRequest(
  { weights, localSteps, batchSize, microBatchTokens, learningRate, optimizer, proximalMu, lossScale, onProgress }: AlignmentRequest,
  samples: TrainRequest["samples"],
  frozenAdapters: TrainRequest["frozenAdapters"] & object,
): TrainRequest {
  return {
    weights,
    samples,
    frozenAdapters,
    localSteps,
    batchSize,
    microBatchTokens,
    clientLearningRate: learningRate,
    optimizer,
    dropout: 0,
    seed: 0,
    ...(proximalMu === 0 ? {} : { proximal: { mu: proximalMu, anchor: weights } }),
    ...(lossScale === undefined ? {} : { lossScale }),
    ...(onProgress === undefined ? {} : { onProgress }),
  };
}

function toAlignment(weights: Float32Array, distances: readonly AlignmentResult["first"][]): AlignmentResult {
  const [first, last] = [distances[0], distances.at(-1)];
  assert(first !== undefined && last !== undefined, "an alignment has steps");
  return { weights, first, last };
}
