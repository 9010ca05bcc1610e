/**
 * An analysis as one value, which is analysis.json: what is true of all samples together and of each client, and how far clients are
 * from each other. Every part says how many samples it is about; a part that was not computed is absent.
 */
import type { SampleKind } from "../data/samples.js";
import type { Distribution, HistogramBin } from "../data/statistics.js";
import type { PropertyPreference } from "./preferences.js";

export const REPORT_VERSION = 1;

export interface NamedCount {
  readonly name: string;
  readonly count: number;
}

export interface TypeCount {
  readonly verb: string;
  readonly isQuestion: boolean;
  readonly count: number;
  /** The most frequent objects, most frequent first. */
  readonly objects: readonly NamedCount[];
}

/** Verbs and objects of instructions by word lists: an approximation, English only. */
export interface InstructionTypes {
  readonly isApproximate: true;
  /** Samples in which a verb was found. */
  readonly numTyped: number;
  /** Most frequent first. */
  readonly verbs: readonly TypeCount[];
}

/** Instruction-Following Difficulty, see quality.ts; losses are nats per token of the answer, means of samples. */
export interface QualityReport {
  readonly numScored: number;
  /** Looked at and left out, mostly because they are too long. */
  readonly numSkipped: number;
  /** Of the scored ones, those whose answer the instruction does not help. */
  readonly numAboveOne: number;
  readonly ifd?: Distribution;
  readonly lossGivenInstruction?: Distribution;
  readonly lossAlone?: Distribution;
}

/** What is known of a set of samples: a client's, or all. */
export interface GroupReport {
  readonly numSamples: number;
  readonly instructionCharacters?: Distribution;
  readonly responseCharacters?: Distribution;
  readonly rejectedCharacters?: Distribution;
  readonly instructionTokens?: Distribution;
  readonly responseTokens?: Distribution;
  readonly rejectedTokens?: Distribution;
  /** Samples by language, most frequent first. */
  readonly languages: readonly NamedCount[];
  readonly instructionTypes: InstructionTypes;
  /** Of the samples chosen for the model; absent without one. */
  readonly quality?: QualityReport;
  /** Preference pairs only. */
  readonly preferences?: readonly PropertyPreference[];
}

/** What lengths are counted in; tokens where a model is. */
export type LengthName = `${"instruction" | "response" | "rejected"}${"Characters" | "Tokens"}`;

export interface OverallReport extends GroupReport {
  readonly samplesPerClient?: Distribution;
  /** All samples by their length; a length that no sample has is absent. */
  readonly lengthHistograms: Readonly<Partial<Record<LengthName, readonly HistogramBin[]>>>;
}

export interface ClientReport extends GroupReport {
  readonly id: string;
  /** Distances from all samples together, see distances.ts; absent without samples. Lengths in doublings. */
  readonly distances?: ClientDistances;
}

export interface ClientDistances {
  readonly language: number;
  readonly instructionLength: number;
  readonly responseLength: number;
}

/** Square matrices over some clients, rows and columns in the order of `clients`. */
export interface ClientSimilarity {
  /** Places of the clients in `clients` of the report, ascending: those with most samples. */
  readonly clients: readonly number[];
  readonly languageDistance: readonly (readonly number[])[];
  readonly instructionLengthDistance: readonly (readonly number[])[];
  readonly responseLengthDistance: readonly (readonly number[])[];
  /** Cosine of the clients' mean embeddings; absent without a model. */
  readonly embeddingSimilarity?: readonly (readonly number[])[];
  /** The same after the mean of all embeddings is subtracted, which all of a model's have in common. */
  readonly centredSimilarity?: readonly (readonly number[])[];
}

/** Which model saw which samples. */
export interface ModelReport {
  readonly name: string;
  readonly sha256: string;
  /** Where it computed. */
  readonly device?: string;
  readonly template?: string;
  /** Boundary between layers at which embeddings are read; the number of layers: the output of the last. */
  readonly boundary?: number;
  readonly maxLength?: number;
  /** Most samples of a client that were looked at with the model. */
  readonly maxSamplesPerClient?: number;
}

/** Embeddings of instructions in the plane. */
export interface ProjectionReport {
  /** Part of the variance along the two axes of PCA. */
  readonly explained: readonly [number, number];
  readonly points: readonly ProjectedSample[];
}

export interface ProjectedSample {
  readonly clientIndex: number;
  readonly sampleIndex: number;
  readonly pca: readonly [number, number];
  readonly umap?: readonly [number, number];
}

export interface AnalysisReport {
  readonly version: typeof REPORT_VERSION;
  readonly dataset: {
    readonly name: string;
    readonly path: string;
    readonly sha256: string;
    readonly kind: SampleKind;
    readonly numClients: number;
    /** Samples that could not be read are not among the others. */
    readonly numProblems: number;
  };
  /** Absent: only what the texts show. */
  readonly model?: ModelReport;
  readonly overall: OverallReport;
  /** In file order. */
  readonly clients: readonly ClientReport[];
  readonly similarity: ClientSimilarity;
  readonly projection?: ProjectionReport;
}
