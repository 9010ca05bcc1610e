/**
 * Log-probabilities of given continuations of prompts, for questions with given answers and for the analysis of data. All
 * go in one evaluation, in which the prompt of a group is computed once. Comparing the scores is the caller's.
 */
import { problemError } from "../errors.js";
import type { LocalTrainer, TokenizedSample } from "../federated/local-trainer.js";

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
  /** Adapter; absent: the base model alone. */
  readonly weights?: Float32Array;
  readonly microBatchTokens: number;
}

/** Scores in the order of groups and continuations. Throws DATASET_INVALID for an empty prompt or continuation or none. */
export async function scoreContinuations(
  trainer: Pick<LocalTrainer, "evaluate">,
  { groups, weights, microBatchTokens }: ScoreRequest,
  signal?: AbortSignal,
): Promise<ContinuationScore[][]> {
  const samples = groups.flatMap((group, index) => toSamples(group, `groups[${index}]`));
  const groupOffsets = new Uint32Array(groups.length + 1);
  for (const [index, { continuations }] of groups.entries()) {
    groupOffsets[index + 1] = (groupOffsets[index] ?? 0) + continuations.length;
  }
  const adapter = weights === undefined ? {} : { weights };
  const result = await trainer.evaluate({ ...adapter, samples, groupOffsets, microBatchTokens }, signal);
  const scores = result.samples.map(({ logProbability, numSupervisedTokens, numCorrectTokens }) => ({
    logProbability,
    numTokens: numSupervisedTokens,
    isGreedy: numCorrectTokens === numSupervisedTokens,
  }));
  return groups.map((_, index) => scores.slice(groupOffsets[index], groupOffsets[index + 1]));
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
