/**
 * A study: what one or several runs say together, as one value from which every table, figure and page is made. It is computed anew
 * from the runs' metrics.sqlite each time (build.ts) and is never stored as a source of numbers. Everything is plain JSON; what was not
 * measured is absent.
 */
import type { RunRecord } from "../../run/run-record.js";
import type { Estimate } from "./statistics.js";

export const STUDY_VERSION = 1;

export interface Study {
  readonly version: typeof STUDY_VERSION;
  readonly title: string;
  readonly answer: Answer;
  /** What a reader must know of the numbers, a sentence each. */
  readonly notes: readonly string[];
  readonly runs: readonly StudyRun[];
  readonly arms: readonly StudyArm[];
  /** In the order of tables, the one the answer is about first. */
  readonly metrics: readonly StudyMetric[];
  readonly quality: readonly QualityLine[];
  readonly comparisons: readonly Comparison[];
  /** The same averaged over strategies, or over precisions; empty without several of them. */
  readonly mainEffects: readonly MainEffect[];
  readonly costs: readonly CostLine[];
  /** Absent without values along the way. */
  readonly target?: Target;
  readonly fairness: readonly FairnessLine[];
  /** What `eval` measured; empty where nothing was evaluated. */
  readonly benchmarks: readonly BenchmarkLine[];
  readonly benchmarkComparisons: readonly BenchmarkComparison[];
  /** What arms with differential privacy spent; empty where none has it. */
  readonly privacy: readonly PrivacyLine[];
  /** Adapters on base models of other precisions; absent where `transfer` was not asked. */
  readonly transfer?: Transfer;
  /** Of runs with a plan; else empty. */
  readonly predictions: readonly PredictionLine[];
  readonly curves: readonly Curve[];
  readonly clients: readonly ClientLine[];
}

/** The question of the whole project, answered for the main metric. */
export interface Answer {
  readonly sentence: string;
  /** The numbers behind it, a sentence or two; absent where it has them itself. */
  readonly detail?: string;
  /** What quantized arms lose and save against their reference; empty where no arm has one. */
  readonly lines: readonly AnswerLine[];
  /** The line that the sentence is about. */
  readonly focus?: AnswerLine;
  /** Its precision averaged over strategies, which the sentence then says; absent with one strategy. */
  readonly effect?: MainEffect;
}

export interface AnswerLine {
  readonly arm: string;
  readonly reference: string;
  /** Difference of the main metric, arm minus reference, over shared seeds. */
  readonly change: Estimate;
  readonly adjustedPValue?: number;
  /** Bytes of weights, and of peak memory, as a part of the reference's. */
  readonly weights: number;
  readonly peakMemory?: number;
}

export interface StudyRun {
  /** Place in the study, from 0. */
  readonly index: number;
  readonly folder: string;
  readonly folderName: string;
  readonly state: "finished" | "running" | "unfinished";
  readonly seed: number;
  readonly record: RunRecord;
  /** The resolved configuration as YAML. */
  readonly config: string;
  readonly arms: readonly { readonly arm: string; readonly lastRound: number; readonly numRounds: number; readonly adapters: readonly string[] }[];
  readonly warnings: readonly string[];
}

/** Trainings that differ in nothing but their seed. */
export interface StudyArm {
  /** Unique: the name in the experiments, with what differs where one name stands for several settings. */
  readonly arm: string;
  readonly precision: string;
  readonly strategy: string;
  /** The arm of the same study that differs in precision only and is not quantized; absent for that arm itself, too. */
  readonly reference?: string;
  readonly cells: readonly { readonly run: number; readonly seed: number; readonly isFinished: boolean; readonly lastRound: number }[];
  /** No cell is finished: values are those of the last evaluated round. */
  readonly isPreliminary: boolean;
}

export interface StudyMetric {
  readonly metric: string;
  readonly title: string;
  /** Numbers are stored as they are; tables multiply by this. */
  readonly displayFactor: number;
  readonly digits: number;
  /** Absent: nobody knows. */
  readonly higherIsBetter?: boolean;
}

export interface QualityLine {
  readonly arm: string;
  readonly metric: string;
  /** Over seeds. */
  readonly value: Estimate;
  /** Before training, mean over seeds. */
  readonly before?: number;
}

/** Two arms on shared seeds and data. */
export interface Comparison {
  readonly metric: string;
  readonly first: string;
  readonly second: string;
  /** First minus second. */
  readonly difference: Estimate;
  readonly effectSize?: number;
  readonly pValue?: number;
  /** By Holm, over all comparisons of the metric that have a test. */
  readonly adjustedPValue?: number;
  readonly permutationPValue?: number;
  /** Why there is no test. */
  readonly refused?: string;
}

/** What a precision changes over all federated strategies, or a strategy over all precisions. */
export interface MainEffect extends Omit<Comparison, "first" | "second"> {
  readonly factor: "precision" | "strategy";
  readonly level: string;
  readonly reference: string;
  /** Pairs of arms that were averaged before the test; `difference` is over seeds. */
  readonly numPairs: number;
}

/** What an arm costs, over seeds. */
export interface CostLine {
  readonly arm: string;
  readonly weightBytes: number;
  readonly numParameters?: number;
  readonly peakMemoryBytes?: Estimate;
  readonly plannedPeakBytes?: Estimate;
  readonly tokensPerSecond?: Estimate;
  /** Client to server, mean over clients and rounds. */
  readonly uploadBytesPerClient?: Estimate;
  /** Both ways, all clients and rounds. */
  readonly trafficBytes: Estimate;
  readonly durationMs: Estimate;
  readonly simulatedMs?: Estimate;
  readonly cpuEnergyJoules?: Estimate;
  readonly gpuEnergyJoules?: Estimate;
  readonly energySource?: string;
  readonly aggregationError?: Estimate;
  readonly numFailures: number;
}

/** What it took to reach a value of the main metric. */
export interface Target {
  readonly metric: string;
  readonly value: number;
  /** `given` by the user, or the best that every arm reached. */
  readonly origin: "given" | "reachedByAll";
  readonly lines: readonly TargetLine[];
}

export interface TargetLine {
  readonly arm: string;
  /** Cells that reached it, of so many. */
  readonly numReached: number;
  readonly numCells: number;
  /** Of those that reached it; absent when none did. */
  readonly rounds?: Estimate;
  readonly bytes?: Estimate;
  readonly durationMs?: Estimate;
  readonly simulatedMs?: Estimate;
}

/** How an arm serves its clients, on each client's own held-out data; means over seeds. */
export interface FairnessLine {
  readonly arm: string;
  readonly metric: string;
  readonly numClients: number;
  readonly mean: Estimate;
  /** Mean of the tenth of the clients that is worst off, at least one. */
  readonly worst: Estimate;
  /** Standard deviation over clients. */
  readonly spread: Estimate;
  /** Part of the clients that are better off than before training. */
  readonly improved?: Estimate;
}

/** A measure of a metric over questions. */
export interface BenchmarkLine {
  readonly metric: string;
  readonly measure: string;
  /** An arm, or how `eval` calls what is no arm, such as a base model. */
  readonly arm: string;
  readonly judge?: string;
  readonly numItems: number;
  readonly value: Estimate;
  /** What the interval is over. */
  readonly over: "seeds" | "items" | "nothing";
  readonly displayFactor: number;
  readonly higherIsBetter: boolean;
}

/** Two arms of one run on the same questions. */
export interface BenchmarkComparison {
  readonly metric: string;
  readonly measure: string;
  readonly first: string;
  readonly second: string;
  readonly run: string;
  /** First minus second, with its interval over items. */
  readonly difference: Estimate;
  /** Items on which the first is better, and worse. */
  readonly wins: number;
  readonly losses: number;
  readonly pValue: number;
  /** By Holm, over the measures of the pair. */
  readonly adjustedPValue: number;
  readonly displayFactor: number;
  readonly higherIsBetter: boolean;
}

export interface PrivacyLine {
  readonly arm: string;
  /** Of the costliest training; absent: without any bound. Trainings with other seeds on the same data add up. */
  readonly epsilon?: number;
  readonly delta: number;
  /** Absent: none. */
  readonly budget?: number;
  readonly numReleases: number;
  /** Noise comes from a seed: nothing is guaranteed. */
  readonly isInsecure: boolean;
}

/** Each arm's last adapter on the base model in several precisions, by one metric of the overall held-out data. */
export interface Transfer {
  readonly metric: string;
  /** Of the base models that adapters were judged on. */
  readonly precisions: readonly string[];
  readonly lines: readonly TransferLine[];
  /** Over federated strategies; empty where there is only one. */
  readonly averages: readonly TransferAverage[];
}

export interface TransferAverage {
  readonly trainedOn: string;
  readonly usedOn: string;
  /** Arms of the precision that were averaged; estimates are over seeds. */
  readonly numArms: number;
  readonly minusOwn: Estimate;
  readonly minusTrainedThere?: Estimate;
}

export interface TransferLine {
  readonly arm: string;
  /** Of the base model that the adapter was judged on. */
  readonly precision: string;
  readonly value: Estimate;
  /** Minus the same adapter's value on the precision it was trained on; absent for that one. */
  readonly minusOwn?: Estimate;
  /** Minus the value of the adapter that was trained on this precision, on shared seeds; absent where there is no such arm. */
  readonly minusTrainedThere?: Estimate;
}

/** A quantity of an arm that was predicted; means over its trainings. */
export interface PredictionLine {
  readonly arm: string;
  /** With its unit, as the schema of metrics.sqlite lists them. */
  readonly quantity: string;
  readonly predicted: Estimate;
  readonly happened?: Estimate;
  /** Happened by predicted. */
  readonly ratio?: Estimate;
  /** Trainings in which it was measured, those of them that had a predicted range, and those within it. */
  readonly numMeasured: number;
  readonly numRanged: number;
  readonly numWithin: number;
}

/** Values of a metric along the way of one cell. */
export interface Curve {
  readonly arm: string;
  readonly run: number;
  readonly seed: number;
  readonly metric: string;
  readonly points: readonly CurvePoint[];
}

export interface CurvePoint {
  readonly round: number;
  readonly value: number;
  readonly bytes: number;
  readonly durationMs: number;
  readonly simulatedMs?: number;
}

/** A client in an arm; means over seeds. */
export interface ClientLine {
  readonly arm: string;
  readonly clientId: string;
  readonly group?: string;
  readonly numExamples?: number;
  /** Rounds in which it trained, all seeds together. */
  readonly numRounds: number;
  readonly numFailures: number;
  readonly numTokens: number;
  readonly uploadBytes: number;
  readonly trainLoss?: number;
  readonly values: readonly { readonly metric: string; readonly value: number; readonly before?: number }[];
}
