/**
 * Updates compared as they are: vectors of the numbers that clients train, A and B side by side. Right where all clients of a round stand on the same factors, which
 * honest ones do, since they start from the same adapter. A client that turns its factors (B M^-1 and M A) looks far away here though it says the same: product-space.ts.
 */
import { WeightedSum } from "../adapter/weighted-sum.js";
import { byCoordinate } from "./coordinates.js";
import type { UpdateSpace } from "./rules.js";
import { checkVectors, squaredDistance, squaredDistances, vectorNorms } from "./vectors.js";

/** Throws ADAPTER_INVALID as checkVectors. */
export function createFactorSpace(updates: readonly Float32Array[]): UpdateSpace {
  checkVectors(updates);
  return {
    numClients: updates.length,
    norms: () => vectorNorms(updates),
    squaredDistances: () => squaredDistances(updates),
    sum: (shares) => {
      const sum = new WeightedSum();
      for (const [k, update] of updates.entries()) sum.add(shares[k] ?? 0, update);
      return sum.sum();
    },
    byCoordinate: (rule, places) => {
      const change = byCoordinate(places.flatMap((place) => updates[place] ?? []), rule);
      return { change, distances: updates.map((update) => Math.sqrt(squaredDistance(update, change))) };
    },
  };
}
