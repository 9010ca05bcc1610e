/** A trainer that hands training to an executor and does everything else here, with the trainer of the same model in this process. */
import { fingerprintLayout, type AdapterLayout } from "../adapter/layout.js";
import type { EvaluateRequest, EvaluateResult, LocalTrainer, TokenizedSample, TrainRequest, TrainResult } from "../federated/local-trainer.js";
import type { Executor, JobModel, TrainJob } from "./executor.js";

/** What the jobs of a trainer have in common. */
export interface ExecutorTrainerOptions {
  readonly executor: Executor;
  readonly arm: string;
  readonly model: JobModel;
  /** By the layers of the model. */
  readonly lora: TrainJob["lora"];
  /** Over the same model. */
  readonly local: LocalTrainer;
}

type Task = Pick<TrainJob["place"], "clientId" | "round">;

export class ExecutorTrainer implements LocalTrainer {
  readonly layout: AdapterLayout;
  /** Absent where the local trainer has none. */
  readonly represent?: NonNullable<LocalTrainer["represent"]>;
  readonly #options: ExecutorTrainerOptions;
  readonly #layoutFingerprint: string;
  readonly #task: Task | undefined;
  /** By round and client, how many trainings there were. */
  readonly #turns: Map<string, number>;

  constructor(options: ExecutorTrainerOptions, task?: Task, turns = new Map<string, number>()) {
    const { local } = options;
    this.#options = options;
    this.#task = task;
    this.#turns = turns;
    this.layout = local.layout;
    this.#layoutFingerprint = fingerprintLayout(local.layout);
    if (local.represent !== undefined) this.represent = (samples: readonly TokenizedSample[], ...rest) => local.represent?.(samples, ...rest) ?? Promise.resolve([]);
  }

  /** The same trainer for the trainings of one client in one round, which its jobs are named by. */
  forTask({ clientId, round }: Task): LocalTrainer {
    return new ExecutorTrainer(this.#options, { clientId, round }, this.#turns);
  }

  initialWeights(seed: number): Float32Array {
    return this.#options.local.initialWeights(seed);
  }

  async train({ onProgress, ...request }: TrainRequest, signal?: AbortSignal): Promise<TrainResult> {
    const { executor, arm, model, lora } = this.#options;
    const { clientId, round } = this.#task ?? { clientId: "", round: 0 };
    const key = `${String(round)} ${clientId}`;
    const turn = this.#turns.get(key) ?? 0;
    this.#turns.set(key, turn + 1);
    const job: TrainJob = { place: { arm, round, clientId, turn }, model, lora, layout: this.#layoutFingerprint, request };
    return executor.train(job, { ...(onProgress === undefined ? {} : { onProgress }), ...(signal === undefined ? {} : { signal }) });
  }

  evaluate(request: EvaluateRequest, signal?: AbortSignal): Promise<EvaluateResult> {
    return this.#options.local.evaluate(request, signal);
  }
}
