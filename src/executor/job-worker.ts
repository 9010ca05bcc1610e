/** The worker's side of a job, whatever brought it: checks, artifacts, the model's trainer, the answer. One job at a time. */
import { fingerprintLayout } from "../adapter/layout.js";
import { errorCodeOf, problemError } from "../errors.js";
import type { LocalTrainer, TrainProgress } from "../federated/local-trainer.js";
import type { OpenBaseModel } from "../run/engine.js";
import { hashBytes, type ArtifactStore } from "./artifacts.js";
import { parseRequest, type JobAnswer, type JobMessage } from "./job.js";
import { packValue, unpackValue } from "./packed-values.js";

/** What a worker has. */
export interface JobWorkerOptions {
  readonly store: ArtifactStore;
  readonly llamaCppRelease: string;
  /** Opens the model of this hash with these kernels. Rejects with WORKER_REFUSED when the worker does not have it. */
  readonly openModel: (model: JobMessage["model"]) => Promise<OpenBaseModel>;
}

export interface JobRunOptions {
  readonly onProgress?: (progress: TrainProgress) => void;
  readonly signal?: AbortSignal;
}

export class JobWorker {
  readonly #options: JobWorkerOptions;
  /** Models of the arm at work, by hash and kernels. */
  readonly #models = new Map<string, OpenBaseModel>();
  /** By model and adapter. */
  readonly #trainers = new Map<string, LocalTrainer>();
  #arm = "";
  /** Long arrays of the job before: those of a round begin with the same weights. */
  #arrays: ReadonlyMap<string, Uint8Array> = new Map();

  constructor(options: JobWorkerOptions) {
    this.#options = options;
  }

  /** Does the job; whatever goes wrong is an answer. */
  async run(job: JobMessage, { onProgress, signal }: JobRunOptions = {}): Promise<JobAnswer> {
    try {
      const { store, llamaCppRelease } = this.#options;
      if (job.llamaCpp !== llamaCppRelease) {
        throw problemError("WORKER_REFUSED", { subject: "llama.cpp release of a job", expected: `that of this worker, ${llamaCppRelease}`, received: job.llamaCpp });
      }
      const request = parseRequest(await this.#readRequest(job.request));
      const trainer = await this.#trainerOf(job);
      const result = await trainer.train({ ...request, ...(onProgress === undefined ? {} : { onProgress }) }, signal);
      const { bytes, arrays } = packValue(result);
      for (const [hash, array] of arrays) await store.put(hash, array);
      const sha256 = hashBytes(bytes);
      await store.put(sha256, bytes);
      return { kind: "result", id: job.id, result: sha256, arrays: [...arrays.keys()] };
    } catch (error) {
      const message = (error instanceof Error ? error.message : String(error)).slice(0, 10_000);
      return { kind: "failure", id: job.id, code: errorCodeOf(error), message };
    }
  }

  /** Closes all models. */
  dispose(): void {
    for (const model of this.#models.values()) model.dispose();
    this.#models.clear();
    this.#trainers.clear();
  }

  async #readRequest(sha256: string): Promise<unknown> {
    const { store } = this.#options;
    const arrays = new Map<string, Uint8Array>();
    const value = await unpackValue(await store.get(sha256), async (hash) => {
      const bytes = this.#arrays.get(hash) ?? (await store.get(hash));
      arrays.set(hash, bytes);
      return bytes;
    });
    this.#arrays = arrays;
    return value;
  }

  async #trainerOf({ run, arm, model, lora, layout }: JobMessage): Promise<LocalTrainer> {
    // Models of an arm that is over would only take memory.
    if (this.#arm !== `${run} ${arm}`) this.dispose();
    this.#arm = `${run} ${arm}`;
    const key = JSON.stringify([model, lora]);
    const known = this.#trainers.get(key);
    if (known !== undefined) return known;
    const modelKey = JSON.stringify(model);
    const base = this.#models.get(modelKey) ?? (await this.#options.openModel(model));
    this.#models.set(modelKey, base);
    const trainer = base.trainer(lora as Parameters<OpenBaseModel["trainer"]>[0]);
    const received = fingerprintLayout(trainer.layout);
    if (received !== layout) {
      throw problemError("WORKER_REFUSED", { subject: "adapter layout of a job", expected: `that of the model here, ${received}`, received: layout });
    }
    this.#trainers.set(key, trainer);
    return trainer;
  }
}
