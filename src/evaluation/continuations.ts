/**
 * Log-probabilities of given continuations of prompts, for questions with given answers and for the analysis of data. All
 * go in one evaluation, in which the prompt of a group is computed once, and what prompts in a row begin with. Comparing the scores is the caller's.
 */
import { problemError } from "../errors.js";
import type { LocalTrainer, TokenizedSample } from "../federated/local-trainer.js";

/** Shorter beginnings, a token or a template's first words, are not worth a layout of their own. */
const MIN_SHARED_TOKENS = 32;

/** A prompt and what may follow it, each at least one token; the prompt has BOS where the model wants it. */
export interface ContinuationGroup {
  readonly prompt: Int32Array;
  readonly continuations: readonly Int32Array[];
}

export interface ContinuationScore {
  /** Summed natural-log probability of the continuation's tokens. */
  readonly logProbability: number;
  readonly numTokens: number;
  /** Whether greedy decoding after the prompt gives exactly this continuation. */
  readonly isGreedy: boolean;
}

export interface ScoreRequest {
  readonly groups: readonly ContinuationGroup[];
  /**
   * Groups that follow each other and whose prompts begin alike are computed with that beginning once for as many of them as a micro-batch
   * holds, so it pays to let it hold several prompts. Scores then depend on the groups beside them, by rounding. Default: true; false:
   * prompts are computed each by itself.
   */
  readonly sharesBeginnings?: boolean;
  /** Adapter; absent: the base model alone. */
  readonly weights?: Float32Array;
  readonly microBatchTokens: number;
}

/** Scores in the order of groups and continuations. Throws DATASET_INVALID for an empty prompt or continuation or none. */
export async function scoreContinuations(
  trainer: Pick<LocalTrainer, "evaluate">,
  { groups, weights, microBatchTokens, sharesBeginnings = true }: ScoreRequest,
  signal?: AbortSignal,
): Promise<ContinuationScore[][]> {
  const samples = groups.flatMap((group, index) => toSamples(group, `groups[${index}]`));
  const firstSamples = new Uint32Array(groups.length + 1);
  for (const [index, { continuations }] of groups.entries()) {
    firstSamples[index + 1] = (firstSamples[index] ?? 0) + continuations.length;
  }
  const starts = sharesBeginnings ? findAlike(groups.map(({ prompt }) => prompt)) : groups.map((_, index) => index);
  const groupOffsets = Uint32Array.from([...starts, groups.length], (index) => firstSamples[index] ?? 0);
  const adapter = weights === undefined ? {} : { weights };
  const result = await trainer.evaluate({ ...adapter, samples, groupOffsets, microBatchTokens }, signal);
  const scores = result.samples.map(({ logProbability, numSupervisedTokens, numCorrectTokens }) => ({
    logProbability,
    numTokens: numSupervisedTokens,
    isGreedy: numCorrectTokens === numSupervisedTokens,
  }));
  return groups.map((_, index) => scores.slice(firstSamples[index], firstSamples[index + 1]));
}

/**
 * Where runs of prompts begin that are cheaper together: a prompt joins the run before it if computing it behind their common beginning
 * saves more tokens than the run loses where that beginning becomes shorter.
 */
function findAlike(prompts: readonly Int32Array[]): number[] {
  const starts: number[] = [];
  let beginning = new Int32Array(0);
  let numPrompts = 0;
  for (const [index, prompt] of prompts.entries()) {
    const shared = commonLength(beginning, prompt);
    if (numPrompts > 0 && shared >= MIN_SHARED_TOKENS && (numPrompts - 1) * (beginning.length - shared) < shared) {
      beginning = beginning.slice(0, shared);
      numPrompts++;
      continue;
    }
    starts.push(index);
    beginning = Int32Array.from(prompt);
    numPrompts = 1;
  }
  return starts;
}

function commonLength(left: Int32Array, right: Int32Array): number {
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index++) if (left[index] !== right[index]) return index;
  return length;
}

function toSamples({ prompt, continuations }: ContinuationGroup, subject: string): TokenizedSample[] {
  if (prompt.length === 0) throw emptyError(`${subject}.prompt`, "at least one token");
  if (continuations.length === 0) throw emptyError(`${subject}.continuations`, "at least one");
  return continuations.map((continuation, index) => {
    if (continuation.length === 0) throw emptyError(`${subject}.continuations[${index}]`, "at least one token");
    const tokens = new Int32Array(prompt.length + continuation.length);
    tokens.set(prompt);
    tokens.set(continuation, prompt.length);
    return { tokens, supervised: new Uint8Array(tokens.length).fill(1, prompt.length) };
  });
}

function emptyError(subject: string, expected: string): Error {
  return problemError("DATASET_INVALID", { subject, expected, received: "none" });
}
