/**
 * SCAFFOLD (Karimireddy et al. 2020, algorithm 1 with option II, global step 1), in the form of FedLLM-Bench. The server
 * keeps a control variate c, each client its own c_i, all zero at first; w is the global adapter, v the trained one:
 *   client: after each optimizer step v <- v - lr (c - c_i);  c_i' = (w - v) / (K lr) - (c - c_i);  sends v - w, c_i' - c_i
 *   server: w <- w + sum p_k (w_k - w), weighted as in FedAvg;  c <- c + (1 / N) sum (c_i' - c_i), N being all clients
 * With SGD the correction is part of the gradient. Here it follows the AdamW step and is neither clipped nor rescaled by
 * Adam, while (w - v) / (K lr) measures Adam's normalized steps: variates are mean steps in units of lr, not mean
 * gradients, and the correction has the size of the steps it corrects. c stays the mean of all clients' c_i.
 * A vector more travels in each direction, so a round sends twice FedAvg's bytes. A client's c_i never leaves it; only
 * the change does.
 */
import { WeightedSum } from "../../adapter/weighted-sum.js";
import { addUpdate, subtractWeights } from "../../adapter/weights.js";
import { assert } from "../../util/assert.js";
import type { ClientUpdate, NamedState, TrainTask } from "../protocol.js";
import { oneByOne, stateArray, type ClientSide, type LocalOutcome, type Strategy } from "../strategy.js";
import { createFedAvg } from "./fedavg.js";

/** Server state: `adapter`, `controlVariate` (c). Client state: `controlVariate` (c_i), from its first accepted round. */
export function createScaffold(): Strategy {
  const fedAvg = createFedAvg();
  const startFedAvg = fedAvg.aggregate.start;
  assert(startFedAvg !== undefined, "FedAvg takes updates one by one");
  return {
    ...fedAvg,
    name: "scaffold",
    sendsControlVariates: true,
    clientSide: { begin, finish },
    init: (weights) => ({
      arrays: { adapter: weights, controlVariate: new Float32Array(weights.length) },
      numbers: {},
    }),
    configure: (state, cohort, context) => {
      const serverControlVariate = stateArray(state, "controlVariate");
      return fedAvg.configure(state, cohort, context).map((task) => ({ ...task, serverControlVariate }));
    },
    aggregate: oneByOne((state, context) => {
      const adapters = startFedAvg(state, context);
      const variates = new WeightedSum();
      return {
        add: (update) => {
          adapters.add(update);
          variates.add(1, variateChange(update));
        },
        finish: () => ({
          arrays: {
            ...adapters.finish().arrays,
            controlVariate: addUpdate(stateArray(state, "controlVariate"), variates.sumOver(context.numClients)),
          },
          numbers: {},
        }),
      };
    }),
  };
}

/** c_i' of one coordinate; `pathLength` is K lr, `correction` is c - c_i. */
export function nextVariate(start: number, trained: number, pathLength: number, correction: number): number {
  return (start - trained) / pathLength - correction;
}

const begin: ClientSide["begin"] = (task, ownState) => ({
  ...task,
  gradientOffset: subtractWeights(serverVariate(task), ownVariate(task, ownState)),
});

/** K counts the steps that were made; they are the configured ones. */
const finish: ClientSide["finish"] = (task, { startWeights, trainedWeights, numSteps }: LocalOutcome, ownState) => {
  const { gradientOffset, clientLearningRate } = task;
  assert(gradientOffset !== undefined, "a task that was begun has its correction");
  const next = new Float32Array(startWeights.length);
  for (let i = 0; i < next.length; i++) {
    const pathLength = numSteps * clientLearningRate;
    next[i] = nextVariate(startWeights[i] ?? 0, trainedWeights[i] ?? 0, pathLength, gradientOffset[i] ?? 0);
  }
  return {
    controlVariateUpdate: subtractWeights(next, ownVariate(task, ownState)),
    nextState: { arrays: { controlVariate: next }, numbers: {} },
  };
};

function serverVariate({ serverControlVariate }: TrainTask): Float32Array {
  assert(serverControlVariate !== undefined, "a task of SCAFFOLD brings the server's control variate");
  return serverControlVariate;
}

function ownVariate(task: TrainTask, ownState: NamedState | undefined): Float32Array {
  return ownState === undefined ? new Float32Array(task.weights.length) : stateArray(ownState, "controlVariate");
}

/** c_i' - c_i. */
function variateChange({ controlVariateUpdate }: ClientUpdate): Float32Array {
  assert(controlVariateUpdate !== undefined, "a checked update of SCAFFOLD brings the change of its control variate");
  return controlVariateUpdate;
}
