/**
 * A worker process as the run sees it: begun, given one job at a time, asked whether it still answers, ended. A process that dies or hangs rejects its
 * job with WORKER_LOST and is never used again.
 */
import { fork, type ChildProcess } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { FedllmError, problemError } from "../../errors.js";
import type { TrainProgress } from "../../federated/local-trainer.js";
import { codeOf, type JobAnswer, type JobMessage } from "../job.js";
import { parseFromWorker, type BeginMessage, type FromWorker, type ToWorker } from "./messages.js";

/** How a process is watched. */
export interface WatchOptions {
  /** Between two questions whether it answers. */
  readonly pingEveryMs: number;
  /** How long it may take to begin. */
  readonly startMs: number;
  /** So many questions in a row without any word of it, and it counts as hung. Questions are counted and not time, which also passes while all sleep. */
  readonly pingsMissedMax: number;
}

const ERROR_TAIL_CHARS = 2000;
/** How long a process has to end by itself when it is let go. */
const END_GRACE_MS = 5000;

interface Work {
  readonly message: JobMessage;
  readonly onProgress: ((progress: TrainProgress) => void) | undefined;
  readonly resolve: (answer: JobAnswer) => void;
  readonly reject: (error: Error) => void;
}

export class WorkerProcess {
  readonly pid: number;
  /** Resolves when it can take jobs. Rejects with what it could not do, or WORKER_LOST. */
  readonly ready: Promise<void>;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #startTimer: NodeJS.Timeout;
  #pings: NodeJS.Timeout | undefined;
  #numMissed = 0;
  #work: Work | undefined;
  #lost: FedllmError | undefined;
  #errorTail = "";
  #onReady: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;

  constructor(begin: BeginMessage, watch: WatchOptions) {
    this.#child = startProgram();
    this.pid = this.#child.pid ?? 0;
    this.ready = new Promise((resolve, reject) => {
      this.#onReady = { resolve, reject };
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once("exit", (exitCode, signal) => {
        this.#lose(signal === null ? `ended with exit code ${String(exitCode)}` : `was ended by ${signal}`);
        resolve();
      });
      this.#child.once("error", (error) => {
        this.#lose(`could not be started or reached: ${error.message}`);
        if (this.#child.pid === undefined) resolve();
      });
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#errorTail = (this.#errorTail + text).slice(-ERROR_TAIL_CHARS);
    });
    this.#child.on("message", (value) => {
      this.#numMissed = 0;
      try {
        this.#hear(parseFromWorker(value));
      } catch (error) {
        this.#kill(error instanceof Error ? error.message : String(error));
      }
    });
    this.#startTimer = setTimeout(() => {
      this.#kill(`was not ready after ${String(watch.startMs / 1000)} s`);
    }, watch.startMs);
    void this.ready.then(
      () => {
        clearTimeout(this.#startTimer);
        this.#watch(watch);
      },
      () => undefined,
    );
    this.#send(begin);
  }

  /** Set once it is no more. */
  get lost(): FedllmError | undefined {
    return this.#lost;
  }

  /** One job at a time. After an abort it still answers, within a micro-batch. Rejects with WORKER_LOST. */
  async run(message: JobMessage, modelPath: string, options: { readonly onProgress?: (progress: TrainProgress) => void; readonly signal?: AbortSignal }): Promise<JobAnswer> {
    if (this.#lost !== undefined) throw this.#lost;
    const { onProgress, signal } = options;
    const cancel = (): void => {
      this.#send({ kind: "cancel", id: message.id });
    };
    try {
      return await new Promise<JobAnswer>((resolve, reject) => {
        this.#work = { message, onProgress, resolve, reject };
        this.#send({ kind: "job", job: message, modelPath });
        if (signal?.aborted === true) cancel();
        signal?.addEventListener("abort", cancel, { once: true });
      });
    } finally {
      this.#work = undefined;
      signal?.removeEventListener("abort", cancel);
    }
  }

  /** Lets it go; resolves when it has ended, by force if it does not. */
  async end(): Promise<void> {
    clearInterval(this.#pings);
    clearTimeout(this.#startTimer);
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(() => {
      this.#child.kill("SIGKILL");
    }, END_GRACE_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  #watch({ pingEveryMs, pingsMissedMax }: WatchOptions): void {
    if (this.#lost !== undefined) return;
    this.#pings = setInterval(() => {
      this.#numMissed += 1;
      if (this.#numMissed > pingsMissedMax) this.#kill(`has not answered for ${String((this.#numMissed * pingEveryMs) / 1000)} s`);
      else this.#send({ kind: "ping" });
    }, pingEveryMs);
    this.#pings.unref();
  }

  #kill(reason: string): void {
    this.#lose(reason);
    this.#child.kill("SIGKILL");
  }

  #send(message: ToWorker): void {
    // A pipe that broke is told of by the process's end.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  #hear(message: FromWorker): void {
    switch (message.kind) {
      case "ready":
        this.#onReady?.resolve();
        return;
      case "unable":
        this.#onReady?.reject(new FedllmError(codeOf(message.code), message.message));
        return;
      case "progress": {
        const { id, progress } = message;
        if (id === this.#work?.message.id) this.#work.onProgress?.({ ...progress, loss: progress.loss ?? Number.NaN });
        return;
      }
      case "answer":
        if (message.answer.id === this.#work?.message.id) this.#work.resolve(message.answer);
        return;
      case "pong":
    }
  }

  #lose(received: string): void {
    clearInterval(this.#pings);
    clearTimeout(this.#startTimer);
    const tail = this.#errorTail.trim();
    this.#lost ??= problemError("WORKER_LOST", { subject: `worker process ${String(this.pid)}`, expected: "an answer", received: `it ${received}${tail === "" ? "" : `: ${tail}`}` });
    this.#work?.reject(this.#lost);
    this.#onReady?.reject(this.#lost);
  }
}

function startProgram(): ChildProcess {
  const own = import.meta.url;
  const program = new URL(own.endsWith(".ts") ? "worker-program.ts" : "worker-program.js", own);
  return fork(fileURLToPath(program), {
    // From the sources, as tests run it, TypeScript needs its loader.
    execArgv: own.endsWith(".ts") ? ["--import", pathToFileURL(createRequire(own).resolve("tsx")).href] : [],
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    serialization: "json",
  });
}
