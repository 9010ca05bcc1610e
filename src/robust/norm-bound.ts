/**
 * A bound on each update's length (Sun et al. 2019, "Can You Really Backdoor Federated Learning?"): longer ones are shortened to it or left out, and the rest is a
 * mean. It tolerates no number of hostile clients, but f of n move the mean of shortened updates by at most 2 f / n times the bound.
 */
import { medianOf } from "./vectors.js";

export interface NormBound {
  /** Absent: `medianFactor` times the median of the cohort's norms, which hostile clients cannot move beyond honest ones while they are fewer than half. */
  readonly maxNorm?: number;
  readonly medianFactor: number;
}

/** The bound for a cohort with these norms. */
export function boundOf(norms: readonly number[], { maxNorm, medianFactor }: NormBound): number {
  return maxNorm ?? medianFactor * medianOf(norms);
}

/** What each update counts in the sum that is the mean of the shortened ones. */
export function clippedShares(norms: readonly number[], bound: number): number[] {
  return norms.map((norm) => (norm <= bound ? 1 : bound / norm) / norms.length);
}

/** The same for the mean of those within the bound; all 0 when there is none. */
export function acceptedShares(norms: readonly number[], bound: number): number[] {
  const numAccepted = norms.filter((norm) => norm <= bound).length;
  return norms.map((norm) => (norm <= bound ? 1 / numAccepted : 0));
}
