/**
 * Federated offsite tuning (FedOT, Kuang et al. 2023, after offsite tuning, Xiao et al. 2023): the server keeps the model, and clients
 * get an emulator of it, in which a part of the layers between the adapter's is left out. They train an adapter on the first and last
 * layers there, the server averages it as FedAvg does, and it is plugged into the full model. The emulator is not aligned with the
 * model beforehand (Xiao et al. 2023 without distillation), so it is the same in all rounds and is handed out once.
 */
import type { Strategy } from "../strategy.js";
import { createFedProx } from "./fedprox.js";
import type { OffsiteOptions } from "./options.js";

export const FEDOT_DEFAULTS: OffsiteOptions = { firstLayers: 2, lastLayers: 2, dropRate: 0.5, proximalMu: 0 };

/** Server state: `adapter`. Clients keep nothing. With proximalMu 0 clients train as FedAvg's do. */
export function createFedOt({ firstLayers, lastLayers, dropRate, proximalMu }: OffsiteOptions = FEDOT_DEFAULTS): Strategy {
  return { ...createFedProx({ proximalMu }), name: "fedot", emulator: { firstLayers, lastLayers, dropRate } };
}
