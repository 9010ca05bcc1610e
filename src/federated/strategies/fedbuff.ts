/**
 * FedBuff (Nguyen et al. 2022, algorithm 1): an asynchronous server that waits for K updates, whoever they come from, and
 * then moves by their mean, each discounted by the number t of versions that it is old:
 *   w <- w + eta / K sum s(t_k) (w_k - w at its start),   s(t) = (1 + t)^-a
 * The defaults are the paper's K 10 and a 0.5; every update counts once. Bytes per update are FedAvg's.
 */
import { scaleInPlace } from "../../adapter/matrix.js";
import { addUpdate } from "../../adapter/weights.js";
import { WeightedSum } from "../../adapter/weighted-sum.js";
import { oneByOne, stateArray, type Strategy } from "../strategy.js";
import { stalenessOf } from "../staleness.js";
import { createFedAvg } from "./fedavg.js";
import type { BufferedOptions } from "./options.js";

export const FEDBUFF_DEFAULTS: BufferedOptions = { bufferSize: 10, stalenessExponent: 0.5, serverLearningRate: 1 };

/** Server state: `adapter`. Clients keep nothing. With K the whole cohort and all at once it is FedAvg with equal weights. */
export function createFedBuff({ bufferSize, stalenessExponent, serverLearningRate }: BufferedOptions = FEDBUFF_DEFAULTS): Strategy {
  return {
    ...createFedAvg(),
    name: "fedbuff",
    asynchronous: { bufferSize },
    clientWeight: () => 1,
    aggregate: oneByOne((state) => {
      const sum = new WeightedSum();
      let numUpdates = 0;
      return {
        add: (update) => {
          numUpdates += 1;
          sum.add((1 + stalenessOf(update)) ** -stalenessExponent, update.update);
        },
        finish: () => {
          const change = sum.sum();
          scaleInPlace(change, serverLearningRate / numUpdates);
          return { arrays: { adapter: addUpdate(stateArray(state, "adapter"), change) }, numbers: {} };
        },
      };
    }),
  };
}
