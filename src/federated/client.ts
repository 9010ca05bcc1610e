/**
 * The client's part of a round: draw the sub-sample, train, return the update and beside it the client's own next
 * state. A failure is returned as a value; only cancellation is thrown. Checking the update is the server's part.
 */
import { composeInner } from "../adapter/inner.js";
import { gatherSlice, scatterSlice, type AdapterSlice } from "../adapter/slice.js";
import { findNonFinite, subtractWeights } from "../adapter/weights.js";
import { errorCodeOf, problemError } from "../errors.js";
import { deriveSeed } from "../util/random.js";
import { encodeAnswer } from "./answer-message.js";
import type { SampleIndices } from "./cohort.js";
import { joinClientState, splitClientState, type Residuals } from "./feedback.js";
import { sequencesOf } from "./local-trainer.js";
import type {
  LocalTrainer,
  MemoryUse,
  OptimizerOptions,
  PreferenceMetrics,
  PreferenceObjective,
  TrainingExample,
  TrainProgress,
  TrainRequest,
  TrainResult,
} from "./local-trainer.js";
import type { ClientFailure, ClientUpdate, FederatedClient, NamedState, TrainTask } from "./protocol.js";
import type { ClientSide } from "./strategy.js";

/** Settings of local training that no strategy changes. */
export interface LocalTrainingOptions {
  /** Seed of the run; dropout takes its seeds from it. */
  readonly seed: number;
  readonly microBatchTokens: number;
  readonly optimizer: OptimizerOptions;
  /** LoRA dropout probability, 0 <= p < 1. */
  readonly dropout: number;
  /** What is minimised beyond the plain loss, and how; absent: nothing. */
  readonly loss?: LossOptions;
  /** Absent: clients learn answers, and their samples are no pairs. */
  readonly preference?: PreferenceTraining;
}

/** See TrainRequest. */
export type LossOptions = Pick<TrainRequest, "labelSmoothing" | "neftuneAlpha" | "loraPlusRatio" | "lossScale">;

/** How clients learn from pairs of answers. */
export interface PreferenceTraining extends Omit<PreferenceObjective, "referenceWeights"> {
  /** The policy that rewards compare with: the base model alone, the adapter a task starts from, or a fixed adapter. */
  readonly reference: "base" | "round" | { readonly weights: Float32Array };
}

/** What a client works with. */
export interface ClientDeps {
  readonly trainer: LocalTrainer;
  readonly layoutFingerprint: string;
  readonly sampleIndices: SampleIndices;
  readonly clientSide?: ClientSide;
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

/** What came of a task. */
export type ClientOutcome =
  | {
      readonly kind: "update";
      readonly update: ClientUpdate;
      /** The whole adapter as trained: for measuring, not for the server. */
      readonly trainedWeights: Float32Array;
      readonly nextState?: NamedState;
    }
  | { readonly kind: "failure"; readonly failure: ClientFailure };

/** Does one task. Throws only when the signal is aborted. */
export async function trainClient(
  task: TrainTask,
  client: FederatedClient,
  storedState: NamedState | undefined,
  options: LocalTrainingOptions,
  deps: ClientDeps,
): Promise<ClientOutcome> {
  try {
    const { layout } = deps.trainer;
    const { own: ownState, residuals } = splitClientState(storedState);
    const started = withInitial(task, deps.trainer);
    const ownTask = deps.clientSide?.begin(started, ownState, layout) ?? started;
    const startWeights = makeStartWeights(ownTask, deps);
    const samples = await readRoundSamples(ownTask, client, deps.sampleIndices);
    const result = await trainLocally(ownTask, startWeights, samples, options, deps);
    checkTrainedShape(result, ownTask, startWeights);
    const personal = await trainPersonally(ownTask, ownState, samples, options, deps);
    const outcome = {
      startWeights,
      trainedWeights: result.weights,
      numSteps: result.numSteps,
      layout,
      ...(personal === undefined ? {} : { personalWeights: personal.weights }),
    };
    const finished = deps.clientSide?.finish(ownTask, outcome, ownState);
    const change = subtractWeights(result.weights, startWeights);
    const slice = finished?.answerSlice ?? ownTask.answerSlice;
    const { residuals: kept, ...answer } = makeAnswer(slice === undefined ? change : gatherSlice(change, layout, slice), slice, ownTask, deps, residuals);
    const update: ClientUpdate = {
      ...describeUpdate(ownTask, samples.length, withCostOf(result, personal), deps.layoutFingerprint),
      ...answer,
      ...(slice === undefined ? {} : { slice }),
    };
    const nextState = joinClientState(finished?.nextState, kept);
    return {
      kind: "update",
      trainedWeights: wholeAdapter(result.weights, ownTask, deps),
      update:
        finished?.controlVariateUpdate === undefined
          ? update
          : { ...update, controlVariateUpdate: finished.controlVariateUpdate },
      ...(nextState === undefined ? {} : { nextState }),
    };
  } catch (error) {
    if (deps.signal?.aborted === true) throw error;
    const message = error instanceof Error ? error.message : String(error);
    return {
      kind: "failure",
      failure: { clientId: task.clientId, round: task.round, code: errorCodeOf(error), message },
    };
  }
}

/** The update as it is, or as a message with what the client keeps of it. */
function makeAnswer(
  change: Float32Array,
  slice: AdapterSlice | undefined,
  task: TrainTask,
  { trainer: { layout }, layoutFingerprint }: ClientDeps,
  residuals: Residuals,
): { readonly update: Float32Array; readonly message?: Uint8Array; readonly residuals: Residuals } {
  if (task.uplink === undefined) return { update: change, residuals };
  return encodeAnswer(change, slice, task, task.uplink, { layout, layoutFingerprint, residuals });
}

/** The task with the initial adapter that its message names the seed of. */
function withInitial(task: TrainTask, trainer: LocalTrainer): TrainTask {
  return task.initialSeed === undefined || task.known === undefined ? task : { ...task, known: trainer.initialWeights(task.initialSeed) };
}

/** The training of an adapter that stays at the client; undefined for a strategy without one. */
async function trainPersonally(
  ownTask: TrainTask,
  ownState: NamedState | undefined,
  samples: readonly TrainingExample[],
  options: LocalTrainingOptions,
  deps: ClientDeps,
): Promise<TrainResult | undefined> {
  const task = deps.clientSide?.personalTask?.(ownTask, ownState, deps.trainer.layout);
  if (task === undefined) return undefined;
  const result = await trainLocally(task, task.weights, samples, options, deps);
  checkTrainedShape(result, task, task.weights);
  const index = findNonFinite(result.weights);
  if (index === undefined) return result;
  throw problemError("TRAIN_DIVERGED", {
    subject: `personal adapter of client ${JSON.stringify(task.clientId)}`,
    expected: "finite weights",
    received: `${String(result.weights[index])} at index ${String(index)}`,
  });
}

/** The first training with the tokens, the time and the memory of both. */
function withCostOf(result: TrainResult, personal: TrainResult | undefined): TrainResult {
  if (personal === undefined) return result;
  return {
    ...result,
    numTokens: result.numTokens + personal.numTokens,
    numSupervisedTokens: result.numSupervisedTokens + personal.numSupervisedTokens,
    trainDurationMs: result.trainDurationMs + personal.trainDurationMs,
    ...(result.memory === undefined || personal.memory === undefined ? {} : { memory: worseMemory(result.memory, personal.memory) }),
  };
}

/** Of two calls in turn: the plan of the larger peak, and whether either ran out. */
function worseMemory(first: MemoryUse, second: MemoryUse): MemoryUse {
  const larger = second.plannedPeakBytes > first.plannedPeakBytes ? second : first;
  return { ...larger, fellBack: first.fellBack || second.fellBack };
}

/** The whole adapter of which the task sends a slice. */
function makeStartWeights({ weights, slice, known }: TrainTask, { trainer: { layout } }: ClientDeps): Float32Array {
  if (slice === undefined) return weights;
  return scatterSlice(known ?? new Float32Array(layout.numParameters), layout, slice, weights);
}

/** A and B of what was trained, also where it is the inner matrices between them. */
function wholeAdapter(weights: Float32Array, { outer }: TrainTask, { trainer }: Pick<ClientDeps, "trainer">): Float32Array {
  return outer === undefined ? weights : composeInner(trainer.layout, outer, weights);
}

/** The samples that the task trains on. Throws DATASET_INVALID for a client without any. */
export async function readRoundSamples(
  task: TrainTask,
  client: FederatedClient,
  sampleIndices: SampleIndices,
): Promise<readonly TrainingExample[]> {
  if (client.numSamples === 0) {
    throw problemError("DATASET_INVALID", {
      subject: `client ${JSON.stringify(client.id)}`,
      expected: "at least one training sample",
      received: "none",
    });
  }
  return client.readSamples(sampleIndices(task.sampleSeed, client.numSamples, task.numSamples));
}

function trainLocally(
  task: TrainTask,
  weights: Float32Array,
  samples: readonly TrainingExample[],
  options: LocalTrainingOptions,
  { trainer, onProgress, signal }: ClientDeps,
): Promise<TrainResult> {
  return trainer.train(
    {
      weights,
      samples: sequencesOf(samples),
      localSteps: task.localSteps,
      batchSize: task.batchSize,
      microBatchTokens: options.microBatchTokens,
      clientLearningRate: task.clientLearningRate,
      optimizer: options.optimizer,
      dropout: options.dropout,
      ...options.loss,
      seed: deriveSeed(options.seed, "dropout", task.round, task.clientId),
      ...(options.preference === undefined
        ? {}
        : { objective: objectiveOf(options.preference, wholeAdapter(weights, task, { trainer }), task) }),
      ...(task.outer === undefined ? {} : { outer: task.outer }),
      ...(task.frozenAdapters === undefined ? {} : { frozenAdapters: task.frozenAdapters }),
      ...(task.trainable === undefined ? {} : { trainable: task.trainable }),
      ...(task.proximal === undefined ? {} : { proximal: task.proximal }),
      ...(task.gradientOffset === undefined ? {} : { gradientOffset: task.gradientOffset }),
      ...(onProgress === undefined ? {} : { onProgress }),
    },
    signal,
  );
}

/** Frozen adapters are a part of every policy with an adapter, so an adapter from before them cannot be the reference. */
function objectiveOf({ reference, ...objective }: PreferenceTraining, startWeights: Float32Array, task: TrainTask): PreferenceObjective {
  if (reference === "base") return objective;
  if (reference !== "round" && task.frozenAdapters !== undefined) {
    throw problemError("CONFIG_INVALID", {
      subject: "training.dpo.reference",
      expected: "base or round with a strategy that keeps adapters beside the trained one",
      received: "start",
    });
  }
  return { ...objective, referenceWeights: reference === "round" ? startWeights : reference.weights };
}

/** An update of another length cannot even be computed, so it is refused here and not by the server. */
function checkTrainedShape(result: TrainResult, task: TrainTask, startWeights: Float32Array): void {
  if (result.weights.length === startWeights.length) return;
  throw problemError("UPDATE_REJECTED", {
    subject: `update of client ${JSON.stringify(task.clientId)}`,
    expected: `${String(startWeights.length)} adapter weights`,
    received: String(result.weights.length),
  });
}

function describeUpdate(
  task: TrainTask,
  numSamples: number,
  result: TrainResult,
  layoutFingerprint: string,
): Omit<ClientUpdate, "update" | "slice"> {
  const { stepLosses, preferenceSteps } = result;
  return {
    clientId: task.clientId,
    numExamples: task.numExamples,
    round: task.round,
    layoutFingerprint,
    numSamples,
    numSteps: result.numSteps,
    numTokens: result.numTokens,
    numSupervisedTokens: result.numSupervisedTokens,
    // Without a step these are NaN, which the server refuses.
    trainLoss: stepLosses.reduce((sum, loss) => sum + loss, 0) / stepLosses.length,
    firstTrainLoss: stepLosses.at(0) ?? Number.NaN,
    lastTrainLoss: stepLosses.at(-1) ?? Number.NaN,
    ...(preferenceSteps === undefined ? {} : { preference: meanPreference(preferenceSteps) }),
    trainDurationMs: result.trainDurationMs,
    ...(result.memory === undefined ? {} : { memory: result.memory }),
  };
}

/** Every step counts once, as in the mean of the losses. */
function meanPreference(steps: readonly PreferenceMetrics[]): PreferenceMetrics {
  const mean = (value: (step: PreferenceMetrics) => number) => steps.reduce((sum, step) => sum + value(step), 0) / steps.length;
  return {
    rewardMargin: mean((step) => step.rewardMargin),
    rewardAccuracy: mean((step) => step.rewardAccuracy),
    chosenReward: mean((step) => step.chosenReward),
    rejectedReward: mean((step) => step.rejectedReward),
    chosenLogProbability: mean((step) => step.chosenLogProbability),
    rejectedLogProbability: mean((step) => step.rejectedLogProbability),
  };
}
