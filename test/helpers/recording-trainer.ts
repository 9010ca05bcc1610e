/** The quadratic trainer, which keeps what it is asked for. */
import { QuadraticTrainer } from "../../src/contract/quadratic-trainer.js";
import type { TrainRequest } from "../../src/federated/local-trainer.js";

export class RecordingTrainer extends QuadraticTrainer {
  readonly requests: TrainRequest[] = [];

  override train(request: TrainRequest, signal?: AbortSignal) {
    this.requests.push(request);
    return super.train(request, signal);
  }
}
