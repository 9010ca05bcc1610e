/**
 * The values that cross between server and client in one round. They are plain, and nobody changes one after handing
 * it on. What a strategy demands of a client is a field of TrainTask; what only the client may know (its samples, its
 * own state between rounds) is in none of them.
 */
import type { AdapterHalf, AdapterSlice } from "../adapter/slice.js";
import type { ErrorCode } from "../errors.js";
import type { DownlinkFormat, UplinkFormat } from "../wire/formats.js";
import type { FrozenAdapter, MemoryUse, PreferenceMetrics, TrainingExample } from "./local-trainer.js";

/** A participant with its own data. The pooled data of all participants is one of these as well. */
export interface FederatedClient {
  /** Unique within a run. */
  readonly id: string;
  /** All training samples the client has. */
  readonly numSamples: number;
  /** The samples at these positions (0 .. numSamples - 1), in the order asked for. */
  readSamples(indices: readonly number[]): Promise<readonly TrainingExample[]> | readonly TrainingExample[];
}

/** What the server knows of a participant. */
export interface CohortMember {
  readonly clientId: string;
  /** Full size of the client's training data, which is also its weight in a mean; not the sub-sample of one round. */
  readonly numExamples: number;
}

/** Server to client: train once. Weight vectors are in layout order. */
export interface TrainTask extends CohortMember {
  /** Counted from 1. */
  readonly round: number;
  /** What is sent of the adapter that training starts from: its `slice`, or all of it without one. */
  readonly weights: Float32Array;
  readonly slice?: AdapterSlice;
  /** In which `weights` travel, which hold what the receiver decodes; absent: as they are, in single precision. */
  readonly downlink?: DownlinkFormat;
  /** The message in that format. */
  readonly message?: Uint8Array;
  /** Named in the message: the client makes `known` anew from it, as every client's initial adapter was made. */
  readonly initialSeed?: number;
  /** In which the client answers; absent: with the vector itself. */
  readonly uplink?: UplinkFormat;
  /**
   * With a slice: the adapter that a client has without its being sent, into which the slice is put, for example the
   * initial one, which every client makes from the run's seed. Absent: zeros, which train as if they were not there.
   */
  readonly known?: Float32Array;
  /**
   * A and B, fixed, as the client has them once it got `sentOuter`: what is trained and sent are the inner matrices between them
   * (src/adapter/inner.ts), in `weights` and in the answer. Not with a slice. Absent: A and B are trained.
   */
  readonly outer?: Float32Array;
  /** Absent: the client has them. */
  readonly sentOuter?: Float32Array;
  /** Adapters that take part while the client trains (FrozenAdapter), as it has them once it got `sentFrozen`. */
  readonly frozenAdapters?: readonly FrozenAdapter[];
  /** What is sent of them: all, or what brings those that the client has from its last round up to date. */
  readonly sentFrozen?: Float32Array;
  /** The half of each pair that is trained while the other stays as it is; absent: both. */
  readonly trainable?: AdapterHalf;
  /** What of the update is sent back; absent: all of it. */
  readonly answerSlice?: AdapterSlice;
  /** Optimizer steps; passes over the sub-sample repeat until they are done. */
  readonly localSteps: number;
  /** Samples per optimizer step. */
  readonly batchSize: number;
  readonly clientLearningRate: number;
  /** Size of the sub-sample the client draws, at most `numExamples`. */
  readonly numSamples: number;
  /** Seed of that draw, given to the Python-compatible sampler. */
  readonly sampleSeed: number;
  /** FedProx: (mu / 2) * ||w - anchor||^2 is added to the loss. */
  readonly proximal?: { readonly mu: number; readonly anchor: Float32Array };
  /** After each step w <- w - clientLearningRate * gradientOffset. */
  readonly gradientOffset?: Float32Array;
  /** SCAFFOLD's c, from which the client makes its own gradient offset. */
  readonly serverControlVariate?: Float32Array;
}

/** Client to server: the result of a task. */
export interface ClientUpdate extends CohortMember {
  readonly round: number;
  /**
   * Trained weights minus the weights at the start, rounded to single precision: the `slice` of them, or all without one; of
   * inner matrices when the task has `outer`.
   */
  readonly update: Float32Array;
  readonly slice?: AdapterSlice;
  /** The update as it travels, of which `update` holds what is decoded; absent: the vector itself travels. */
  readonly message?: Uint8Array;
  /** Fingerprint of the layout the client trained in. */
  readonly layoutFingerprint: string;
  readonly numSamples: number;
  readonly numSteps: number;
  /** Sum over steps of all computed tokens. */
  readonly numTokens: number;
  readonly numSupervisedTokens: number;
  /** Mean over steps of the loss per supervised token. */
  readonly trainLoss: number;
  readonly firstTrainLoss: number;
  readonly lastTrainLoss: number;
  /** Means over steps; only when preferences were trained. */
  readonly preference?: PreferenceMetrics;
  readonly trainDurationMs: number;
  /** Absent: the client's trainer does not plan its memory. */
  readonly memory?: MemoryUse;
  /** What an asynchronous server notes on the update: how many versions it made since, and the weights it had sent. */
  readonly delay?: { readonly staleness: number; readonly sentWeights: Float32Array };
  /** SCAFFOLD's change of c_i. */
  readonly controlVariateUpdate?: Float32Array;
}

/** A client that gave no usable update: a value, recorded and counted. */
export interface ClientFailure {
  readonly clientId: string;
  readonly round: number;
  /** UPDATE_REJECTED: the client answered, but the server refuses the answer. */
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * A serialisable state between rounds: named weight vectors and named finite numbers, nothing else. The server has one;
 * a client may have one, which never enters a ClientUpdate.
 */
export interface NamedState {
  readonly arrays: Readonly<Record<string, Float32Array>>;
  readonly numbers: Readonly<Record<string, number>>;
}

/** Everything that must survive between rounds: the checkpoint is this value and the round it belongs to. */
export interface FederationState {
  readonly server: NamedState;
  /** The clients' own states by client id; a client without one has no entry. */
  readonly clients: ReadonlyMap<string, NamedState>;
}

/** Group by client id, for all clients of the federation. */
export type GroupOf = ReadonlyMap<string, string>;

/** Adapters that clients have in common: one for all, or one for all clients of a group. */
export type SharedAdapters =
  | { readonly kind: "global"; readonly weights: Float32Array }
  | { readonly kind: "perGroup"; readonly weights: ReadonlyMap<string, Float32Array>; readonly groupOf: GroupOf };

/**
 * The adapters a strategy has at one moment: common ones, or one of its own per client that took part, with the common
 * ones as `shared` where the method has both. `frozen`: adapters of the same modules and scale that belong to each of them.
 */
export type AdapterSet =
  | (SharedAdapters & WithFrozen)
  | (WithFrozen & {
      readonly kind: "perClient";
      readonly weights: ReadonlyMap<string, Float32Array>;
      readonly shared?: SharedAdapters & WithFrozen;
      /** Each input decides how much a client's own adapter counts beside the frozen one (evaluation/input-weights.ts). */
      readonly byInput?: ByInput;
    });

/** How inputs decide: by so many of the client's training inputs; the adapters were trained with the frozen one's fixed weight. */
export interface ByInput {
  readonly numSamples: number;
  readonly globalWeight: number;
}

interface WithFrozen {
  readonly frozen?: readonly FrozenAdapter[];
  /** What stands beside each of them in the emulator that clients have, by its layers, and not in the model; absent: nothing. */
  readonly inEmulator?: readonly FrozenAdapter[];
}

/** The adapter that a client answers with; undefined for one that has none. */
export function adapterOf(adapters: AdapterSet, clientId: string): Float32Array | undefined {
  if (adapters.kind === "global") return adapters.weights;
  if (adapters.kind === "perClient") return adapters.weights.get(clientId);
  const group = adapters.groupOf.get(clientId);
  return group === undefined ? undefined : adapters.weights.get(group);
}
