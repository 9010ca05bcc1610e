/** What the releases of a run cost together, and whether one more is within the budget. */
import { DEFAULT_POINTS, epsilonOfEvents, type AccountingMethod, type PrivacyEvent, type Sampling } from "./accounting/accountant.js";

/** A noisy result that was given out. */
export interface Release {
  /** Counted from 1. */
  readonly round: number;
  readonly sampling: Sampling;
  readonly sampleRate: number;
  /** Standard deviation of the noise over the sensitivity of the sampling's adjacency. */
  readonly noiseMultiplier: number;
}

/** What a run may spend. */
export interface PrivacyBudget {
  /** Absent: no limit. */
  readonly epsilon?: number;
  readonly delta: number;
  readonly accountant: AccountingMethod;
}

/** Points of the loss grid where epsilon is only compared: an eighth of the default, and still an upper bound. */
export const BUDGET_POINTS = DEFAULT_POINTS / 8;

/**
 * The events of all releases. Several of one round have the cohort in common, so they are one release whose noise is smaller by the
 * root of their number, and not several on fresh samples.
 */
export function eventsOf(releases: readonly Release[]): readonly PrivacyEvent[] {
  const rounds = new Map<number, { readonly release: Release; readonly precision: number }>();
  for (const release of releases) {
    const precision = 1 / release.noiseMultiplier ** 2 + (rounds.get(release.round)?.precision ?? 0);
    rounds.set(release.round, { release, precision });
  }
  const events = new Map<string, PrivacyEvent>();
  for (const { release, precision } of rounds.values()) {
    const { sampling, sampleRate } = release;
    const noiseMultiplier = precision === 1 / release.noiseMultiplier ** 2 ? release.noiseMultiplier : 1 / Math.sqrt(precision);
    const key = JSON.stringify([sampling, sampleRate, noiseMultiplier]);
    events.set(key, { sampling, sampleRate, noiseMultiplier, count: 1 + (events.get(key)?.count ?? 0) });
  }
  return [...events.values()];
}

/** Epsilon of the releases for delta; 0 for none. */
export function epsilonSpent(releases: readonly Release[], { delta, accountant }: PrivacyBudget, points = BUDGET_POINTS): number {
  return epsilonOfEvents(eventsOf(releases), delta, accountant, points);
}

/** Whether all releases together stay within the budget. */
export function isWithinBudget(releases: readonly Release[], budget: PrivacyBudget): boolean {
  return budget.epsilon === undefined || epsilonSpent(releases, budget) <= budget.epsilon;
}
