/**
 * FedProx (Li et al. 2020, algorithm 2): each client minimizes f_k(v) + (mu / 2) |v - w|^2, w being the global adapter it
 * started from, so its gradient gets mu (v - w) in every step; the server does what FedAvg does. FedLLM-Bench: mu 0.01.
 * The term enters the gradient before clipping and AdamW. Nothing more is sent: the client has w already.
 */
import { stateArray, type Strategy } from "../strategy.js";
import { createFedAvg } from "./fedavg.js";
import type { ProximalOptions } from "./options.js";

export const FEDPROX_DEFAULTS: ProximalOptions = { proximalMu: 0.01 };

/** Server state: `adapter`. Clients keep nothing. With proximalMu 0 it is FedAvg, bit for bit. */
export function createFedProx({ proximalMu }: ProximalOptions = FEDPROX_DEFAULTS): Strategy {
  const fedAvg = createFedAvg();
  return {
    ...fedAvg,
    name: "fedprox",
    configure: (state, cohort, context) => {
      const tasks = fedAvg.configure(state, cohort, context);
      if (proximalMu === 0) return tasks;
      const proximal = { mu: proximalMu, anchor: stateArray(state, "adapter") };
      return tasks.map((task) => ({ ...task, proximal }));
    },
  };
}
