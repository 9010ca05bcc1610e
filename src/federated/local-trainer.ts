/**
 * The seam between federation and whatever trains: implemented by the native core (src/native/native-trainer.ts)
 * and by the quadratic trainer of the tests. Weights are flat Float32Arrays in layout order (src/adapter/layout.ts).
 */
import type { AdapterLayout } from "../adapter/layout.js";
import type { AdapterHalf } from "../adapter/slice.js";
import { problemError } from "../errors.js";

/** One tokenized sample: ids and, for each position, whether the token there is to be predicted and learned. */
export interface TokenizedSample {
  /** Token ids, including BOS and EOS where the template puts them. */
  readonly tokens: Int32Array;
  /** 1 where the token at this position is supervised (predicted from the tokens before it), otherwise 0. Position 0 is always 0. */
  readonly supervised: Uint8Array;
  /**
   * Weight of each token's loss, of any sign; only those of supervised tokens matter, and one of them is not 0. A step's
   * loss is the sum of weight * -log p over the sum of |weight|. Absent: all 1. Scores of evaluations ignore them.
   */
  readonly weights?: Float32Array;
}

/**
 * A preferred answer and one that was not preferred, both after the same prompt: the tokens up to the first supervised
 * one are equal in both, and everything after them is the answer's.
 */
export interface PreferencePair {
  readonly chosen: TokenizedSample;
  readonly rejected: TokenizedSample;
}

/** What one position of a client's data holds; all of a run are of one form. */
export type TrainingExample = TokenizedSample | PreferencePair;

/** The sequences of examples, those of a pair as chosen, rejected. */
export function sequencesOf(examples: readonly TrainingExample[]): readonly TokenizedSample[] {
  return examples.flatMap((example) => (isPreferencePair(example) ? [example.chosen, example.rejected] : [example]));
}

/** Tells the two forms apart. */
export function isPreferencePair(example: TrainingExample): example is PreferencePair {
  return "chosen" in example;
}

/**
 * An adapter beside the trained one that takes part in every pass and is neither trained nor dropped out: what a method
 * keeps next to the base, such as the stacked updates of earlier rounds. The base policy of preferences leaves it out.
 */
export interface FrozenAdapter {
  readonly rank: number;
  readonly loraAlpha: number;
  readonly targetModules: readonly string[];
  /** Layers that have pairs, ascending; absent: all. */
  readonly layers?: readonly number[];
  /** In the layout order of these options. */
  readonly weights: Float32Array;
}

/** Everything local training needs; the trainer keeps no state between calls. */
export interface TrainRequest {
  /** Adapter weights to start from; not changed. */
  readonly weights: Float32Array;
  /**
   * A and B in layout order, fixed: what is trained are the inner matrices between them (src/adapter/inner.ts), and the weights,
   * the proximal anchor, the gradient offset and the result are theirs. Not with `trainable` or `loraPlusRatio`. Absent: A and
   * B are trained.
   */
  readonly outer?: Float32Array;
  /** Absent: none. */
  readonly frozenAdapters?: readonly FrozenAdapter[];
  /**
   * Samples in the order they are consumed; passes repeat this order until `localSteps` are done. With `objective` they
   * are the answers of pairs, each chosen one before its rejected one.
   */
  readonly samples: readonly TokenizedSample[];
  readonly localSteps: number;
  /** Samples per optimizer step; with `objective` pairs. */
  readonly batchSize: number;
  /** Most tokens computed at once; a step is split into as many micro-batches as needed. */
  readonly microBatchTokens: number;
  readonly clientLearningRate: number;
  readonly optimizer: OptimizerOptions;
  /** LoRA dropout probability, 0 <= p < 1. */
  readonly dropout: number;
  /** Seeds dropout and NEFTune's noise; 0 is a seed. */
  readonly seed: number;
  /** What pairs are trained by; absent: the samples' supervised tokens are learned. */
  readonly objective?: PreferenceObjective;
  /** The half of each pair that is trained; the other keeps its bits. Absent: both. */
  readonly trainable?: AdapterHalf;
  /** e of the target (1 - e) onehot + e / vocabulary, 0 <= e < 1; absent: 0. Not with `objective`. */
  readonly labelSmoothing?: number;
  /** NEFTune (Jain et al. 2023): uniform noise of alpha / sqrt(tokens * width) on the embeddings; absent: none. */
  readonly neftuneAlpha?: number;
  /** LoRA+ (Hayou et al. 2024): learning rate of B over that of A, which is clientLearningRate; absent: 1. */
  readonly loraPlusRatio?: number;
  /** A power of two that gradients are multiplied by inside the graph; absent: 1 on the CPU, 1024 on other devices. */
  readonly lossScale?: number;
  /** FedProx: (proximalMu / 2) * ||w - anchor||^2 is added to the loss. */
  readonly proximal?: { readonly mu: number; readonly anchor: Float32Array };
  /** After each step w <- w - clientLearningRate * gradientOffset (SCAFFOLD's c - c_i, FedLLM-Bench form). */
  readonly gradientOffset?: Float32Array;
  readonly onProgress?: (progress: TrainProgress) => void;
}

/**
 * Direct preference optimization (Rafailov et al. 2023, equation 7), with the label smoothing of conservative DPO:
 *   m = log pi(c) - log ref(c) - (log pi(r) - log ref(r)),  loss = -(1 - s) log sigmoid(beta m) - s log sigmoid(-beta m)
 * where c and r are the chosen and the rejected answer and log-probabilities are sums over an answer's tokens. A step's
 * loss is the mean over its pairs.
 */
export interface PreferenceObjective {
  readonly kind: "dpo";
  /** beta, 1e-6 to 1e6: how strongly the trained policy is held to the reference. */
  readonly beta: number;
  /** s, 0 <= s < 0.5: the part of the preferences that is taken to be wrong. */
  readonly labelSmoothing: number;
  /** Adapter of the reference policy in layout order; absent: the base model without an adapter. */
  readonly referenceWeights?: Float32Array;
}

/** Means over pairs. A reward is beta (log pi - log ref) of an answer, before the step that learns from it. */
export interface PreferenceMetrics {
  /** Reward of the chosen answer minus that of the rejected one. */
  readonly rewardMargin: number;
  /** Part of the pairs of which the chosen answer has the higher reward; equal rewards count half. */
  readonly rewardAccuracy: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  /** log pi, summed over the answer's tokens. */
  readonly chosenLogProbability: number;
  readonly rejectedLogProbability: number;
}

/** Throws CONFIG_INVALID for a scale that would change more than the exponent of a gradient. */
export function checkLossScale(scale: number, subject: string): void {
  const exponent = Math.log2(scale);
  if (Number.isInteger(exponent) && exponent >= -24 && exponent <= 126) return;
  throw problemError("CONFIG_INVALID", {
    subject,
    expected: "a power of two from 2^-24 to 2^126",
    received: String(scale),
  });
}

/** AdamW as in torch.optim.AdamW; moments start at zero in every call. */
export interface OptimizerOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Global L2 norm the gradient is clipped to; absent: no clipping. */
  readonly maxGradientNorm?: number;
}

export interface TrainProgress {
  /** Finished optimizer steps, from 1. */
  readonly step: number;
  readonly localSteps: number;
  /** Mean loss per supervised token of this step; with `objective` per pair. */
  readonly loss: number;
  readonly numTokens: number;
}

export interface TrainResult {
  readonly weights: Float32Array;
  readonly numSteps: number;
  /** Mean loss per supervised token of each step, in order; with `objective` per pair. */
  readonly stepLosses: Float64Array;
  /** One per step, in order; only with `objective`. */
  readonly preferenceSteps?: readonly PreferenceMetrics[];
  /** Sum over steps of supervised tokens. */
  readonly numSupervisedTokens: number;
  /** Sum over steps of all computed tokens (no padding is ever computed). */
  readonly numTokens: number;
  /** Global gradient norm before clipping, one per step. */
  readonly gradientNorms: Float64Array;
  /** Steps that were computed again because their scaled gradient overflowed; absent: none can be. */
  readonly numScaleHalvings?: number;
  readonly trainDurationMs: number;
  /** Absent: the trainer does not plan its memory. */
  readonly memory?: MemoryUse;
}

/** How a call was computed so as to fit into memory. Bytes. */
export interface MemoryUse {
  /** Most tokens at once. */
  readonly microBatchTokens: number;
  /** Layers were computed again in the backward pass instead of being kept. */
  readonly recomputes: boolean;
  /** Weights came from the file layer by layer. */
  readonly streams: boolean;
  /** Memory ran out once, and a leaner plan took over. */
  readonly fellBack: boolean;
  /** What the plan took to be needed beside loaded weights. */
  readonly plannedBytes: number;
  /** Highest resident memory of the process by the plan; on the CPU with all weights, whose pages are the file's. */
  readonly plannedPeakBytes: number;
  /** Of the adapter, activations and checkpoints on the device: by the plan, and what they took. */
  readonly plannedDeviceBytes: number;
  readonly deviceBytes: number;
}

export interface EvaluateRequest {
  /** Absent: the base model without an adapter. */
  readonly weights?: Float32Array;
  /** Absent: none. */
  readonly frozenAdapters?: readonly FrozenAdapter[];
  readonly samples: readonly TokenizedSample[];
  readonly microBatchTokens: number;
  /**
   * Neighbouring samples that begin alike, whose common beginning is then computed once: the start of each group and the
   * number of samples. Scores are the same up to rounding. Absent: no groups.
   */
  readonly groupOffsets?: Uint32Array;
}

export interface EvaluateResult {
  /** One entry per sample, in order. */
  readonly samples: readonly SampleScore[];
  readonly evaluateDurationMs: number;
  /** Absent: the trainer does not plan its memory. */
  readonly memory?: MemoryUse;
}

export interface SampleScore {
  /** Summed natural-log probability of the supervised tokens. */
  readonly logProbability: number;
  readonly numSupervisedTokens: number;
  /** Supervised tokens where the most likely token is the right one. */
  readonly numCorrectTokens: number;
}

/** Trains and evaluates adapters over one frozen base model. Implementations reject with a FedllmError. */
export interface LocalTrainer {
  readonly layout: AdapterLayout;
  /** A uniform in +-1/sqrt(d_in) from a seed per tensor name, B zero; the same seed gives the same weights. */
  initialWeights(seed: number): Float32Array;
  train(request: TrainRequest, signal?: AbortSignal): Promise<TrainResult>;
  evaluate(request: EvaluateRequest, signal?: AbortSignal): Promise<EvaluateResult>;
  /**
   * The base model's last hidden state, before the final norm, at the last token that predicts a supervised one: one vector of the
   * model's width per sample. Absent: the trainer has none.
   */
  represent?(samples: readonly TokenizedSample[], microBatchTokens: number, signal?: AbortSignal): Promise<readonly Float32Array[]>;
  /** A trainer that gives the same results and knows for which task it trains. Absent: it does not matter. */
  forTask?(task: { readonly clientId: string; readonly round: number }): LocalTrainer;
}
