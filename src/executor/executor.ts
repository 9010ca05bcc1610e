/**
 * Where clients train when they do not train in the run's own process. An executor does one training at a time per place that it has, anywhere;
 * everything that decides about the result is in the job, so it gives the bits that this process would have given on a machine of the same kind.
 * Rounds, strategies, evaluation and the database stay where the run is.
 */
import type { LoraConfig } from "../config/schema.js";
import type { TrainProgress, TrainRequest, TrainResult } from "../federated/local-trainer.js";
import type { NativeKernelVariants } from "../native/binding.js";
import type { MemoryRequest } from "../run/engine.js";
import type { RunListener } from "../run/events.js";

/** Which training of a run it is. */
export interface JobPlace {
  readonly arm: string;
  readonly round: number;
  readonly clientId: string;
  /** Counts the trainings of this client in this round from 0: a method may train twice, and a client that failed may be asked again. */
  readonly turn: number;
}

/** The file that is trained on. */
export interface JobModel {
  readonly sha256: string;
  /** Where it is for processes of this machine. */
  readonly path: string;
  readonly variants: NativeKernelVariants;
}

/** One training, complete. */
export interface TrainJob {
  readonly place: JobPlace;
  readonly model: JobModel;
  /** By the layers of the model. */
  readonly lora: Pick<LoraConfig, "rank" | "loraAlpha" | "targetModules" | "layers" | "dropout">;
  /** Fingerprint of the adapter's layout, in which the request's vectors are. */
  readonly layout: string;
  readonly request: Omit<TrainRequest, "onProgress">;
}

export interface TrainJobOptions {
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

export interface Executor {
  /** Jobs at work at once; more wait. */
  readonly capacity: number;
  /** Rejects as LocalTrainer.train does, and with WORKER_LOST when those who tried it ended without an answer. */
  train(job: TrainJob, options: TrainJobOptions): Promise<TrainResult>;
  /** Stops everything it started; safe to call twice. */
  dispose(): Promise<void>;
}

/** What an executor is made for. */
export interface ExecutorContext {
  /** Of the run, random. */
  readonly runId: string;
  readonly runFolder: string;
  readonly llamaCppRelease: string;
  readonly numThreads: number;
  readonly device?: string | undefined;
  readonly hiddenStateCache: "auto" | "off" | number;
  /** Of all arms. */
  readonly memoryRequests: readonly MemoryRequest[];
  readonly sourceModel: { readonly path: string; readonly sha256: string; readonly weightBytes: number };
  /** By precision. */
  readonly models: ReadonlyMap<string, { readonly path: string; readonly sha256: string }>;
  /** How many worker processes have room in this machine's memory, of so many that are wanted on so many devices; 0 devices: the run's own. */
  readonly fitting: (wanted: number, numDevices: number) => Promise<number>;
  readonly emit: RunListener;
}

export type ExecutorFactory = (context: ExecutorContext) => Promise<Executor>;
