/**
 * Held-out quality: scores of single samples -> the metrics of a set, of each client, and of many client adapters.
 * Forward passes are the LocalTrainer's; storing rows is the metrics store's.
 *
 * A sample counts as an exact match when every supervised token is the most likely one given the right tokens before
 * it. That is the same as asking whether greedy decoding from the prompt reproduces the reference token by token,
 * the end-of-sequence token included.
 */
import { isPreferencePair, sequencesOf } from "../federated/local-trainer.js";
import type { FrozenAdapter, LocalTrainer, SampleScore, TokenizedSample, TrainingExample } from "../federated/local-trainer.js";
import { assert } from "../util/assert.js";
import { weighInput, type InputWeights } from "./input-weights.js";
import { pairScores, summarizeHeldOutPairs } from "./preference.js";
import type { HeldOutPreferenceMetrics, JudgedPair, PairScore, PreferenceLoss } from "./preference.js";

/** Held-out samples, or pairs, and what they are for; one may be in the overall set and a client's own at once. */
export interface HeldOutSet {
  readonly samples: readonly TrainingExample[];
  /** Positions in `samples` of the set every adapter is judged by. */
  readonly overall: readonly number[];
  /** Positions in `samples` of each client's own held-out part; clients without one have no entry. */
  readonly own: ReadonlyMap<string, readonly number[]>;
  /** Where clients are in groups: of each group the members, and the positions in `samples`, distinct, that it is judged by. */
  readonly groups?: ReadonlyMap<string, HeldOutGroup>;
}

/** A group's part of the held-out samples: what its members hold out, and what a held-out file has for it. */
export interface HeldOutGroup {
  readonly clientIds: readonly string[];
  readonly positions: readonly number[];
}

/** Names of the stored metrics. Loss is the mean over supervised tokens, perplexity its exponential. */
export interface HeldOutMetrics {
  readonly heldout_loss: number;
  readonly heldout_token_accuracy: number;
  /** Part of the samples of which every supervised token is right. */
  readonly heldout_exact_match: number;
  readonly perplexity: number;
}

/** Metrics of everything (no clientId, no group), of one client's own held-out samples, or of a group's. */
export interface HeldOutRow<Metrics = HeldOutMetrics> {
  readonly clientId?: string;
  readonly group?: string;
  readonly metrics: Metrics;
}

/** What one adapter evaluation needs; `onProgress` hears how many of how many adapters are done. */
export interface EvaluationContext {
  readonly trainer: LocalTrainer;
  /** Samples for the functions without "Pairs" in their names, pairs for the others. */
  readonly heldOut: HeldOutSet;
  readonly microBatchTokens: number;
  /** Adapters that belong to each one that is judged; absent: none. */
  readonly frozenAdapters?: readonly FrozenAdapter[];
  /** For adapters of clients whose weight beside the frozen ones each input decides; absent: it is fixed. */
  readonly inputWeights?: InputWeights;
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

/** One adapter for everybody: the overall row, a row per group, then a row per client in the order of `own`. */
export async function evaluateGlobal(context: EvaluationContext, weights: Float32Array): Promise<HeldOutRow[]> {
  return judgeGlobal(context, sampleJudge(context), weights);
}

/**
 * One adapter per group: a client's and a group's row are the group's adapter on the client's and the group's samples. Where
 * every overall sample belongs to a group, the overall row has each of them judged by its group's adapter, so it compares
 * with that of one adapter for everybody; otherwise it is the mean over the adapters, with the stride of evaluatePersonal.
 */
export async function evaluateGroups(
  context: EvaluationContext,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow[]> {
  return judgeGroups(context, sampleJudge(context), adapters, stride);
}

/**
 * One adapter per client: the overall row is the mean over the adapters of their metrics on the overall set, a client's
 * row is its own adapter on its own samples. With a stride above 1 adapter number i (from 0) is judged by those overall
 * samples number j with i + j divisible by the stride; each adapter and each sample keeps its share, so the mean
 * estimates the full one. A group's row is over its members' own samples, each judged by its client's adapter.
 */
export async function evaluatePersonal(
  context: EvaluationContext,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow[]> {
  return judgePersonal(context, sampleJudge(context), adapters, stride);
}

/** What pairs are judged with beside an adapter. */
export interface PairEvaluationContext extends EvaluationContext {
  readonly loss: PreferenceLoss;
  /** Of every held-out pair under the reference policy, from scoreReference. */
  readonly reference: readonly PairScore[];
}

/** As evaluateGlobal, for pairs. */
export async function evaluateGlobalPairs(
  context: PairEvaluationContext,
  weights: Float32Array,
): Promise<HeldOutRow<HeldOutPreferenceMetrics>[]> {
  return judgeGlobal(context, pairJudge(context), weights);
}

/** As evaluatePersonal, for pairs. */
export async function evaluatePersonalPairs(
  context: PairEvaluationContext,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow<HeldOutPreferenceMetrics>[]> {
  return judgePersonal(context, pairJudge(context), adapters, stride);
}

/** As evaluateGroups, for pairs. */
export async function evaluateGroupsPairs(
  context: PairEvaluationContext,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow<HeldOutPreferenceMetrics>[]> {
  return judgeGroups(context, pairJudge(context), adapters, stride);
}

/** Log-probabilities of all held-out pairs under the reference policy: an adapter, or without one the base model. */
export async function scoreReference(context: EvaluationContext, weights: Float32Array | undefined): Promise<readonly PairScore[]> {
  const { samples } = context.heldOut;
  if (samples.length === 0) return [];
  return scorePairs(context, weights, samples);
}

/** How examples of one form are scored and summed up. */
interface Judge<Score, Metrics> {
  /** In the order of the positions, which are distinct and ascending; an adapter of a client says whose. */
  score(weights: Float32Array, positions: readonly number[], clientId?: string): Promise<readonly Score[]>;
  /** Undefined when there is nothing to judge by. */
  summarize(scores: readonly Score[]): Metrics | undefined;
  /** Over adapters; at least one. */
  mean(all: readonly Metrics[]): Metrics;
}

function sampleJudge(context: EvaluationContext): Judge<SampleScore, HeldOutMetrics> {
  return {
    score: async (weights, positions, clientId) =>
      scoreWeighed(context, weights, positions, clientId, (own, adapter, list) =>
        scoreSequences(own, adapter, list.map((position) => sampleAt(context, position))),
      ),
    summarize: summarizeScores,
    mean: meanMetrics,
  };
}

function pairJudge(context: PairEvaluationContext): Judge<JudgedPair, HeldOutPreferenceMetrics> {
  return {
    score: async (weights, positions, clientId) => {
      const policies = await scoreWeighed(context, weights, positions, clientId, (own, adapter, list) =>
        scorePairs(own, adapter, list.map((position) => exampleAt(context, position))),
      );
      return policies.map((policy, index) => {
        const reference = context.reference[positions[index] ?? 0];
        assert(reference !== undefined, "every pair was scored under the reference policy");
        return { policy, reference };
      });
    },
    summarize: (pairs) => summarizeHeldOutPairs(pairs, context.loss),
    mean: meanPreferenceMetrics,
  };
}

async function judgeGlobal<Score, Metrics>(
  context: EvaluationContext,
  judge: Judge<Score, Metrics>,
  weights: Float32Array,
): Promise<HeldOutRow<Metrics>[]> {
  const { overall, own, groups = NO_GROUPS } = context.heldOut;
  const positionsOfGroups = [...groups.values()].flatMap(({ positions }) => positions);
  const scores = await scoreDistinct(judge, weights, [...overall, ...positionsOfGroups, ...[...own.values()].flat()]);
  context.onProgress?.(1, 1);
  const row = rowMaker(judge, scores);
  return [
    ...row({}, overall),
    ...[...groups].flatMap(([group, { positions }]) => row({ group }, positions)),
    ...[...own].flatMap(([clientId, positions]) => row({ clientId }, positions)),
  ];
}

const NO_GROUPS: ReadonlyMap<string, HeldOutGroup> = new Map();

/** Makes the row of a set of positions from their scores; none for a set without anything to judge by. */
function rowMaker<Score, Metrics>(judge: Judge<Score, Metrics>, scores: ReadonlyMap<number, Score>) {
  return (whose: { readonly clientId?: string; readonly group?: string }, positions: readonly number[]): readonly HeldOutRow<Metrics>[] => {
    const metrics = judge.summarize(pick(scores, positions));
    return metrics === undefined ? [] : [{ ...whose, metrics }];
  };
}

async function judgeGroups<Score, Metrics>(
  context: EvaluationContext,
  judge: Judge<Score, Metrics>,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow<Metrics>[]> {
  const { overall, own, groups = NO_GROUPS } = context.heldOut;
  const grouped = new Set([...groups.values()].flatMap(({ positions }) => positions));
  const isAllGrouped = overall.every((position) => grouped.has(position));
  const means: Metrics[] = [];
  const groupRows: HeldOutRow<Metrics>[] = [];
  const clientRows: HeldOutRow<Metrics>[] = [];
  const all = new Map<number, Score>();
  for (const [number, [group, weights]] of [...adapters].entries()) {
    const { positions, clientIds } = groups.get(group) ?? { positions: [], clientIds: [] };
    const shared = isAllGrouped ? [] : everyNth(overall, number, stride);
    const ofClients = clientIds.map((clientId) => [clientId, own.get(clientId) ?? []] as const);
    const scores = await scoreDistinct(judge, weights, [...positions, ...shared, ...ofClients.flatMap(([, list]) => list)]);
    for (const position of positions) all.set(position, pick(scores, [position])[0] as Score);
    const row = rowMaker(judge, scores);
    groupRows.push(...row({ group }, positions));
    clientRows.push(...ofClients.flatMap(([clientId, list]) => row({ clientId }, list)));
    means.push(...row({}, shared).map(({ metrics }) => metrics));
    context.onProgress?.(number + 1, adapters.size);
  }
  const mean = means.length === 0 ? [] : [{ metrics: judge.mean(means) }];
  return [...(isAllGrouped ? rowMaker(judge, all)({}, overall) : mean), ...groupRows, ...clientRows];
}

/** The overall samples by which an adapter is judged, by its number. */
function everyNth(overall: readonly number[], adapterNumber: number, stride: number): readonly number[] {
  assert(Number.isInteger(stride) && stride >= 1, "the stride is a whole number of at least 1");
  return overall.filter((_, place) => (adapterNumber + place) % stride === 0);
}

async function judgePersonal<Score, Metrics>(
  context: EvaluationContext,
  judge: Judge<Score, Metrics>,
  adapters: ReadonlyMap<string, Float32Array>,
  stride: number,
): Promise<HeldOutRow<Metrics>[]> {
  const { heldOut } = context;
  const ownScores = new Map<string, readonly Score[]>();
  const overallMetrics: Metrics[] = [];
  const rows: HeldOutRow<Metrics>[] = [];
  let number = 0;
  for (const [clientId, weights] of adapters) {
    const shared = everyNth(heldOut.overall, number, stride);
    const mine = heldOut.own.get(clientId) ?? [];
    const scores = await scoreDistinct(judge, weights, [...shared, ...mine], clientId);
    const sharedMetrics = judge.summarize(pick(scores, shared));
    if (sharedMetrics !== undefined) overallMetrics.push(sharedMetrics);
    ownScores.set(clientId, pick(scores, mine));
    const ownMetrics = judge.summarize(pick(scores, mine));
    if (ownMetrics !== undefined) rows.push({ clientId, metrics: ownMetrics });
    number += 1;
    context.onProgress?.(number, adapters.size);
  }
  const groupRows = [...(heldOut.groups ?? NO_GROUPS)].flatMap(([group, { clientIds }]) => {
    const metrics = judge.summarize(clientIds.flatMap((clientId) => ownScores.get(clientId) ?? []));
    return metrics === undefined ? [] : [{ group, metrics }];
  });
  const overallRows = overallMetrics.length === 0 ? [] : [{ metrics: judge.mean(overallMetrics) }];
  return [...overallRows, ...groupRows, ...rows];
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

function meanPreferenceMetrics(all: readonly HeldOutPreferenceMetrics[]): HeldOutPreferenceMetrics {
  const mean = (name: keyof HeldOutPreferenceMetrics) => all.reduce((sum, metrics) => sum + metrics[name], 0) / all.length;
  return {
    heldout_dpo_loss: mean("heldout_dpo_loss"),
    heldout_reward_accuracy: mean("heldout_reward_accuracy"),
    heldout_reward_margin: mean("heldout_reward_margin"),
    heldout_chosen_reward: mean("heldout_chosen_reward"),
    heldout_rejected_reward: mean("heldout_rejected_reward"),
    heldout_chosen_log_probability: mean("heldout_chosen_log_probability"),
    heldout_rejected_log_probability: mean("heldout_rejected_log_probability"),
    heldout_ranking_accuracy: mean("heldout_ranking_accuracy"),
  };
}

/** Scores by position, each computed once and in the order of the set. */
async function scoreDistinct<Score>(
  judge: Judge<Score, unknown>,
  weights: Float32Array,
  positions: readonly number[],
  clientId?: string,
): Promise<ReadonlyMap<number, Score>> {
  const wanted = [...new Set(positions)].sort((left, right) => left - right);
  if (wanted.length === 0) return new Map();
  const scores = await judge.score(weights, wanted, clientId);
  assert(scores.length === wanted.length, "one score per position");
  return new Map(scores.map((found, index) => [wanted[index] ?? index, found]));
}

/** All at once, or where inputs decide one by one, with the scales of each. */
async function scoreWeighed<Score>(
  context: EvaluationContext,
  weights: Float32Array,
  positions: readonly number[],
  clientId: string | undefined,
  score: (context: EvaluationContext, weights: Float32Array, positions: readonly number[]) => Promise<readonly Score[]>,
): Promise<readonly Score[]> {
  const { inputWeights, frozenAdapters: frozen = [], trainer } = context;
  if (inputWeights === undefined || clientId === undefined) return score(context, weights, positions);
  const scores: Score[] = [];
  for (const position of positions) {
    const localWeight = await inputWeights.weightOf(clientId, position);
    const weighed = weighInput(trainer.layout, { weights, frozen }, inputWeights.globalWeight, localWeight);
    scores.push(...(await score({ ...context, frozenAdapters: weighed.frozen }, weighed.weights, [position])));
  }
  return scores;
}

/** Both answers of a pair form a group, so that their prompt is computed once. */
async function scorePairs(
  context: EvaluationContext,
  weights: Float32Array | undefined,
  examples: readonly TrainingExample[],
): Promise<PairScore[]> {
  const sequences = sequencesOf(examples);
  const groupOffsets = Uint32Array.from({ length: sequences.length / 2 + 1 }, (_, pair) => 2 * pair);
  return pairScores(await scoreSequences(context, weights, sequences, groupOffsets));
}

async function scoreSequences(
  { trainer, microBatchTokens, frozenAdapters, signal }: EvaluationContext,
  weights: Float32Array | undefined,
  samples: readonly TokenizedSample[],
  groupOffsets?: Uint32Array,
): Promise<readonly SampleScore[]> {
  const adapter = weights === undefined ? {} : { weights };
  const groups = groupOffsets === undefined ? {} : { groupOffsets };
  const frozen = frozenAdapters === undefined ? {} : { frozenAdapters };
  const result = await trainer.evaluate({ ...adapter, ...frozen, ...groups, samples, microBatchTokens }, signal);
  assert(result.samples.length === samples.length, "one score per sample");
  return result.samples;
}

function exampleAt({ heldOut }: EvaluationContext, position: number): TrainingExample {
  const example = heldOut.samples[position];
  assert(example !== undefined, "a held-out position is within the samples");
  return example;
}

function sampleAt(context: EvaluationContext, position: number): TokenizedSample {
  const example = exampleAt(context, position);
  assert(!isPreferencePair(example), "samples are judged as samples");
  return example;
}

function pick<Score>(scores: ReadonlyMap<number, Score>, positions: readonly number[]): Score[] {
  return positions.map((position) => {
    const found = scores.get(position);
    assert(found !== undefined, "every position has been scored");
    return found;
  });
}
