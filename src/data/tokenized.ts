/**
 * Makes token ids out of samples: each segment of the template is tokenized on its own, user text never becomes special
 * tokens, and positions that are learned are flagged. Samples that are too long are cut on the right; samples from which
 * nothing could be learned are dropped. Both are counted, because the run shows them.
 * What the segments are is prompt-template.ts; batches are made by the trainer.
 */
import { isFedllmError, problemError } from "../errors.js";
import type { TokenizedSample } from "../federated/local-trainer.js";
import type { ChatSample, PreferenceSample, Sample } from "./samples.js";
import type { PromptTemplate, Segment } from "./prompt-template.js";

/** The part of the model's tokenizer that is needed here; NativeTokenizer has it. */
export interface SampleTokenizer {
  readonly bosToken?: number;
  readonly eosToken?: number;
  /** Whether the model wants BOS before a text. */
  readonly addBos: boolean;
  /** Adds neither BOS nor EOS by itself. */
  tokenize(text: string, parseSpecial: boolean): Int32Array;
}

export interface TokenizeOptions {
  readonly template: PromptTemplate;
  readonly tokenizer: SampleTokenizer;
  /** Most tokens of a sample, BOS and EOS included; at least 2. */
  readonly maxLength: number;
  /**
   * Preference samples hold two answers and no single right one. "chosen" learns the chosen answer as if it were the
   * response; absent: they are refused. Learning from both answers is preference-tokens.ts.
   */
  readonly preferenceAnswer?: "chosen";
}

/** A sample that is not among the results. */
export interface DroppedSample {
  /** Position in the given list. */
  readonly index: number;
  readonly reason: string;
}

/** What became of a list of samples; pairs of answers are one example each. */
export interface TokenizedSamples<Example = TokenizedSample> {
  /** In the given order, without the dropped ones. */
  readonly samples: readonly Example[];
  /** Samples in `samples` that were cut to fit. */
  readonly numTruncated: number;
  readonly numDropped: number;
  /** All tokens of `samples`. */
  readonly numTokens: number;
  readonly numSupervisedTokens: number;
  /** Positions of the dropped samples in the given list, ascending. */
  readonly droppedIndices: readonly number[];
  /** The same positions with reasons. */
  readonly dropped: readonly DroppedSample[];
}

/**
 * Tokenizes samples for training or evaluation. Throws CONFIG_INVALID for preference samples without preferenceAnswer,
 * for a template that the samples' form does not fit, and for a tokenizer that lacks a token the template needs.
 */
export function tokenizeSamples(samples: readonly Sample[], options: TokenizeOptions): TokenizedSamples {
  if (!Number.isSafeInteger(options.maxLength) || options.maxLength < 2) {
    throw problemError("CONFIG_INVALID", {
      subject: "maxLength",
      expected: "an integer of at least 2",
      received: String(options.maxLength),
    });
  }
  const writer = createTokenWriter(options.tokenizer);
  const kept: TokenizedSample[] = [];
  const dropped: DroppedSample[] = [];
  let numTruncated = 0;
  let numTokens = 0;
  let numSupervisedTokens = 0;
  for (const [index, sample] of samples.entries()) {
    const rendered = renderSample(asChatSample(sample, options), options.template);
    if (typeof rendered === "string") {
      dropped.push({ index, reason: rendered });
      continue;
    }
    const whole = writer(rendered);
    const isTruncated = whole.tokens.length > options.maxLength;
    const cut = isTruncated ? truncate(whole, options.maxLength) : whole;
    const numSupervised = cut.supervised.reduce((sum, flag) => sum + flag, 0);
    if (numSupervised === 0) {
      dropped.push({ index, reason: `no answer is left within ${options.maxLength} of ${whole.tokens.length} tokens` });
      continue;
    }
    kept.push(cut);
    if (isTruncated) numTruncated++;
    numTokens += cut.tokens.length;
    numSupervisedTokens += numSupervised;
  }
  const droppedIndices = dropped.map(({ index }) => index);
  return {
    samples: kept,
    numTruncated,
    numDropped: dropped.length,
    numTokens,
    numSupervisedTokens,
    droppedIndices,
    dropped,
  };
}

/**
 * True when a sample is certain to be kept whole, as its bytes show: no tokenizer makes more tokens of a text than it has bytes,
 * where a blank is a mark of three bytes and every segment may get one more in front. Much cheaper than tokenizing; false says
 * nothing. Throws CONFIG_INVALID as {@link tokenizeSamples}.
 */
export function isSurelyWhole(sample: Sample, options: Omit<TokenizeOptions, "tokenizer">): boolean {
  const segments = renderSample(asChatSample(sample, options), options.template);
  if (typeof segments === "string") return false;
  // One for the beginning of the sequence.
  let mostTokens = 1;
  let isLearned = false;
  for (const [index, { text, supervised, endOfSequence }] of segments.entries()) {
    mostTokens += endOfSequence === true ? 1 : Buffer.byteLength(text) + 2 * (text.split(" ").length - 1) + 3;
    isLearned ||= supervised && index > 0 && (endOfSequence === true || text.trim() !== "");
  }
  return isLearned && mostTokens <= options.maxLength;
}

/**
 * Token ids of everything before the sample's last answer, for generation: exactly the tokens that precede that answer
 * in training. Not truncated. Throws as {@link tokenizeSamples}, and DATASET_INVALID for a sample the template refuses.
 */
export function tokenizePrompt(sample: Sample, options: Omit<TokenizeOptions, "maxLength">): Int32Array {
  const segments = options.template.renderPrompt(asChatSample(sample, options));
  return createTokenWriter(options.tokenizer)(segments).tokens;
}

function asChatSample(sample: Sample, options: Pick<TokenizeOptions, "preferenceAnswer">): ChatSample {
  if (sample.kind !== "preference") return sample;
  if (options.preferenceAnswer === "chosen") {
    return withAnswer(sample.prompt, sample.chosen);
  }
  throw problemError("CONFIG_INVALID", {
    subject: "data",
    expected: "samples with responses, which instruction tuning learns from",
    received: "preference samples (prompt, chosen, rejected)",
    remedy: "Set training.objective to dpo, or data.preferenceAnswer to chosen to learn the preferred answers alone",
  });
}

/** The conversation in which a prompt gets this answer. */
export function withAnswer(prompt: PreferenceSample["prompt"], answer: string): ChatSample {
  if (typeof prompt === "string") return { kind: "single-turn", instruction: prompt, response: answer };
  return { kind: "multi-turn", turns: [...prompt, { role: "assistant", text: answer }] };
}

/** The segments, or the reason why this one sample cannot be written in the template's form. */
export function renderSample(sample: ChatSample, template: PromptTemplate): readonly Segment[] | string {
  try {
    return template.render(sample);
  } catch (error) {
    if (isFedllmError(error, "DATASET_INVALID")) return error.message;
    throw error;
  }
}

function truncate(sample: TokenizedSample, maxLength: number): TokenizedSample {
  return { tokens: sample.tokens.slice(0, maxLength), supervised: sample.supervised.slice(0, maxLength) };
}

/** Returns a function that turns segments into tokens with this tokenizer. */
export function createTokenWriter(tokenizer: SampleTokenizer): (segments: readonly Segment[]) => TokenizedSample {
  const tokenizeLater = createContinuation(tokenizer);
  return (segments) => {
    const tokens: number[] = [];
    const supervised: number[] = [];
    const append = (ids: Iterable<number>, isSupervised: boolean): void => {
      for (const id of ids) {
        // The first token has nothing before it to be predicted from.
        supervised.push(isSupervised && tokens.length > 0 ? 1 : 0);
        tokens.push(id);
      }
    };
    let isFirst = true;
    for (const segment of segments) {
      if (segment.endOfSequence === true) {
        append([requireEos(tokenizer)], segment.supervised);
        continue;
      }
      const ids = isFirst
        ? tokenizer.tokenize(segment.text, segment.special)
        : tokenizeLater(segment.text, segment.special);
      if (isFirst && tokenizer.addBos && ids[0] !== requireBos(tokenizer)) append([requireBos(tokenizer)], false);
      isFirst = false;
      append(ids, segment.supervised);
    }
    return { tokens: Int32Array.from(tokens), supervised: Uint8Array.from(supervised) };
  };
}

/** Text put before a segment while it is tokenized, and taken off again; a line break is not joined with what follows. */
const ANCHOR = "\n";

/**
 * Some tokenizers (SentencePiece) put a blank before every text they are given. That is right for the first segment and
 * wrong for later ones, so for such tokenizers later segments are tokenized behind an anchor.
 */
function createContinuation(tokenizer: SampleTokenizer): (text: string, parseSpecial: boolean) => Int32Array {
  if (!addsBlankBefore(tokenizer)) return (text, parseSpecial) => tokenizer.tokenize(text, parseSpecial);
  const anchor = tokenizer.tokenize(ANCHOR, false);
  return (text, parseSpecial) => {
    if (text === "") return new Int32Array(0);
    const anchored = tokenizer.tokenize(ANCHOR + text, parseSpecial);
    const isSeparate = anchor.every((id, index) => anchored[index] === id);
    // A vocabulary that joins the line break with this text gets the plain tokens, one blank too many.
    return isSeparate ? anchored.slice(anchor.length) : tokenizer.tokenize(text, parseSpecial);
  };
}

/** True if two words tokenized one by one give the tokens of the words with a blank between them. */
function addsBlankBefore(tokenizer: SampleTokenizer): boolean {
  const together = tokenizer.tokenize("x y", false);
  const apart = [...tokenizer.tokenize("x", false), ...tokenizer.tokenize("y", false)];
  return together.length === apart.length && apart.every((id, index) => together[index] === id);
}

function requireBos(tokenizer: SampleTokenizer): number {
  if (tokenizer.bosToken !== undefined) return tokenizer.bosToken;
  const expected = "a beginning-of-sequence token, which the model file asks for";
  throw problemError("CONFIG_INVALID", { subject: "the model's tokenizer", expected, received: "none" });
}

/** Id of the end-of-sequence token; throws CONFIG_INVALID for a tokenizer without one. */
export function requireEos(tokenizer: SampleTokenizer): number {
  if (tokenizer.eosToken !== undefined) return tokenizer.eosToken;
  const remedy = "Use a model whose tokenizer has one";
  const expected = "an end-of-sequence token, which ends every answer";
  throw problemError("CONFIG_INVALID", { subject: "the model's tokenizer", expected, received: "none", remedy });
}
