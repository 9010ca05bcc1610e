/**
 * What a round leaves for the metrics and for whoever watches: the record of a finished round, the events on the way,
 * and the sinks that take them. A value that does not exist is absent: never 0, -1 or NaN.
 */
import type { RoundMeasure } from "../adapter/aggregation-error.js";
import type { ErrorCode } from "../errors.js";
import type { AlignmentDistance } from "./alignment.js";
import type { MemoryUse, PreferenceMetrics } from "./local-trainer.js";
import type { AdapterSet, FederationState, NamedState } from "./protocol.js";
import type { ClientVerdict } from "./strategy.js";

/** One measured value; without `clientId` and `group` it concerns all clients together. */
export interface EvaluationRecord {
  readonly clientId?: string;
  /** The samples of a group of clients, by whatever adapters these have. */
  readonly group?: string;
  readonly metric: string;
  readonly value: number;
}

/** One client in one round. A client that failed has no losses and no counts of training. */
export interface ClientRoundRecord {
  readonly clientId: string;
  /** Full size of the client's data: its weight in a mean. */
  readonly numExamples: number;
  /** Samples drawn in this round. */
  readonly numSamples?: number;
  /** Computed tokens, summed over steps. */
  readonly numTokens?: number;
  readonly numSupervisedTokens?: number;
  readonly numSteps?: number;
  /** Mean over steps of the loss per supervised token. */
  readonly trainLoss?: number;
  readonly firstTrainLoss?: number;
  readonly lastTrainLoss?: number;
  /** Means over steps; only when preferences were trained. */
  readonly preference?: PreferenceMetrics;
  readonly learningRate: number;
  readonly trainDurationMs?: number;
  readonly tokensPerSecond?: number;
  /** Euclidean norm of the accepted update. */
  readonly updateNorm?: number;
  /** Client to server. */
  readonly uploadBytes: number;
  /** Server to client. */
  readonly downloadBytes: number;
  /** Peak of the process that trained, so far. */
  readonly peakMemoryBytes?: number;
  /** How its training was made to fit into memory; absent: nobody planned it. */
  readonly memory?: MemoryUse;
  /** The machine it stands for; only with a simulated clock, like the next. */
  readonly device?: string;
  /** From the start of the round until it answered or was given up. */
  readonly simulatedDurationMs?: number;
  /** Of the base model it trained on; only in federations of mixed precision. */
  readonly precision?: string;
  /** Of the client; only where the data has groups. */
  readonly group?: string;
  /** What a robust rule made of its update; only with one. */
  readonly verdict?: ClientVerdict;
  /** Versions the server made while it worked; only with an asynchronous server. */
  readonly staleness?: number;
  /** How often it was asked; absent: once. */
  readonly numAttempts?: number;
  readonly failureCode?: ErrorCode;
  readonly failureMessage?: string;
}

/** Something worth a line in the run's history. */
export interface EventRecord {
  readonly kind: "clientFailed" | "clientRetried" | "updateRejected";
  readonly clientId?: string;
  readonly message: string;
}

/** One finished round; round 0 is the state before training and has no clients. */
export interface RoundRecord {
  readonly round: number;
  /** ISO 8601, wall clock. */
  readonly startedAt: string;
  readonly durationMs: number;
  readonly evaluationDurationMs?: number;
  /** Until the server went on; only with a simulated clock. */
  readonly simulatedDurationMs?: number;
  readonly cohortSize: number;
  readonly numSucceeded: number;
  /** Clients without an accepted update, the rejected ones included. */
  readonly numFailed: number;
  /** Clients whose update was refused. */
  readonly numRejected: number;
  /** Mean over the clients that succeeded, each counting once. */
  readonly trainLoss?: number;
  /** The same mean of rewards; only when preferences were trained. */
  readonly preference?: Pick<PreferenceMetrics, "rewardMargin" | "rewardAccuracy">;
  /** Euclidean norm of the change of the global adapter. */
  readonly globalUpdateNorm?: number;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  /** Ascending by client id. */
  readonly clients: readonly ClientRoundRecord[];
  readonly evaluations: readonly EvaluationRecord[];
  readonly measures: readonly RoundMeasure[];
  readonly events: readonly EventRecord[];
}

/** Keeps records of one arm. Both functions are durable when they return. */
export interface MetricsSink {
  /** All rows of the round, or none. */
  recordRound(record: RoundRecord): void | Promise<void>;
  /** Removes rounds later than this one, or all rounds when none is named. */
  removeAfterRound(round: number | undefined): void | Promise<void>;
}

/** A state and the last round that is in it. */
export interface Snapshot {
  readonly round: number;
  readonly state: FederationState;
}

/** Keeps snapshots; durable when the promise fulfils. */
export interface CheckpointSink {
  save(snapshot: Snapshot): Promise<void>;
  /**
   * A client's next state, stored ahead of the snapshot that will name it: equal to the given one, without holding it in memory.
   * One that no snapshot names is forgotten with the next snapshot. Absent: states stay in memory until they are saved.
   */
  stage?(state: NamedState): Promise<NamedState>;
  /** Equal to the given state, without holding in memory what was saved of the clients; absent: they stay in memory. */
  release?(state: FederationState): FederationState;
}

export interface EvaluationContext {
  /** 0 is before training. */
  readonly round: number;
  readonly isLastRound: boolean;
  readonly adapters: AdapterSet;
  readonly signal?: AbortSignal;
}

/** Measures adapters in whatever way; the rows go into the round's record. */
export type Evaluate = (context: EvaluationContext) => Promise<readonly EvaluationRecord[]>;

/** Time as the round needs it. */
export interface Clock {
  /** Never goes back; for durations. */
  monotonicMs(): number;
  /** Wall clock; only ever shown, never compared. */
  now(): Date;
}

/** Progress, in the order in which things happen. Clients of a round may interleave. */
export type FederationEvent =
  | {
      readonly type: "roundStarted";
      readonly round: number;
      readonly numRounds: number;
      readonly clientIds: readonly string[];
    }
  | { readonly type: "serverProgress"; readonly round: number; readonly step: number; readonly localSteps: number; readonly loss: number }
  | { readonly type: "serverFinished"; readonly round: number; readonly first: AlignmentDistance; readonly last: AlignmentDistance }
  | { readonly type: "clientStarted"; readonly round: number; readonly clientId: string; readonly localSteps: number }
  | {
      readonly type: "clientProgress";
      readonly round: number;
      readonly clientId: string;
      readonly step: number;
      readonly localSteps: number;
      readonly loss: number;
      readonly numTokens: number;
    }
  | { readonly type: "clientFinished"; readonly round: number; readonly client: ClientRoundRecord }
  | { readonly type: "clientFailed"; readonly round: number; readonly client: ClientRoundRecord }
  | { readonly type: "evaluation"; readonly round: number; readonly rows: readonly EvaluationRecord[] }
  | {
      readonly type: "roundFinished";
      readonly round: number;
      readonly numRounds: number;
      readonly record: RoundRecord;
    };
