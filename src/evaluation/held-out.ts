/**
 * Held-out quality: scores of single samples -> the metrics of a set, of each client, and of many client adapters.
 * Forward passes are the LocalTrainer's; storing rows is the metrics store's.
 *
 * A sample counts as an exact match when every supervised token is the most likely one given the right tokens before
 * it. That is the same as asking whether greedy decoding from the prompt reproduces the reference token by token,
 * the end-of-sequence token included.
 */
import type { EvaluateResult, LocalTrainer, SampleScore, TokenizedSample } from "../federated/local-trainer.js";
import { assert } from "../util/assert.js";

/** Held-out samples of all clients, in the order of the file; `clientIds[i]` owns `samples[i]`. */
export interface HeldOutSet {
  readonly samples: readonly TokenizedSample[];
  readonly clientIds: readonly string[];
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
  let logProbability = 0;
  let numTokens = 0;
  let numCorrect = 0;
  let numScored = 0;
  let numExact = 0;
  for (const score of scores) {
    if (score.numSupervisedTokens === 0) continue;
    logProbability += score.logProbability;
    numTokens += score.numSupervisedTokens;
    numCorrect += score.numCorrectTokens;
    numScored += 1;
    if (score.numCorrectTokens === score.numSupervisedTokens) numExact += 1;
  }
  if (numTokens === 0) return undefined;
  const loss = -logProbability / numTokens;
  return {
    heldout_loss: loss,
    heldout_token_accuracy: numCorrect / numTokens,
    heldout_exact_match: numExact / numScored,
    perplexity: Math.exp(loss),
  };
}

/** One adapter for everybody: the overall row, then a row per client in order of first appearance. */
export async function evaluateGlobal(context: EvaluationContext, weights: Float32Array): Promise<HeldOutRow[]> {
  const { heldOut } = context;
  const scores = await score(context, weights, heldOut.samples);
  context.onProgress?.(1, 1);
  const rows: HeldOutRow[] = [];
  const overall = summarizeScores(scores);
  if (overall !== undefined) rows.push({ metrics: overall });
  for (const [clientId, indices] of samplesByClient(heldOut)) {
    const metrics = summarizeScores(pick(scores, indices));
    if (metrics !== undefined) rows.push({ clientId, metrics });
  }
  return rows;
}

/**
 * One adapter per client: the overall row is the mean over the adapters of their metrics on the overall set, a client's
 * row is its own adapter on its own samples. With a stride above 1 the adapter at position i sees, beside its own
 * samples, only those overall samples j with (i + j) divisible by the stride; only these enter the overall row, so each
 * adapter and each sample keeps its share and the mean estimates the full one.
 */
export async function evaluatePersonal(
  context: EvaluationContext,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow[]> {
  assert(Number.isInteger(stride) && stride >= 1, "the stride is a whole number of at least 1");
  const { heldOut } = context;
  const own = samplesByClient(heldOut);
  const overall: HeldOutMetrics[] = [];
  const rows: HeldOutRow[] = [];
  let position = 0;
  for (const [clientId, weights] of adapters) {
    const shared = heldOut.samples.map((_, index) => index).filter((index) => (position + index) % stride === 0);
    const mine = own.get(clientId) ?? [];
    const wanted = [...new Set([...shared, ...mine])].sort((left, right) => left - right);
    const found = await score(context, weights, pick(heldOut.samples, wanted));
    const byIndex = new Map(wanted.map((index, place) => [index, at(found, place)]));
    const sharedMetrics = summarizeScores(shared.map((index) => at(byIndex, index)));
    if (sharedMetrics !== undefined) overall.push(sharedMetrics);
    const ownMetrics = summarizeScores(mine.map((index) => at(byIndex, index)));
    if (ownMetrics !== undefined) rows.push({ clientId, metrics: ownMetrics });
    position += 1;
    context.onProgress?.(position, adapters.size);
  }
  return overall.length === 0 ? rows : [{ metrics: meanMetrics(overall) }, ...rows];
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

async function score(
  context: EvaluationContext,
  weights: Float32Array,
  samples: readonly TokenizedSample[],
): Promise<readonly SampleScore[]> {
  if (samples.length === 0) return [];
  const request = { weights, samples, microBatchTokens: context.microBatchTokens };
  const result: EvaluateResult = await context.trainer.evaluate(request, context.signal);
  assert(result.samples.length === samples.length, "one score per sample");
  return result.samples;
}

function samplesByClient(heldOut: HeldOutSet): Map<string, number[]> {
  const result = new Map<string, number[]>();
  for (const [index, clientId] of heldOut.clientIds.entries()) {
    const indices = result.get(clientId);
    if (indices === undefined) result.set(clientId, [index]);
    else indices.push(index);
  }
  return result;
}

function pick<T>(list: readonly T[], indices: readonly number[]): T[] {
  return indices.map((index) => at(list, index));
}

function at<T>(list: readonly T[] | ReadonlyMap<number, T>, index: number): T {
  const value = Array.isArray(list) ? (list as readonly T[])[index] : (list as ReadonlyMap<number, T>).get(index);
  assert(value !== undefined, "index within the list");
  return value;
}
