/**
 * A lower bound of epsilon by experiment: the same run is made many times with a canary client and many times without it, and an observer
 * of all released means guesses which was which (Nasr et al. 2023, "Tight Auditing of Differentially Private Machine Learning"). With
 * true positives at least t and false positives at most f, at a confidence, no mechanism is (epsilon, delta)-private for an epsilon below
 * log((t - delta) / f). A correct mechanism stays below its claim, and one without noise or without clipping goes above it.
 *
 * The canary sends an update of any length in a direction in which nobody else moves, and the guess is by the likelihood ratio of each
 * round, q the sample rate, s the noise: log(1 - q + q exp((2 x - 1) / (2 s^2))) for a release of x clipping norms. The
 * threshold is chosen on one half of the trials and counted on the other.
 */
import { assert } from "../util/assert.js";
import { logMixture } from "./accounting/special.js";
import { lowerBound, upperBound } from "./binomial.js";

/** One run with a canary, or without: how far each round's release lies in the canary's direction, in clipping norms of a sum. */
export type AuditedRun = (withCanary: boolean, trial: number) => readonly number[] | Promise<readonly number[]>;

export interface AuditOptions {
  /** Runs with the canary; as many are made without. */
  readonly numTrials: number;
  readonly sampleRate: number;
  readonly noiseMultiplier: number;
  readonly delta: number;
  /** Probability with which the bound holds, for example 0.95. */
  readonly confidence: number;
}

export interface AuditResult {
  /** 0 where nothing was learned. */
  readonly epsilonLowerBound: number;
  readonly truePositives: number;
  readonly falsePositives: number;
  /** Trials of each kind that the bound is counted on. */
  readonly numCounted: number;
}

/** Makes all runs and bounds epsilon from below. */
export async function auditMechanism(run: AuditedRun, options: AuditOptions): Promise<AuditResult> {
  const { numTrials } = options;
  assert(numTrials >= 4, "there are trials to choose a threshold on and trials to count");
  const scores = { present: new Float64Array(numTrials), absent: new Float64Array(numTrials) };
  for (let trial = 0; trial < numTrials; trial++) {
    scores.present[trial] = scoreOf(await run(true, trial), options);
    scores.absent[trial] = scoreOf(await run(false, trial), options);
  }
  const half = Math.floor(numTrials / 2);
  const chosen = chooseThreshold(scores.present.subarray(0, half), scores.absent.subarray(0, half), options);
  return count(scores.present.subarray(half), scores.absent.subarray(half), chosen, options);
}

/** Log-likelihood ratio of a run with the canary. Without noise the least noise that can be told from none stands for it. */
function scoreOf(releases: readonly number[], { sampleRate, noiseMultiplier }: AuditOptions): number {
  const sigma = Math.max(noiseMultiplier, 0.05);
  return releases.reduce((sum, x) => sum + logMixture(sampleRate, (2 * x - 1) / (2 * sigma * sigma)), 0);
}

interface Guess {
  readonly threshold: number;
  /** Whether a score above the threshold is taken for the canary; otherwise one below it for its absence. */
  readonly isAbove: boolean;
}

function chooseThreshold(present: Float64Array, absent: Float64Array, options: AuditOptions): Guess {
  const sorted = [...present, ...absent].sort((left, right) => left - right);
  // A hundred quantiles are enough to come near the best one.
  const step = Math.max(1, Math.floor(sorted.length / 100));
  let best: { readonly guess: Guess; readonly epsilon: number } | undefined;
  for (let i = step; i < sorted.length; i += step) {
    const threshold = ((sorted[i - 1] ?? 0) + (sorted[i] ?? 0)) / 2;
    for (const isAbove of [true, false]) {
      const guess = { threshold, isAbove };
      const { epsilonLowerBound } = count(present, absent, guess, options);
      if (best === undefined || epsilonLowerBound > best.epsilon) best = { guess, epsilon: epsilonLowerBound };
    }
  }
  assert(best !== undefined, "there is a threshold between the scores");
  return best.guess;
}

function count(present: Float64Array, absent: Float64Array, { threshold, isAbove }: Guess, { delta, confidence }: AuditOptions): AuditResult {
  const above = (scores: Float64Array) => scores.filter((score) => score > threshold).length;
  const [truePositives, falsePositives] = [above(present), above(absent)];
  const trials = present.length;
  // Both bounds hold together with the confidence.
  const each = 1 - (1 - confidence) / 2;
  const [hits, errors] = isAbove ? [truePositives, falsePositives] : [trials - falsePositives, trials - truePositives];
  const [power, mistakes] = [lowerBound(hits, trials, each), upperBound(errors, trials, each)];
  const epsilonLowerBound = power > delta ? Math.max(0, Math.log((power - delta) / mistakes)) : 0;
  return { epsilonLowerBound, truePositives, falsePositives, numCounted: trials };
}
