/** The rows that go into the store, in the words of the program; a field that does not exist is absent. */

export interface RunRow {
  readonly id: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly seed: number;
  /** The resolved configuration, stored as JSON. */
  readonly config: unknown;
  /** Versions by name, for example of the program, Node and llama.cpp. */
  readonly versions: Readonly<Record<string, string>>;
  readonly dataSha256?: string;
}

export interface ArmRow {
  readonly name: string;
  /** Place in tables, from 0. */
  readonly armIndex: number;
  /** Absent: nothing is trained. */
  readonly strategy?: string;
  readonly modelName: string;
  readonly modelSha256: string;
  readonly modelWeightBytes: number;
  /** Trainable ones. */
  readonly numParameters?: number;
}

/** Means over the pairs of preference training. */
export interface PreferenceColumns {
  readonly rewardMargin: number;
  readonly rewardAccuracy: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  readonly chosenLogProbability: number;
  readonly rejectedLogProbability: number;
}

/** How a training was made to fit into memory. Bytes. */
export interface MemoryColumns {
  readonly microBatchTokens: number;
  readonly recomputes: boolean;
  readonly streams: boolean;
  readonly fellBack: boolean;
  readonly plannedPeakBytes: number;
  readonly plannedDeviceBytes: number;
  readonly deviceBytes: number;
}

export interface ClientRoundRow {
  readonly clientId: string;
  readonly numExamples: number;
  readonly numSamples?: number;
  readonly numTokens?: number;
  readonly numSupervisedTokens?: number;
  readonly numSteps?: number;
  readonly trainLoss?: number;
  readonly firstTrainLoss?: number;
  readonly lastTrainLoss?: number;
  readonly preference?: PreferenceColumns;
  readonly learningRate: number;
  readonly trainDurationMs?: number;
  readonly tokensPerSecond?: number;
  readonly updateNorm?: number;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  readonly peakMemoryBytes?: number;
  readonly memory?: MemoryColumns;
  readonly device?: string;
  readonly simulatedDurationMs?: number;
  readonly precision?: string;
  readonly group?: string;
  readonly staleness?: number;
  /** How a robust rule took the update. */
  readonly verdict?: { readonly share?: number; readonly score: number };
  readonly numAttempts?: number;
  readonly failureCode?: string;
  readonly failureMessage?: string;
}

export interface EvaluationRow {
  /** Absent: global, or of a group. */
  readonly clientId?: string;
  /** Never together with a client. */
  readonly group?: string;
  readonly metric: string;
  /** A number that is not finite is stored as NULL. */
  readonly value: number;
}

export interface RoundMeasureRow {
  readonly measure: string;
  /** Of the model, from 0; absent: the whole adapter. */
  readonly layer?: number;
  /** A number that is not finite is stored as NULL. */
  readonly value: number;
}

export interface RoundEventRow {
  readonly kind: string;
  readonly clientId?: string;
  readonly message: string;
}

/** Joules that the whole machine took, by who told. */
export interface EnergyColumns {
  /** Processor packages and memory; on Apple's chips all of the chip. */
  readonly cpuJoules?: number;
  /** All cards. */
  readonly gpuJoules?: number;
  /** rapl, nvidia-smi, powermetrics; joined by spaces. */
  readonly source: string;
}

/** One round with everything that belongs to it; written in one transaction. */
export interface RoundRow {
  readonly round: number;
  readonly startedAt: string;
  readonly durationMs: number;
  readonly evaluationDurationMs?: number;
  readonly simulatedDurationMs?: number;
  /** Absent: the system does not tell. */
  readonly energy?: EnergyColumns;
  readonly cohortSize: number;
  readonly numSucceeded: number;
  readonly numFailed: number;
  readonly numRejected: number;
  readonly trainLoss?: number;
  readonly preference?: Pick<PreferenceColumns, "rewardMargin" | "rewardAccuracy">;
  readonly globalUpdateNorm?: number;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  readonly clients: readonly ClientRoundRow[];
  readonly evaluations: readonly EvaluationRow[];
  readonly measures: readonly RoundMeasureRow[];
  readonly events: readonly RoundEventRow[];
}

/** An event outside of a recorded round. */
export interface EventRow extends RoundEventRow {
  /** ISO 8601. */
  readonly createdAt: string;
  readonly arm?: string;
  readonly round?: number;
}
