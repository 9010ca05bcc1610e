/**
 * Makes pairs of token sequences out of preference samples: prompt + chosen answer, prompt + rejected answer. Both begin
 * with exactly the same tokens, and only the last answer is supervised.
 *
 * What is too long is cut by the rule of FedLLM-Bench (TRL 0.7): when prompt and longer answer have more than maxLength
 * tokens, the prompt keeps its last maxPromptLength tokens; if that is not enough, both answers are cut to
 * maxLength - maxPromptLength tokens, their ends lost. A beginning-of-sequence token stays and counts in the prompt.
 */
import { problemError } from "../errors.js";
import type { PreferencePair, TokenizedSample } from "../federated/local-trainer.js";
import type { PromptTemplate } from "./prompt-template.js";
import type { PreferenceSample, Sample } from "./samples.js";
import { createTokenWriter, renderSample, requireEos, withAnswer } from "./tokenized.js";
import type { DroppedSample, SampleTokenizer, TokenizedSamples } from "./tokenized.js";

/** Most tokens of a pair's sequences. */
export interface PairLengths {
  /** Of prompt and answer together. */
  readonly maxLength: number;
  /** That a prompt keeps when the pair is too long; 1 <= maxPromptLength < maxLength. */
  readonly maxPromptLength: number;
}

export interface TokenizePairsOptions extends PairLengths {
  /**
   * How prompt and answer become text; "none": the bare texts, each tokenized alone, without BOS and with EOS after the
   * answer, as FedLLM-Bench trains on preference data.
   */
  readonly template: PromptTemplate | "none";
  readonly tokenizer: SampleTokenizer;
}

/** Tokens of a pair, the prompt's once. */
export interface PairTokens {
  readonly prompt: readonly number[];
  /** Leading tokens of the prompt that are not cut away: 1 when it begins with BOS. */
  readonly numFixed: number;
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/** Throws CONFIG_INVALID for lengths out of bounds, samples that are no pairs, and a tokenizer without EOS. */
export function tokenizePairs(samples: readonly Sample[], options: TokenizePairsOptions): TokenizedSamples<PreferencePair> {
  checkLengths(options);
  const write = createPairWriter(options);
  const kept: PreferencePair[] = [];
  const dropped: DroppedSample[] = [];
  let numTruncated = 0;
  for (const [index, sample] of samples.entries()) {
    const whole = write(asPreference(sample));
    if (typeof whole === "string") {
      dropped.push({ index, reason: whole });
      continue;
    }
    const cut = truncatePair(whole, options);
    const reason = findProblem(cut);
    if (reason !== undefined) {
      dropped.push({ index, reason });
      continue;
    }
    if (cut !== whole) numTruncated++;
    kept.push({ chosen: joinTokens(cut.prompt, cut.chosen), rejected: joinTokens(cut.prompt, cut.rejected) });
  }
  return { samples: kept, numTruncated, ...countTokens(kept), numDropped: dropped.length, droppedIndices: dropped.map(({ index }) => index), dropped };
}

/** The rule of cutting; the given tokens themselves when nothing is too long. */
export function truncatePair(whole: PairTokens, { maxLength, maxPromptLength }: PairLengths): PairTokens {
  const longest = Math.max(whole.chosen.length, whole.rejected.length);
  if (whole.prompt.length + longest <= maxLength) return whole;
  const prompt = keepEnd(whole.prompt, maxPromptLength, whole.numFixed);
  if (prompt.length + longest <= maxLength) return { ...whole, prompt };
  const most = maxLength - maxPromptLength;
  return { ...whole, prompt, chosen: whole.chosen.slice(0, most), rejected: whole.rejected.slice(0, most) };
}

/** At most `most` tokens: the first `numFixed` and the last of the others. */
function keepEnd(tokens: readonly number[], most: number, numFixed: number): readonly number[] {
  if (tokens.length <= most) return tokens;
  return [...tokens.slice(0, numFixed), ...tokens.slice(tokens.length - (most - numFixed))];
}

/** Makes the tokens of a pair, or says why there are none. */
type PairWriter = (sample: PreferenceSample) => PairTokens | string;

function createPairWriter({ template, tokenizer }: TokenizePairsOptions): PairWriter {
  return template === "none" ? createBareWriter(tokenizer) : createTemplateWriter(template, tokenizer);
}

function createBareWriter(tokenizer: SampleTokenizer): PairWriter {
  const eos = requireEos(tokenizer);
  const answerTokens = (text: string) => [...tokenizer.tokenize(text, false), eos];
  return ({ prompt, chosen, rejected }) => {
    if (typeof prompt !== "string") return "template none has no form for prompts of several messages";
    return {
      prompt: [...tokenizer.tokenize(prompt, false)],
      numFixed: 0,
      chosen: answerTokens(chosen),
      rejected: answerTokens(rejected),
    };
  };
}

function createTemplateWriter(template: PromptTemplate, tokenizer: SampleTokenizer): PairWriter {
  const write = createTokenWriter(tokenizer);
  const writeSide = (prompt: PreferenceSample["prompt"], answer: string) => {
    const segments = renderSample(withAnswer(prompt, answer), template);
    return typeof segments === "string" ? segments : splitAtAnswer(write(segments));
  };
  return ({ prompt, chosen, rejected }) => {
    const first = writeSide(prompt, chosen);
    if (typeof first === "string") return first;
    const second = writeSide(prompt, rejected);
    if (typeof second === "string") return second;
    if (!areEqual(first.prompt, second.prompt)) return "the template writes the prompt in another way for each answer";
    const numFixed = first.prompt[0] !== undefined && first.prompt[0] === tokenizer.bosToken ? 1 : 0;
    return { prompt: first.prompt, numFixed, chosen: first.answer, rejected: second.answer };
  };
}

/** Earlier answers of a conversation belong to the prompt; what a template writes after the last one is left out. */
function splitAtAnswer({ tokens, supervised }: TokenizedSample): { prompt: readonly number[]; answer: readonly number[] } {
  const end = supervised.lastIndexOf(1) + 1;
  const start = end === 0 ? 0 : supervised.lastIndexOf(0, end - 1) + 1;
  return { prompt: [...tokens.slice(0, start)], answer: [...tokens.slice(start, end)] };
}

/** Why nothing could be learned from the pair. */
function findProblem({ prompt, chosen, rejected }: PairTokens): string | undefined {
  if (prompt.length === 0) return "the prompt has no tokens, so the first token of the answers cannot be predicted";
  if (chosen.length === 0 || rejected.length === 0) return "an answer has no tokens";
  if (areEqual(chosen, rejected)) return `both answers begin with the same ${String(chosen.length)} tokens, and the rest was cut`;
  return undefined;
}

function joinTokens(prompt: readonly number[], answer: readonly number[]): TokenizedSample {
  const supervised = new Uint8Array(prompt.length + answer.length).fill(1, prompt.length);
  return { tokens: Int32Array.from([...prompt, ...answer]), supervised };
}

function countTokens(pairs: readonly PreferencePair[]): { numTokens: number; numSupervisedTokens: number } {
  const sequences = pairs.flatMap(({ chosen, rejected }) => [chosen, rejected]);
  return {
    numTokens: sequences.reduce((sum, { tokens }) => sum + tokens.length, 0),
    numSupervisedTokens: sequences.reduce((sum, { supervised }) => sum + supervised.length - supervised.indexOf(1), 0),
  };
}

function areEqual(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((token, index) => token === right[index]);
}

function asPreference(sample: Sample): PreferenceSample {
  if (sample.kind === "preference") return sample;
  throw problemError("CONFIG_INVALID", {
    subject: "data",
    expected: "preference samples (prompt, chosen, rejected), which training.objective dpo learns from",
    received: `${sample.kind} samples`,
    remedy: "Name a file with pairs of answers, or set training.objective to sft",
  });
}

function checkLengths({ maxLength, maxPromptLength }: PairLengths): void {
  const isPossible = Number.isSafeInteger(maxLength) && Number.isSafeInteger(maxPromptLength);
  if (isPossible && maxPromptLength >= 1 && maxPromptLength < maxLength) return;
  throw problemError("CONFIG_INVALID", {
    subject: "data.maxPromptLength",
    expected: `a whole number from 1 to below data.maxLength (${String(maxLength)})`,
    received: String(maxPromptLength),
  });
}
