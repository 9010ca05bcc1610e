/**
 * FedAsync (Xie et al. 2019, algorithm 1, polynomial staleness): the server mixes each client's weights into its own as soon
 * as they come, the less the more versions t they are old:
 *   w <- (1 - alpha_t) w + alpha_t w_k,   alpha_t = alpha (1 + t)^-a
 * Each client minimizes f_k(v) + (rho / 2) |v - w at its start|^2; rho is the option proximalMu. Defaults: alpha 0.6, a 0.5,
 * rho 0.005. Bytes per update are FedAvg's.
 */
import { WeightedSum } from "../../adapter/weighted-sum.js";
import { addUpdate, subtractWeights } from "../../adapter/weights.js";
import type { ClientUpdate, NamedState } from "../protocol.js";
import { stalenessOf } from "../staleness.js";
import { oneByOne, stateArray, type Strategy } from "../strategy.js";
import { createFedProx } from "./fedprox.js";
import type { MixingOptions } from "./options.js";

export const FEDASYNC_DEFAULTS: MixingOptions = { mixing: 0.6, stalenessExponent: 0.5, proximalMu: 0.005 };

/** Server state: `adapter`. Clients keep nothing. */
export function createFedAsync({ mixing, stalenessExponent, proximalMu }: MixingOptions = FEDASYNC_DEFAULTS): Strategy {
  return {
    ...createFedProx({ proximalMu }),
    name: "fedasync",
    asynchronous: { bufferSize: 1 },
    clientWeight: () => 1,
    aggregate: oneByOne((state) => {
      let weights = stateArray(state, "adapter");
      return {
        add: (update) => {
          weights = mixIn(weights, update, mixing * (1 + stalenessOf(update)) ** -stalenessExponent);
        },
        finish: (): NamedState => ({ arrays: { adapter: weights }, numbers: {} }),
      };
    }),
  };
}

/** w + alpha (w_k - w), where w_k is what the client was sent and its update. */
function mixIn(weights: Float32Array, { update, delay }: ClientUpdate, alpha: number): Float32Array {
  const sentWeights = delay?.sentWeights ?? weights;
  const change = new WeightedSum();
  change.add(alpha, subtractWeights(sentWeights, weights));
  change.add(alpha, update);
  return addUpdate(weights, change.sum());
}
