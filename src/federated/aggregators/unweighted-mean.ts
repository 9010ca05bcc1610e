/** The mean of the updates, each client counting once whatever the size of its data. */
import { weightedMean } from "../../adapter/weights.js";
import type { ClientUpdate } from "../protocol.js";

/** Double precision; the same bits whatever the order of the updates. */
export function unweightedMeanUpdate(updates: readonly ClientUpdate[]): Float64Array {
  return weightedMean(updates.map(({ clientId, update }) => ({ clientId, weight: 1, values: update })));
}
