/**
 * What a prompt template is: it turns a sample into text segments that say which text is learned, namely every answer of
 * the assistant with its end, never what the user wrote. Also the view of a sample as turns, which all templates share.
 * The templates themselves are templates.ts and chat-template.ts.
 */
import { assert } from "../util/assert.js";
import type { ChatSample, SingleTurnSample, Turn } from "./samples.js";

/** The names under which a run chooses a template; `chat` is the model's own. */
export const TEMPLATE_NAMES = ["alpaca", "vicuna_v1.1", "chat"] as const;
export type TemplateName = (typeof TEMPLATE_NAMES)[number];

/** A piece of text that is tokenized on its own. */
export interface Segment {
  readonly text: string;
  /** Whether its tokens are learned. */
  readonly supervised: boolean;
  /** Whether names of special tokens in the text become these tokens; true only for text of the model's own template. */
  readonly special: boolean;
  /** Stands for the tokenizer's end-of-sequence token; the text is empty. */
  readonly endOfSequence?: true;
}

/** One way to write conversations. */
export interface PromptTemplate {
  readonly name: TemplateName;
  /** The whole sample, for training. The beginning-of-sequence token is left to the tokenizer's settings. */
  render(sample: ChatSample): readonly Segment[];
  /** Everything before the last answer, for generation: a prefix of what `render` gives, with nothing supervised. */
  renderPrompt(sample: ChatSample): readonly Segment[];
}

/** The text that segments stand for, with the given name of the end-of-sequence token. */
export function joinSegments(segments: readonly Segment[], eosText = ""): string {
  return segments.map((segment) => (segment.endOfSequence === true ? eosText : segment.text)).join("");
}

/** What the user asks: the instruction, and on a line of its own the input if there is one. */
export function userText(sample: SingleTurnSample): string {
  return sample.input === undefined ? sample.instruction : `${sample.instruction}\n${sample.input}`;
}

/** The turns of a sample; a single-turn sample has two. */
export function turnsOf(sample: ChatSample): readonly Turn[] {
  if (sample.kind === "multi-turn") return sample.turns;
  return [
    { role: "user", text: userText(sample) },
    { role: "assistant", text: sample.response },
  ];
}

/** The turns before the last answer. */
export function promptTurnsOf(sample: ChatSample): readonly Turn[] {
  const turns = turnsOf(sample);
  return turns.slice(0, indexOfLastAnswer(turns));
}

/** The text that a prompt of this sample asks for. */
export function lastAnswerOf(sample: ChatSample): string {
  const turns = turnsOf(sample);
  return turns[indexOfLastAnswer(turns)]?.text ?? "";
}

function indexOfLastAnswer(turns: readonly Turn[]): number {
  const index = turns.findLastIndex((turn) => turn.role === "assistant");
  assert(index > 0, "a sample has an answer after a question");
  return index;
}

/** The same segments as context only. */
export function withoutSupervision(segments: readonly Segment[]): Segment[] {
  return segments.map((segment) => ({ ...segment, supervised: false }));
}
