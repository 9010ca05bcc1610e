/**
 * The LocalTrainer of real runs: checks a request, hands it to the addon, follows an abort signal. Keeps no state of its
 * own, so one trainer serves all clients of a run. Several requests may run at once; each uses the model's threads.
 */
import { innerLength } from "../adapter/inner.js";
import type { AdapterLayout } from "../adapter/layout.js";
import type {
  EvaluateRequest,
  EvaluateResult,
  FrozenAdapter,
  LocalTrainer,
  OptimizerOptions,
  TokenizedSample,
  TrainRequest,
  TrainResult,
} from "../federated/local-trainer.js";
import { assert } from "../util/assert.js";
import type { BaseModel } from "./base-model.js";
import type {
  NativeAdapterOptions,
  NativeEvaluateResult,
  NativeFrozenAdapter,
  NativeHiddenStates,
  NativeTrainOptions,
} from "./binding.js";
import { checkInteger, checkNumber, checkWeights, packSamples } from "./checks.js";
import { buildDistillation, checkBoundaries, toDistances, type DistillResult, type Teacher } from "./distillation.js";
import { callNative } from "./native-error.js";
import { settleTask, throwIfAborted } from "./native-task.js";
import { buildObjectiveOptions, pairOffsets, toPreferenceMetrics } from "./objective.js";

/** Most tokens of a micro-batch; far above what memory allows. */
const MAX_MICRO_BATCH_TOKENS = 2 ** 24;

/** Most samples of one optimizer step; the list of a step is held in memory. */
const MAX_BATCH_SIZE = 2 ** 20;

export class NativeTrainer implements LocalTrainer {
  readonly layout: AdapterLayout;
  readonly adapter: NativeAdapterOptions;
  private readonly model: BaseModel;

  /** Throws ADAPTER_INVALID or CONFIG_INVALID when the adapter options do not fit the model. */
  constructor(model: BaseModel, adapter: NativeAdapterOptions) {
    this.model = model;
    this.adapter = { ...adapter, targetModules: [...adapter.targetModules] };
    this.layout = model.adapterLayout(this.adapter);
  }

  initialWeights(seed: number): Float32Array {
    return this.model.initialWeights(this.adapter, seed);
  }

  /** Rejects with a FedllmError; after an abort with CANCELLED, within one micro-batch. */
  async train(request: TrainRequest, signal?: AbortSignal): Promise<TrainResult> {
    const options = this.buildTrainOptions(request);
    throwIfAborted(signal, "training");
    const task = callNative(() => this.model.native.train(options));
    const { preferenceSteps, distillationSteps: _none, ...result } = await settleTask(task, signal, "training");
    return preferenceSteps === undefined
      ? result
      : { ...result, preferenceSteps: toPreferenceMetrics(preferenceSteps) };
  }

  /** Trains this model to be like a teacher on the request's samples, in place of learning their tokens. Rejects as train. */
  async distil(request: Omit<TrainRequest, "objective">, teacher: Teacher, signal?: AbortSignal): Promise<DistillResult> {
    const options = { ...this.buildTrainOptions(request), distillation: buildDistillation(teacher) };
    throwIfAborted(signal, "distillation");
    const task = callNative(() => this.model.native.train(options));
    const { preferenceSteps: _none, distillationSteps, ...result } = await settleTask(task, signal, "distillation");
    assert(distillationSteps !== undefined, "steps that follow a teacher say how far it is");
    return { ...result, distances: toDistances(distillationSteps) };
  }

  /** States of the residual stream at boundaries between layers; all of them are in memory at once. Rejects as evaluate. */
  async hiddenStates(request: Omit<EvaluateRequest, "groupOffsets">, boundaries: readonly number[], signal?: AbortSignal): Promise<NativeHiddenStates> {
    const { weights, microBatchTokens } = request;
    checkInteger(microBatchTokens, "microBatchTokens", 1, MAX_MICRO_BATCH_TOKENS);
    checkBoundaries(boundaries, "boundaries");
    if (weights !== undefined) checkWeights(weights, "weights", this.layout.numParameters);
    const adapter = weights === undefined ? {} : { adapter: this.adapter, weights };
    const samples = packSamples(request.samples, this.model.info.vocabularySize);
    const options = { ...adapter, ...this.buildFrozen(request.frozenAdapters), samples, microBatchTokens, boundaries };
    throwIfAborted(signal, "reading hidden states");
    const task = callNative(() => this.model.native.hiddenStates(options));
    return await settleTask(task, signal, "reading hidden states");
  }

  /** See LocalTrainer. Rejects as evaluate. */
  async represent(samples: readonly TokenizedSample[], microBatchTokens: number, signal?: AbortSignal): Promise<readonly Float32Array[]> {
    const { numLayers, embeddingLength } = this.model.info;
    const { offsets, states } = await this.hiddenStates({ samples, microBatchTokens }, [numLayers], signal);
    return samples.map((_, index) => {
      const end = (offsets[index + 1] ?? 0) * embeddingLength;
      return (states[0] ?? new Float32Array(0)).slice(end - embeddingLength, end);
    });
  }

  /** Rejects with a FedllmError; after an abort with CANCELLED, within one micro-batch. */
  async evaluate(request: EvaluateRequest, signal?: AbortSignal): Promise<EvaluateResult> {
    const { weights } = request;
    if (weights === undefined) return await this.runEvaluation(request, signal, {});
    checkWeights(weights, "weights", this.layout.numParameters);
    return await this.runEvaluation(request, signal, { adapter: this.adapter, weights });
  }

  private async runEvaluation(
    request: Omit<EvaluateRequest, "weights">,
    signal: AbortSignal | undefined,
    adapter: { adapter?: NativeAdapterOptions; weights?: Float32Array },
  ): Promise<EvaluateResult> {
    const { microBatchTokens } = request;
    checkInteger(microBatchTokens, "microBatchTokens", 1, MAX_MICRO_BATCH_TOKENS);
    const samples = packSamples(request.samples, this.model.info.vocabularySize, request.groupOffsets);
    const options = { ...adapter, ...this.buildFrozen(request.frozenAdapters), samples, microBatchTokens };
    throwIfAborted(signal, "evaluation");
    const task = callNative(() => this.model.native.evaluate(options));
    return toEvaluateResult(await settleTask(task, signal, "evaluation"));
  }

  /** Checks each frozen adapter against its own layout. */
  private buildFrozen(adapters: readonly FrozenAdapter[] = []): { frozenAdapters?: readonly NativeFrozenAdapter[] } {
    if (adapters.length === 0) return {};
    return {
      frozenAdapters: adapters.map(({ weights, ...options }, index) => {
        const { numParameters } = this.model.adapterLayout(options);
        checkWeights(weights, `frozenAdapters[${index}].weights`, numParameters);
        return { options, weights };
      }),
    };
  }

  private buildTrainOptions(request: TrainRequest): NativeTrainOptions {
    const { localSteps, optimizer, proximal, gradientOffset, onProgress } = request;
    checkTrainNumbers(request);
    checkOptimizer(optimizer);
    const { numParameters } = this.layout;
    const { outer } = request;
    if (outer !== undefined) checkWeights(outer, "outer", numParameters);
    const numTrained = outer === undefined ? numParameters : innerLength(this.layout);
    checkWeights(request.weights, "weights", numTrained);
    if (proximal !== undefined) {
      checkNumber(proximal.mu, "proximal.mu", { min: 0 });
      checkWeights(proximal.anchor, "proximal.anchor", numTrained);
    }
    if (gradientOffset !== undefined) checkWeights(gradientOffset, "gradientOffset", numTrained);
    const groups = request.objective === undefined ? undefined : pairOffsets(request.samples.length);
    return {
      adapter: this.adapter,
      weights: request.weights,
      ...(outer === undefined ? {} : { outer }),
      ...this.buildFrozen(request.frozenAdapters),
      samples: packSamples(request.samples, this.model.info.vocabularySize, groups),
      localSteps,
      batchSize: request.batchSize,
      microBatchTokens: request.microBatchTokens,
      learningRate: request.clientLearningRate,
      beta1: optimizer.beta1,
      beta2: optimizer.beta2,
      epsilon: optimizer.epsilon,
      weightDecay: optimizer.weightDecay,
      dropout: request.dropout,
      seed: request.seed,
      ...(optimizer.maxGradientNorm === undefined ? {} : { maxGradientNorm: optimizer.maxGradientNorm }),
      ...(request.trainable === undefined ? {} : { trainable: request.trainable }),
      ...(proximal === undefined ? {} : { proximalMu: proximal.mu, proximalAnchor: proximal.anchor }),
      ...(gradientOffset === undefined ? {} : { gradientOffset }),
      ...buildObjectiveOptions(request, numParameters),
      ...(onProgress === undefined
        ? {}
        : {
            onProgress: (step: number, loss: number, numTokens: number): void => {
              onProgress({ step, localSteps, loss, numTokens });
            },
          }),
    };
  }
}

function checkTrainNumbers(request: TrainRequest): void {
  checkInteger(request.localSteps, "localSteps", 1);
  checkInteger(request.batchSize, "batchSize", 1, MAX_BATCH_SIZE);
  checkInteger(request.microBatchTokens, "microBatchTokens", 1, MAX_MICRO_BATCH_TOKENS);
  checkNumber(request.clientLearningRate, "clientLearningRate", { min: 0 });
  checkNumber(request.dropout, "dropout", { min: 0, max: 1, openMax: true });
  checkInteger(request.seed, "seed", 0, Number.MAX_SAFE_INTEGER);
}

function checkOptimizer(optimizer: OptimizerOptions): void {
  checkNumber(optimizer.beta1, "optimizer.beta1", { min: 0, max: 1, openMax: true });
  checkNumber(optimizer.beta2, "optimizer.beta2", { min: 0, max: 1, openMax: true });
  checkNumber(optimizer.epsilon, "optimizer.epsilon", { min: 0, openMin: true });
  checkNumber(optimizer.weightDecay, "optimizer.weightDecay", { min: 0 });
  if (optimizer.maxGradientNorm !== undefined) {
    checkNumber(optimizer.maxGradientNorm, "optimizer.maxGradientNorm", { min: 0, openMin: true });
  }
}

function toEvaluateResult(result: NativeEvaluateResult): EvaluateResult {
  const samples = Array.from(result.logProbabilities, (logProbability, index) => ({
    logProbability,
    numSupervisedTokens: result.numSupervisedTokens[index] ?? 0,
    numCorrectTokens: result.numCorrectTokens[index] ?? 0,
  }));
  return { samples, evaluateDurationMs: result.evaluateDurationMs, memory: result.memory };
}
