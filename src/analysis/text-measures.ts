/** What the text of one sample shows without a model: lengths, language, type of the instruction, and how two answers differ. */
import { detectLanguage } from "../data/language.js";
import { questionOf } from "../data/sample-text.js";
import type { Sample } from "../data/samples.js";
import { measureSample } from "../data/statistics.js";
import type { SampleTokenizer } from "../data/tokenized.js";
import { instructionTypeOf } from "./instruction-type.js";
import type { InstructionType } from "./instruction-type.js";
import { asJson } from "./pass.js";
import type { Pass } from "./pass.js";
import { comparePair } from "./preferences.js";

export interface TextMeasures {
  /** Two-letter code, or UNDETERMINED. */
  readonly language: string;
  readonly instructionCharacters: number;
  /** Of a preference pair, of the chosen answer. */
  readonly responseCharacters: number;
  readonly rejectedCharacters?: number;
  /** Of the whole instruction; approximate, see instruction-type.ts. */
  readonly type?: InstructionType;
  /** Of a pair, as comparePair gives it. */
  readonly comparison?: readonly number[];
}

/** Numbers of tokens; no template, no BOS or EOS. */
export interface TokenCounts {
  readonly instruction: number;
  readonly response: number;
  readonly rejected?: number;
}

/** Raised when one of the rules changes, so that older findings are not used. */
const TEXT_RULES = 1;
const BATCH_SIZE = 200;

export function measureText(sample: Sample): TextMeasures {
  const { instruction, response, rejected } = measureSample(sample);
  const type = instructionTypeOf(questionOf(sample).question);
  return {
    language: detectLanguage(sample),
    instructionCharacters: instruction,
    responseCharacters: response,
    ...(rejected === undefined ? {} : { rejectedCharacters: rejected }),
    ...(type === undefined ? {} : { type }),
    ...(sample.kind === "preference" ? { comparison: comparePair(sample) } : {}),
  };
}

export function countTokens(sample: Sample, tokenizer: Pick<SampleTokenizer, "tokenize">): TokenCounts {
  const { instruction, response, rejected } = textsOf(sample);
  const count = (texts: readonly string[]) => texts.reduce((sum, text) => sum + tokenizer.tokenize(text, false).length, 0);
  return { instruction: count(instruction), response: count(response), ...(rejected === undefined ? {} : { rejected: count(rejected) }) };
}

/** The texts whose characters measureSample counts. */
function textsOf(sample: Sample): { readonly instruction: readonly string[]; readonly response: readonly string[]; readonly rejected?: readonly string[] } {
  if (sample.kind === "single-turn") {
    return { instruction: [sample.instruction, ...(sample.input === undefined ? [] : [sample.input])], response: [sample.response] };
  }
  if (sample.kind === "preference") {
    const instruction = typeof sample.prompt === "string" ? [sample.prompt] : sample.prompt.map(({ text }) => text);
    return { instruction, response: [sample.chosen], rejected: [sample.rejected] };
  }
  const textsBy = (role: string) => sample.turns.flatMap((turn) => (turn.role === role ? [turn.text] : []));
  return { instruction: textsBy("user"), response: textsBy("assistant") };
}

export const textPass: Pass<TextMeasures> = {
  step: "texts",
  analysis: `text/${String(TEXT_RULES)}`,
  batchSize: BATCH_SIZE,
  compute: (samples) => samples.map(({ sample }) => measureText(sample)),
  ...asJson<TextMeasures>(),
};

/** The model is named by the hash of its file. */
export function tokenPass(tokenizer: Pick<SampleTokenizer, "tokenize">, modelSha256: string): Pass<TokenCounts> {
  return {
    step: "tokens",
    analysis: `tokens/1/${modelSha256}`,
    batchSize: BATCH_SIZE,
    compute: (samples) => samples.map(({ sample }) => countTokens(sample, tokenizer)),
    ...asJson<TokenCounts>(),
  };
}
