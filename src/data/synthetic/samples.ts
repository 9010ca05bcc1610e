/** One synthetic sample of each kind, with what is true of it. */
import type { PythonRandom } from "../python-random.js";
import { lexiconOf } from "./lexicon.js";
import type { SyntheticLanguage } from "./lexicon.js";
import type { PreferenceStyle } from "./profiles.js";
import { answerText, countTokens, drawTask, joinSentences, sentencesFor } from "./tasks.js";
import type { Task, TaskKind } from "./tasks.js";

/** Quality of an answer: right; about the right thing but wrong; an answer to another question. */
export const QUALITY_LEVELS = ["good", "wrong", "unrelated"] as const;

export type QualityLevel = (typeof QUALITY_LEVELS)[number];

/** What is true of a sample; not in the data. */
export interface SampleTruth {
  readonly language: SyntheticLanguage;
  /** Of a conversation, of its first question. */
  readonly task: TaskKind;
  /** What a right answer names. */
  readonly answer: string;
  /** Of a pair, of the answer that is right by the client's preference. */
  readonly quality: QualityLevel;
  readonly instructionTokens: number;
  /** Of a pair, of the chosen answer. */
  readonly responseTokens: number;
  readonly style?: PreferenceStyle;
  /** The pair is the wrong way round; only of pairs. */
  readonly isSwapped?: boolean;
}

/** A record as it stands in the file. */
export type SyntheticRecord = Readonly<Record<string, unknown>>;

export interface SyntheticSample {
  readonly record: SyntheticRecord;
  readonly truth: SampleTruth;
}

/** What a sample is to be; lengths in bytes of UTF-8. */
export interface SampleRequest {
  readonly language: SyntheticLanguage;
  readonly kind: TaskKind;
  readonly quality: QualityLevel;
  readonly instructionBytes: number;
  readonly responseBytes: number;
}

interface Exchange {
  readonly instruction: string;
  readonly response: string;
  readonly task: Task;
}

/** Question and answer. The question says how many sentences it wants, unless it is one. */
export function drawExchange(random: PythonRandom, request: SampleRequest): Exchange {
  const { language, kind, quality, instructionBytes, responseBytes } = request;
  const { count } = lexiconOf(language);
  const { task, story } = drawTask(random, { language, kind, bytes: instructionBytes - Buffer.byteLength(count({ n: 2 })) });
  const numSentences = sentencesFor(language, task, responseBytes);
  const wish = numSentences === 1 ? "" : count({ n: numSentences });
  const instruction = joinSentences(language, [story, task.question, wish]);
  return { instruction, response: answerOfQuality(random, language, task, numSentences, quality), task };
}

export function drawSingleTurn(random: PythonRandom, request: SampleRequest): SyntheticSample {
  const { instruction, response, task } = drawExchange(random, request);
  return { record: { instruction, response }, truth: truthOf(request, task, instruction, response) };
}

/** A conversation of so many questions, whose lengths are about equal. */
export function drawConversation(random: PythonRandom, request: SampleRequest, numTurns: number): SyntheticSample {
  const part = { ...request, instructionBytes: request.instructionBytes / numTurns, responseBytes: request.responseBytes / numTurns };
  const exchanges = Array.from({ length: numTurns }, () => drawExchange(random, part));
  const conversations = exchanges.flatMap(({ instruction, response }) => [
    { from: "human", value: instruction },
    { from: "gpt", value: response },
  ]);
  const [first] = exchanges;
  if (first === undefined) throw new RangeError("a conversation has at least one question");
  const instructions = exchanges.map(({ instruction }) => instruction).join("");
  const responses = exchanges.map(({ response }) => response).join("");
  return { record: { conversations }, truth: truthOf(request, first.task, instructions, responses) };
}

/** A pair whose chosen answer is the one of the style, or the other one when it is swapped. */
export function drawPair(random: PythonRandom, request: SampleRequest, style: PreferenceStyle, isSwapped: boolean): SyntheticSample {
  const { language, kind, quality, instructionBytes, responseBytes } = request;
  const { task, story } = drawTask(random, { language, kind, bytes: instructionBytes });
  const prompt = joinSentences(language, [story, task.question]);
  const friendly = lexiconOf(language).friendly;
  // The chosen answer has the wanted length, whichever of the two it is.
  const opens = (style === "friendly") !== isSwapped && (style === "friendly" || style === "plain");
  const chosenSentences = sentencesFor(language, task, responseBytes - (opens ? Buffer.byteLength(friendly) : 0));
  const [preferred, other] = styledAnswers(random, { language, task, style, isSwapped, chosenSentences, quality });
  const [chosen, rejected] = isSwapped ? [other, preferred] : [preferred, other];
  return { record: { prompt, chosen, rejected }, truth: { ...truthOf(request, task, prompt, chosen), style, isSwapped } };
}

interface StyledRequest {
  readonly language: SyntheticLanguage;
  readonly task: Task;
  readonly style: PreferenceStyle;
  readonly isSwapped: boolean;
  /** Of the answer that will be the chosen one. */
  readonly chosenSentences: number;
  readonly quality: QualityLevel;
}

/** The answer that the style prefers and the one that it does not; they always differ. */
function styledAnswers(random: PythonRandom, request: StyledRequest): readonly [preferred: string, other: string] {
  const { language, task, style, isSwapped, chosenSentences, quality } = request;
  const write = (numSentences: number) => answerOfQuality(random, language, task, numSentences, quality);
  if (style === "right") return [answerText(language, task, chosenSentences), answerText(language, task, chosenSentences, 1 + random.randbelow(3))];
  if (style === "friendly" || style === "plain") {
    const plain = write(chosenSentences);
    const open = joinSentences(language, [lexiconOf(language).friendly, plain]);
    return style === "friendly" ? [open, plain] : [plain, open];
  }
  // A swapped pair of "longer" has its short answer chosen, and the other way round.
  const isChosenLong = (style === "longer") !== isSwapped;
  const long = isChosenLong ? Math.max(2, chosenSentences) : chosenSentences * 2;
  const short = isChosenLong ? Math.max(1, Math.floor(long / 2)) : chosenSentences;
  const [longText, shortText] = [write(long), write(short)];
  return style === "longer" ? [longText, shortText] : [shortText, longText];
}

function answerOfQuality(random: PythonRandom, language: SyntheticLanguage, task: Task, numSentences: number, quality: QualityLevel): string {
  if (quality === "good") return answerText(language, task, numSentences);
  if (quality === "wrong") return answerText(language, task, numSentences, 1 + random.randbelow(3));
  const other = drawTask(random, { language, kind: isNumeric(task) ? "place" : "sum", bytes: Buffer.byteLength(task.question) * 4 }).task;
  return answerText(language, other, numSentences);
}

function isNumeric(task: Task): boolean {
  return /^\d+$/u.test(task.answer);
}

function truthOf({ language, quality }: SampleRequest, task: Task, instruction: string, response: string): SampleTruth {
  return { language, task: task.kind, answer: task.answer, quality, instructionTokens: countTokens(instruction), responseTokens: countTokens(response) };
}
