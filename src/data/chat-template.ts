/**
 * The model's own chat template (Jinja, as stored in GGUF files) as a prompt template. A template is rendered once per
 * number of turns with marks in place of the turns' texts; the result shows which text is the template's and where
 * each answer begins and ends. For each sample the marks are replaced and the result is compared with a real rendering,
 * so a template that changes texts is noticed. Templates are programs from a model file: they see no clock and no files.
 */
import * as jinja from "@huggingface/jinja";
import { problemError } from "../errors.js";
import type { FedllmError } from "../errors.js";
import { promptTurnsOf, turnsOf, withoutSupervision } from "./prompt-template.js";
import type { PromptTemplate, Segment } from "./prompt-template.js";
import type { ChatSample, Turn } from "./samples.js";

/** Longest template accepted; real ones stay below a tenth of it. */
export const MAX_CHAT_TEMPLATE_LENGTH = 256 * 1024;
/** Most turns of a conversation: finding the answers renders it once per answer. */
export const MAX_CHAT_TURNS = 256;
/** Longest list that a template may make with range(). */
const MAX_RANGE_LENGTH = 10_000;

/** What the model file says about its chat format. */
export interface ChatTemplateSource {
  /** The Jinja text. */
  readonly chatTemplate?: string;
  /** Text of the beginning-of-sequence token, for templates that write it themselves. */
  readonly bosText?: string;
  /** Text of the end-of-sequence token. */
  readonly eosText?: string;
}

/** A piece of a rendered conversation: the template's own text, the place of a turn's text, or an added end token. */
type Part =
  | { readonly type: "template"; readonly text: string; readonly supervised: boolean }
  | { readonly type: "turn"; readonly turnIndex: number; readonly supervised: boolean }
  | { readonly type: "end"; readonly supervised: boolean };

/** Position of one answer with everything the template puts around it, in UTF-16 units of the rendered text. */
interface AnswerSpan {
  readonly turnIndex: number;
  readonly start: number;
  readonly end: number;
}

/**
 * The parts of the Jinja package that are used here. Its own types name files without extensions, which NodeNext does
 * not resolve. Its Template class is not used, because it lets templates read the clock and make endless lists.
 */
interface JinjaEngine {
  readonly tokenize: (
    text: string,
    options: { readonly lstrip_blocks: boolean; readonly trim_blocks: boolean },
  ) => unknown;
  readonly parse: (tokens: unknown) => unknown;
  readonly Environment: new () => { set(name: string, value: unknown): void };
  readonly Interpreter: new (environment: unknown) => { run(program: unknown): { readonly value: unknown } };
}

const { tokenize, parse, Environment, Interpreter } = jinja as unknown as JinjaEngine;

type RenderMessages = (turns: readonly Turn[], addGenerationPrompt: boolean) => string;

/** Makes the template and tries it on one exchange. Throws CONFIG_INVALID if that cannot be used for training. */
export function createChatTemplate(source: ChatTemplateSource): PromptTemplate {
  const render = compile(source);
  const skeletons = new Map<string, readonly Part[]>();
  const skeletonOf = (numTurns: number, isPrompt: boolean): readonly Part[] => {
    const key = `${numTurns}${isPrompt ? " prompt" : ""}`;
    const known = skeletons.get(key);
    if (known !== undefined) return known;
    const parts = makeSkeleton(render, numTurns, isPrompt);
    skeletons.set(key, parts);
    return parts;
  };
  const renderTurns = (turns: readonly Turn[], isPrompt: boolean): Segment[] => {
    if (turns.length > MAX_CHAT_TURNS) throw unfitSample(`at most ${MAX_CHAT_TURNS} turns`, `${turns.length} turns`);
    return fillSkeleton(skeletonOf(turns.length, isPrompt), turns, renderSample(render, turns, isPrompt));
  };
  skeletonOf(2, false);
  skeletonOf(1, true);
  return {
    name: "chat",
    render: (sample: ChatSample) => renderTurns(turnsOf(sample), false),
    renderPrompt: (sample: ChatSample) => withoutSupervision(renderTurns(promptTurnsOf(sample), true)),
  };
}

function compile(source: ChatTemplateSource): RenderMessages {
  const { chatTemplate, bosText, eosText } = source;
  if (chatTemplate === undefined || chatTemplate.trim() === "") {
    throw unfitTemplate("a chat template in the model file", "none", "Choose the template alpaca or vicuna_v1.1");
  }
  if (chatTemplate.length > MAX_CHAT_TEMPLATE_LENGTH) {
    throw unfitTemplate(`at most ${MAX_CHAT_TEMPLATE_LENGTH} characters`, String(chatTemplate.length));
  }
  const program = attempt("a Jinja template", () =>
    parse(tokenize(chatTemplate, { lstrip_blocks: true, trim_blocks: true })),
  );
  return (turns, addGenerationPrompt) => {
    const environment = new Environment();
    for (const [name, value] of Object.entries(templateGlobals)) environment.set(name, value);
    environment.set(
      "messages",
      turns.map((turn) => ({ role: turn.role, content: turn.text })),
    );
    environment.set("add_generation_prompt", addGenerationPrompt);
    environment.set("bos_token", bosText ?? "");
    environment.set("eos_token", eosText ?? "");
    const rendered = new Interpreter(environment).run(program).value;
    return String(rendered);
  };
}

/** Finds the parts of a conversation of this length, rendered for training or as a prompt. */
function makeSkeleton(render: RenderMessages, numTurns: number, isPrompt: boolean): readonly Part[] {
  const turns = Array.from({ length: numTurns }, (_, index): Turn => ({
    role: index % 2 === 0 ? "user" : "assistant",
    text: markOf(index),
  }));
  return attempt("a chat template that renders alternating turns", () => {
    const text = render(turns, isPrompt);
    return splitAtMarks(text, findAnswers(render, turns, text), numTurns);
  });
}

/** An answer begins where the prompt before it ends, and ends where the text up to it ends. */
function findAnswers(render: RenderMessages, turns: readonly Turn[], text: string): AnswerSpan[] {
  const spans: AnswerSpan[] = [];
  let previousEnd = 0;
  for (let turnIndex = 1; turnIndex < turns.length; turnIndex += 2) {
    const before = render(turns.slice(0, turnIndex), true);
    const after = render(turns.slice(0, turnIndex + 1), false);
    if (!after.startsWith(before) || !text.startsWith(after) || before.length < previousEnd) {
      throw unfitTemplate(
        "a template that only appends: the prompt before an answer begins the text with the answer, and earlier turns stay as they are",
        `one that writes turn ${turnIndex + 1} of ${turns.length} differently`,
        "Choose the template alpaca or vicuna_v1.1, or use single-turn samples",
      );
    }
    spans.push({ turnIndex, start: before.length, end: after.length });
    previousEnd = after.length;
  }
  return spans;
}

/** Cuts a text with marks into parts; each mark must occur once, in order, and answers inside their own spans. */
function splitAtMarks(text: string, spans: readonly AnswerSpan[], numTurns: number): Part[] {
  const parts: Part[] = [];
  let position = 0;
  for (let turnIndex = 0; turnIndex < numTurns; turnIndex++) {
    const mark = markOf(turnIndex);
    const start = text.indexOf(mark);
    const span = spans.find((candidate) => candidate.turnIndex === turnIndex);
    const end = start + mark.length;
    const isInPlace =
      start >= position &&
      !text.includes(mark, end) &&
      (span === undefined || (start >= span.start && end <= span.end));
    if (!isInPlace)
      throw unfitTemplate(
        "a template that writes each turn's text once and in order",
        `another place for turn ${turnIndex + 1}`,
      );
    parts.push(...templateParts(text, position, start, spans));
    parts.push({ type: "turn", turnIndex, supervised: span !== undefined });
    // Without any end mark of the template the model would never learn to stop.
    if (span !== undefined && text.slice(end, span.end).trim() === "") parts.push({ type: "end", supervised: true });
    position = end;
  }
  parts.push(...templateParts(text, position, text.length, spans));
  return parts;
}

/** The template's text from `start` to `end`, cut where supervision begins or ends. */
function templateParts(text: string, start: number, end: number, spans: readonly AnswerSpan[]): Part[] {
  const borders = spans.flatMap((span) => [span.start, span.end]).filter((border) => border > start && border < end);
  const cuts = [start, ...borders, end];
  return cuts.slice(1).flatMap((to, index): Part[] => {
    const from = cuts[index] ?? 0;
    const supervised = spans.some((span) => from >= span.start && to <= span.end);
    return from === to ? [] : [{ type: "template", text: text.slice(from, to), supervised }];
  });
}

function renderSample(render: RenderMessages, turns: readonly Turn[], isPrompt: boolean): string {
  try {
    return render(turns, isPrompt);
  } catch (error) {
    throw unfitSample(
      "a sample that the model's chat template accepts",
      error instanceof Error ? error.message : String(error),
      error,
    );
  }
}

/** Puts the texts in place of the marks, as they are or trimmed, whichever gives the real rendering. */
function fillSkeleton(parts: readonly Part[], turns: readonly Turn[], rendered: string): Segment[] {
  for (const trims of [[], ["user"], ["assistant"], ["user", "assistant"]]) {
    const texts = turns.map((turn) => (trims.includes(turn.role) ? turn.text.trim() : turn.text));
    const pieces = parts.map((part) => textOf(part, texts));
    if (pieces.join("") === rendered) return toSegments(parts, pieces);
  }
  throw unfitSample("a text that the model's chat template writes as it is", "one that the template changes");
}

function textOf(part: Part, texts: readonly string[]): string {
  if (part.type === "template") return part.text;
  return part.type === "turn" ? (texts[part.turnIndex] ?? "") : "";
}

/**
 * Blanks between the template's text and a turn's text move to the latter, because tokenizers join a blank with the
 * word after it. They stay where supervision changes, so that prompts are prefixes of training texts.
 */
function toSegments(parts: readonly Part[], pieces: readonly string[]): Segment[] {
  const segments: Segment[] = [];
  let blanks = "";
  for (const [index, part] of parts.entries()) {
    let text = blanks + (pieces[index] ?? "");
    blanks = "";
    const next = parts[index + 1];
    if (part.type === "template" && next?.type === "turn" && next.supervised === part.supervised) {
      const kept = text.replace(/ +$/, "");
      blanks = text.slice(kept.length);
      text = kept;
    }
    if (part.type === "end")
      segments.push({ text: "", supervised: part.supervised, special: false, endOfSequence: true });
    else if (text !== "") segments.push({ text, supervised: part.supervised, special: part.type === "template" });
  }
  return segments;
}

/** Stands for a turn's text; plain ASCII without blanks at its ends, so that common filters leave it alone. */
function markOf(turnIndex: number): string {
  return `@@fedllm-turn-${turnIndex}@@`;
}

/** The names that chat templates expect beside the messages. */
const templateGlobals = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  range: boundedRange,
  raise_exception: (message: unknown): never => {
    throw new Error(String(message));
  },
  strftime_now: formatFixedDate,
};

function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= MAX_RANGE_LENGTH))
    throw new Error(`range() of ${length} numbers; at most ${MAX_RANGE_LENGTH} are allowed`);
  return Array.from({ length }, (_, index) => start + index * step);
}

/** Fields of 26 July 2024, the date that Llama 3 templates name by default: the same run gives the same tokens on every day. */
const FIXED_DATE: Readonly<Record<string, string>> = {
  Y: "2024",
  y: "24",
  m: "07",
  d: "26",
  b: "Jul",
  B: "July",
  a: "Fri",
  A: "Friday",
  j: "208",
  H: "00",
  M: "00",
  S: "00",
};

function formatFixedDate(format: string): string {
  return format.replace(/%([A-Za-z])/g, (field, letter: string) => FIXED_DATE[letter] ?? field);
}

/** Runs something of the template's; what it throws becomes CONFIG_INVALID. */
function attempt<T>(expected: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof Error && error.name === "FedllmError") throw error;
    throw unfitTemplate(
      expected,
      `an error (${error instanceof Error ? error.message : String(error)})`,
      undefined,
      error,
    );
  }
}

function unfitTemplate(expected: string, received: string, remedy?: string, cause?: unknown): FedllmError {
  const subject = "the model's chat template";
  return problemError(
    "CONFIG_INVALID",
    { subject, expected, received, ...(remedy === undefined ? {} : { remedy }) },
    cause,
  );
}

function unfitSample(expected: string, received: string, cause?: unknown): FedllmError {
  return problemError("DATASET_INVALID", { subject: "sample", expected, received }, cause);
}
