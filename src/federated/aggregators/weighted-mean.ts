/** The mean of the updates, each weighted by the full data size of its client (`numExamples`). */
import { weightedMean } from "../../adapter/weights.js";
import type { ClientUpdate } from "../protocol.js";

/** Double precision; the same bits whatever the order of the updates. */
export function weightedMeanUpdate(updates: readonly ClientUpdate[]): Float64Array {
  return weightedMean(
    updates.map(({ clientId, numExamples, update }) => ({ clientId, weight: numExamples, values: update })),
  );
}
