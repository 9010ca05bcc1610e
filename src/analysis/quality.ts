/**
 * How hard answers are to come by from their instructions: the Instruction-Following Difficulty of Li et al. 2023 (From Quantity to
 * Quality, arXiv 2308.12032), IFD = s(A | Q) / s(A), where s is the mean cross-entropy of the answer's tokens in nats. s(A | Q) is
 * computed after the whole prompt, s(A) after the answer's frame alone, which is what the template writes between the question and
 * the answer ("### Response:"). The answer's tokens, its end included, are the same in both. Above 1 the instruction does not help
 * the model at all, which is a sign of an answer to something else.
 */
import { createTokenWriter, renderSample, requireEos, withAnswer } from "../data/tokenized.js";
import type { SampleTokenizer } from "../data/tokenized.js";
import type { PromptTemplate, Segment } from "../data/prompt-template.js";
import type { Sample } from "../data/samples.js";
import { describeNumbers } from "../data/statistics.js";
import { scoreContinuations } from "../evaluation/continuations.js";
import type { ContinuationGroup } from "../evaluation/continuations.js";
import type { LocalTrainer } from "../federated/local-trainer.js";
import { asJson } from "./pass.js";
import type { Pass } from "./pass.js";
import type { QualityReport } from "./report.js";

/** Of one sample: mean loss per token of the answer in nats, or why there is none. */
export type DifficultyFinding =
  | { readonly lossGivenInstruction: number; readonly lossAlone: number; readonly numTokens: number }
  | { readonly skipped: string };

export interface QualitySetup {
  readonly modelSha256: string;
  readonly device: string;
  readonly tokenizer: SampleTokenizer;
  readonly template: PromptTemplate;
  readonly trainer: Pick<LocalTrainer, "evaluate">;
  /** Longer samples are skipped, as a cut answer would not be comparable. */
  readonly maxLength: number;
}

/** Raised when what is computed changes. */
const QUALITY_RULES = 1;
const BATCH_SIZE = 8;

/** Losses of the last answer of each sample; of a preference pair, of the chosen one. */
export function qualityPass(setup: QualitySetup): Pass<DifficultyFinding> {
  const { modelSha256, device, template, maxLength, trainer } = setup;
  const split = createAnswerSplit(setup);
  const alone = frameTokens(setup);
  return {
    step: "quality",
    analysis: `ifd/${String(QUALITY_RULES)}/${modelSha256}/${device}/${template.name}/${String(maxLength)}`,
    batchSize: BATCH_SIZE,
    compute: async (samples, signal) => {
      const groups = samples.map(({ sample }) => split(sample));
      const scored = groups.flatMap((group) => ("skipped" in group ? [] : [group, { ...group, prompt: alone }]));
      const scores = scored.length === 0 ? [] : await scoreContinuations(trainer, { groups: scored, microBatchTokens: maxLength, sharesBeginnings: false }, signal);
      const losses = scores.flat().map(({ logProbability, numTokens }) => ({ loss: -logProbability / numTokens, numTokens }));
      return groups.map((group): DifficultyFinding => {
        if ("skipped" in group) return group;
        const [given, bare] = losses.splice(0, 2);
        if (given === undefined || bare === undefined) throw new RangeError("two scores for each answer");
        return { lossGivenInstruction: given.loss, lossAlone: bare.loss, numTokens: given.numTokens };
      });
    },
    ...asJson<DifficultyFinding>(),
  };
}

/** The quotient; undefined for a sample that was skipped, or whose answer is certain without the instruction. */
export function difficultyOf(finding: DifficultyFinding | undefined): number | undefined {
  if (finding === undefined || "skipped" in finding || finding.lossAlone === 0) return undefined;
  return finding.lossGivenInstruction / finding.lossAlone;
}

/** Sums findings up; undefined without any. */
export function describeQuality(findings: readonly DifficultyFinding[]): QualityReport | undefined {
  const scored = findings.flatMap((finding) => ("skipped" in finding ? [] : [finding]));
  const difficulties = findings.flatMap((finding) => difficultyOf(finding) ?? []);
  const [ifd, lossGivenInstruction, lossAlone] = [
    describeNumbers(difficulties),
    describeNumbers(scored.map((finding) => finding.lossGivenInstruction)),
    describeNumbers(scored.map((finding) => finding.lossAlone)),
  ];
  if (findings.length === 0) return undefined;
  return {
    numScored: scored.length,
    numSkipped: findings.length - scored.length,
    numAboveOne: difficulties.filter((difficulty) => difficulty > 1).length,
    ...(ifd === undefined ? {} : { ifd }),
    ...(lossGivenInstruction === undefined ? {} : { lossGivenInstruction }),
    ...(lossAlone === undefined ? {} : { lossAlone }),
  };
}

/** Cuts a sample's tokens into the prompt and the last answer. */
function createAnswerSplit({ tokenizer, template, maxLength }: QualitySetup): (sample: Sample) => ContinuationGroup | { skipped: string } {
  const write = createTokenWriter(tokenizer);
  return (sample) => {
    const chat = sample.kind === "preference" ? withAnswer(sample.prompt, sample.chosen) : sample;
    const rendered = renderSample(chat, template);
    if (typeof rendered === "string") return { skipped: rendered };
    const { tokens, supervised } = write(rendered);
    const prompt = write(template.renderPrompt(chat)).tokens;
    const end = supervised.lastIndexOf(1) + 1;
    if (end > maxLength) return { skipped: `${String(end)} tokens, more than ${String(maxLength)}` };
    if (end <= prompt.length || prompt.length === 0) return { skipped: "no answer after a prompt" };
    return { prompt, continuations: [tokens.slice(prompt.length, end)] };
  };
}

/** Stands for the question where the template's frame is looked for; a character that no template has. */
const QUESTION_MARK = "\u{E000}";

/** What the template writes after the question and before the answer, without blanks at its beginning. */
export function answerFrame(template: PromptTemplate): Segment[] {
  const segments = template.renderPrompt({ kind: "single-turn", instruction: QUESTION_MARK, response: "a" });
  const index = segments.findLastIndex(({ text }) => text.includes(QUESTION_MARK));
  const [first, ...rest] = segments.slice(Math.max(0, index));
  if (first === undefined) return [];
  const after = { ...first, text: first.text.slice(first.text.lastIndexOf(QUESTION_MARK) + 1).trimStart() };
  return [after, ...rest].filter(({ text, endOfSequence }) => text !== "" || endOfSequence === true);
}

/** The frame's tokens, or one token for the beginning of a text where the frame is empty. */
function frameTokens({ tokenizer, template }: QualitySetup): Int32Array {
  const { tokens } = createTokenWriter(tokenizer)(answerFrame(template));
  return tokens.length > 0 ? tokens : Int32Array.of(tokenizer.bosToken ?? requireEos(tokenizer));
}
