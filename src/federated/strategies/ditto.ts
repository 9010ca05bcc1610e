/**
 * Ditto (Li et al. 2021, algorithm 1): beside what FedAvg does, each client k keeps a personal adapter v_k, which it trains
 * in each of its rounds on the same samples by min_v f_k(v) + (lambda / 2) |v - w|^2, w being the global adapter it got;
 * v_k starts as the first w. lambda is the option proximalMu, 0.1 by default: 0 is training alone, large is FedAvg.
 * The server, its rounds and bytes are FedAvg's, bit for bit; a client computes twice as much. v_k never leaves it.
 */
import { assert } from "../../util/assert.js";
import { stateArray, type Strategy } from "../strategy.js";
import { createFedAvg } from "./fedavg.js";
import type { ProximalOptions } from "./options.js";

export const DITTO_DEFAULTS: ProximalOptions = { proximalMu: 0.1 };

/** Server state: `adapter`. Client state: `adapter`, its personal one, from its first accepted round. */
export function createDitto({ proximalMu }: ProximalOptions = DITTO_DEFAULTS): Strategy {
  return {
    ...createFedAvg(),
    name: "ditto",
    clientSide: {
      begin: (task) => task,
      personalTask: (task, ownState) => ({
        ...task,
        weights: ownState === undefined ? task.weights : stateArray(ownState, "adapter"),
        ...(proximalMu === 0 ? {} : { proximal: { mu: proximalMu, anchor: task.weights } }),
      }),
      finish: (_task, { personalWeights }) => {
        assert(personalWeights !== undefined, "a client with a personal task has trained its adapter");
        return { nextState: { arrays: { adapter: personalWeights }, numbers: {} } };
      },
    },
    adapters: ({ server, clients }) => ({
      kind: "perClient",
      shared: { kind: "global", weights: stateArray(server, "adapter") },
      weights: new Map([...clients].map(([clientId, state]) => [clientId, stateArray(state, "adapter")])),
    }),
  };
}
