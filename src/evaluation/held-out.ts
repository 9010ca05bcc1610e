/**
 * Held-out quality: scores of single samples -> the metrics of a set, of each client, and of many client adapters.
 * Forward passes are the LocalTrainer's; storing rows is the metrics store's.
 *
 * A sample counts as an exact match when every supervised token is the most likely one given the right tokens before
 * it. That is the same as asking whether greedy decoding from the prompt reproduces the reference token by token,
 * the end-of-sequence token included.
 */
import type { LocalTrainer, SampleScore, TokenizedSample } from "../federated/local-trainer.js";
import { assert } from "../util/assert.js";

/** Held-out samples and what they are for; a sample may be in the overall set and a client's own at once. */
export interface HeldOutSet {
  readonly samples: readonly TokenizedSample[];
  /** Positions in `samples` of the set every adapter is judged by. */
  readonly overall: readonly number[];
  /** Positions in `samples` of each client's own held-out part; clients without one have no entry. */
  readonly own: ReadonlyMap<string, readonly number[]>;
}

/** Names of the stored metrics. Loss is the mean over supervised tokens, perplexity its exponential. */
export interface HeldOutMetrics {
  readonly heldout_loss: number;
  readonly heldout_token_accuracy: number;
  /** Part of the samples of which every supervised token is right. */
  readonly heldout_exact_match: number;
  readonly perplexity: number;
}

/** Metrics of everything (no clientId) or of one client's own held-out samples. */
export interface HeldOutRow {
  readonly clientId?: string;
  readonly metrics: HeldOutMetrics;
}

/** What one adapter evaluation needs; `onProgress` hears how many of how many adapters are done. */
export interface EvaluationContext {
  readonly trainer: LocalTrainer;
  readonly heldOut: HeldOutSet;
  readonly microBatchTokens: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Metrics of a set of scores; undefined when there is no supervised token to judge by. */
export function summarizeScores(scores: readonly SampleScore[]): HeldOutMetrics | undefined {
  let lossSum = 0;
  let numTokens = 0;
  let numCorrect = 0;
  let numScored = 0;
  let numExact = 0;
  for (const score of scores) {
    if (score.numSupervisedTokens === 0) continue;
    lossSum -= score.logProbability;
    numTokens += score.numSupervisedTokens;
    numCorrect += score.numCorrectTokens;
    numScored += 1;
    if (score.numCorrectTokens === score.numSupervisedTokens) numExact += 1;
  }
  if (numTokens === 0) return undefined;
  const loss = lossSum / numTokens;
  return {
    heldout_loss: loss,
    heldout_token_accuracy: numCorrect / numTokens,
    heldout_exact_match: numExact / numScored,
    perplexity: Math.exp(loss),
  };
}

/** One adapter for everybody: the overall row, then a row per client in the order of `own`. */
export async function evaluateGlobal(context: EvaluationContext, weights: Float32Array): Promise<HeldOutRow[]> {
  const { overall, own } = context.heldOut;
  const scores = await score(context, weights, [...overall, ...[...own.values()].flat()]);
  context.onProgress?.(1, 1);
  const rows: HeldOutRow[] = [];
  const overallMetrics = summarizeScores(pick(scores, overall));
  if (overallMetrics !== undefined) rows.push({ metrics: overallMetrics });
  for (const [clientId, positions] of own) {
    const metrics = summarizeScores(pick(scores, positions));
    if (metrics !== undefined) rows.push({ clientId, metrics });
  }
  return rows;
}

/**
 * One adapter per client: the overall row is the mean over the adapters of their metrics on the overall set, a client's
 * row is its own adapter on its own samples. With a stride above 1 adapter number i (from 0) is judged by those overall
 * samples number j with i + j divisible by the stride; each adapter and each sample keeps its share, so the mean
 * estimates the full one.
 */
export async function evaluatePersonal(
  context: EvaluationContext,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow[]> {
  assert(Number.isInteger(stride) && stride >= 1, "the stride is a whole number of at least 1");
  const { heldOut } = context;
  const overallMetrics: HeldOutMetrics[] = [];
  const rows: HeldOutRow[] = [];
  let number = 0;
  for (const [clientId, weights] of adapters) {
    const adapterNumber = number;
    const shared = heldOut.overall.filter((_, place) => (adapterNumber + place) % stride === 0);
    const mine = heldOut.own.get(clientId) ?? [];
    const scores = await score(context, weights, [...shared, ...mine]);
    const sharedMetrics = summarizeScores(pick(scores, shared));
    if (sharedMetrics !== undefined) overallMetrics.push(sharedMetrics);
    const ownMetrics = summarizeScores(pick(scores, mine));
    if (ownMetrics !== undefined) rows.push({ clientId, metrics: ownMetrics });
    number += 1;
    context.onProgress?.(number, adapters.size);
  }
  return overallMetrics.length === 0 ? rows : [{ metrics: meanMetrics(overallMetrics) }, ...rows];
}

/** Arithmetic means over adapters; perplexity stays the exponential of the (mean) loss. */
export function meanMetrics(all: readonly HeldOutMetrics[]): HeldOutMetrics {
  const mean = (value: (metrics: HeldOutMetrics) => number) =>
    all.reduce((sum, metrics) => sum + value(metrics), 0) / all.length;
  const loss = mean((metrics) => metrics.heldout_loss);
  return {
    heldout_loss: loss,
    heldout_token_accuracy: mean((metrics) => metrics.heldout_token_accuracy),
    heldout_exact_match: mean((metrics) => metrics.heldout_exact_match),
    perplexity: Math.exp(loss),
  };
}

/** Scores by position, each sample computed once and in the order of the set. */
async function score(
  context: EvaluationContext,
  weights: Float32Array,
  positions: readonly number[],
): Promise<ReadonlyMap<number, SampleScore>> {
  const wanted = [...new Set(positions)].sort((left, right) => left - right);
  if (wanted.length === 0) return new Map();
  const samples = wanted.map((position) => {
    const sample = context.heldOut.samples[position];
    assert(sample !== undefined, "a held-out position is within the samples");
    return sample;
  });
  const result = await context.trainer.evaluate(
    { weights, samples, microBatchTokens: context.microBatchTokens },
    context.signal,
  );
  assert(result.samples.length === samples.length, "one score per sample");
  return new Map(result.samples.map((found, index) => [wanted[index] ?? index, found]));
}

function pick(scores: ReadonlyMap<number, SampleScore>, positions: readonly number[]): SampleScore[] {
  return positions.map((position) => {
    const found = scores.get(position);
    assert(found !== undefined, "every position has been scored");
    return found;
  });
}
