/**
 * `--workers N`: worker processes on this machine. They map the same model files, so the weights are in memory once; each has activations of its own, so
 * there are as many as memory has room for. A job whose worker dies or hangs is tried again by a new one, with the same inputs and thus the same result.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { FedllmError, problemError } from "../../errors.js";
import type { TrainResult } from "../../federated/local-trainer.js";
import type { Executor, ExecutorContext, ExecutorFactory, TrainJob, TrainJobOptions } from "../executor.js";
import { FileArtifacts } from "../file-artifacts.js";
import { JobArtifacts } from "../job-artifacts.js";
import { codeOf, makeMessage, parseResult, type JobAnswer } from "../job.js";
import { assignDevices } from "./assign-devices.js";
import type { BeginMessage } from "./messages.js";
import { WorkerProcess, type WatchOptions } from "./worker-process.js";

export interface ProcessExecutorOptions {
  /** Cut to what memory holds. */
  readonly numWorkers: number;
  /** One after another, from the first again when there are more workers; absent: the run's device. */
  readonly devices?: readonly string[];
  readonly watch?: WatchOptions;
  /** Told of each process that is started. */
  readonly onStart?: (pid: number) => void;
}

const WATCH: WatchOptions = { startMs: 300_000, pingEveryMs: 5000, pingsMissedMax: 6 };
/** How often a job is tried before it counts as failed: what ends three processes would end a fourth. */
const ATTEMPTS_MAX = 3;
/** Below the run's folder. */
const ARTIFACTS_FOLDER = "artifacts";

/** Makes executors of worker processes. */
export function processExecutor(options: ProcessExecutorOptions): ExecutorFactory {
  return (context) => ProcessExecutor.start(options, context);
}

class ProcessExecutor implements Executor {
  readonly capacity: number;
  readonly #options: ProcessExecutorOptions;
  readonly #context: ExecutorContext;
  readonly #folder: string;
  readonly #artifacts: JobArtifacts;
  /** By place, 0 .. capacity - 1. */
  readonly #workers: WorkerProcess[];
  readonly #idle: number[];
  readonly #waiting: ((place: number) => void)[] = [];
  readonly #devices: readonly (string | undefined)[];
  #isClosed = false;

  private constructor(options: ProcessExecutorOptions, context: ExecutorContext, capacity: number) {
    this.capacity = capacity;
    this.#options = options;
    this.#context = context;
    this.#folder = join(context.runFolder, ARTIFACTS_FOLDER);
    this.#artifacts = new JobArtifacts(new FileArtifacts(this.#folder), 4 * capacity);
    this.#devices = assignDevices(capacity, options.devices ?? [], context.device);
    this.#workers = this.#devices.map((_, place) => this.#startWorker(place));
    this.#idle = this.#workers.map((_, place) => place);
  }

  /** Rejects when the workers cannot begin: NATIVE_UNAVAILABLE, CONFIG_INVALID for a device that is not there, WORKER_LOST. */
  static async start(options: ProcessExecutorOptions, context: ExecutorContext): Promise<ProcessExecutor> {
    const capacity = await context.fitting(options.numWorkers, new Set(options.devices).size);
    if (capacity < options.numWorkers) {
      context.emit({ event: "warning", message: `${String(capacity)} of ${String(options.numWorkers)} workers, since memory has no room for more` });
    }
    // What a killed run left there.
    await rm(join(context.runFolder, ARTIFACTS_FOLDER), { recursive: true, force: true });
    const executor = new ProcessExecutor(options, context, capacity);
    try {
      await Promise.all(executor.#workers.map(({ ready }) => ready));
      return executor;
    } catch (error) {
      await executor.dispose();
      throw error;
    }
  }

  async train(job: TrainJob, options: TrainJobOptions): Promise<TrainResult> {
    const { sha256: request, hashes } = await this.#artifacts.put(job.request);
    const { runId: run, llamaCppRelease: llamaCpp } = this.#context;
    try {
      for (let attempt = 1; ; attempt++) {
        const message = makeMessage(job, { run, llamaCpp, attempt, request });
        const place = await this.#take();
        try {
          throwIfAborted(options.signal);
          const worker = await this.#workerOf(place);
          return await this.#resultOf(await worker.run(message, job.model.path, options), options.signal);
        } catch (error) {
          const { lost } = this.#workers[place] ?? {};
          if (lost === undefined || error !== lost || this.#isClosed || options.signal?.aborted === true) throw error;
          this.#context.emit({ event: "warning", message: `${lost.message}; ${attempt < ATTEMPTS_MAX ? "its task is done again" : "its task is given up"}` });
          if (attempt === ATTEMPTS_MAX) throw error;
        } finally {
          this.#giveBack(place);
        }
      }
    } finally {
      await this.#artifacts.release(hashes);
    }
  }

  async dispose(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#workers.map((worker) => worker.end()));
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #resultOf(answer: JobAnswer, signal: AbortSignal | undefined): Promise<TrainResult> {
    if (answer.kind === "result") return parseResult(await this.#artifacts.take(answer.result));
    throwIfAborted(signal);
    throw new FedllmError(codeOf(answer.code), answer.message);
  }

  /** Of a place that the caller holds; a process that is no more is replaced. */
  async #workerOf(place: number): Promise<WorkerProcess> {
    let worker = this.#workers[place];
    if (worker === undefined || worker.lost !== undefined) {
      await worker?.end();
      worker = this.#startWorker(place);
      this.#workers[place] = worker;
    }
    await worker.ready;
    return worker;
  }

  #startWorker(place: number): WorkerProcess {
    const { numThreads, hiddenStateCache, sourceModel, memoryRequests } = this.#context;
    const device = this.#devices[place];
    const begin: BeginMessage = {
      kind: "begin",
      folder: this.#folder,
      numThreads,
      ...(device === undefined ? {} : { device }),
      hiddenStateCache,
      source: { path: sourceModel.path },
      memoryRequests: memoryRequests.map((request) => ({ ...request })),
    };
    const worker = new WorkerProcess(begin, this.#options.watch ?? WATCH);
    this.#options.onStart?.(worker.pid);
    return worker;
  }

  async #take(): Promise<number> {
    if (this.#isClosed) throw problemError("WORKER_LOST", { subject: "workers", expected: "to be there", received: "they were ended" });
    return this.#idle.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  #giveBack(place: number): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(place);
    else next(place);
  }
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new FedllmError("CANCELLED", "training was cancelled", { cause: signal.reason });
}
