/**
 * The three kinds of samples of FedLLM-Bench files and the checks that one parsed JSON value must pass to become one.
 * A value that fails is described by a reason and never thrown: the reader collects the reasons (dataset.ts).
 * Pairs of answers have several forms and a file of their own, preference-samples.ts. How a sample becomes text is left
 * to templates.ts.
 */
import { checkPreference } from "./preference-samples.js";
import { checkAnswer, checkText, describeType, isRecord } from "./sample-fields.js";
import type { JsonRecord } from "./sample-fields.js";

/** One question and its answer. */
export interface SingleTurnSample {
  readonly kind: "single-turn";
  readonly instruction: string;
  /** Material that the instruction refers to, as in Alpaca files. */
  readonly input?: string;
  readonly response: string;
}

/** A conversation: turns alternate, the first is the user's; a last user turn may be without an answer. */
export interface MultiTurnSample {
  readonly kind: "multi-turn";
  readonly turns: readonly Turn[];
}

export interface Turn {
  readonly role: "user" | "assistant";
  readonly text: string;
}

/** One prompt with the answer its reader preferred and another one that was not preferred. */
export interface PreferenceSample {
  readonly kind: "preference";
  /** One question, or the turns of a conversation that ends with the user's. Never empty. */
  readonly prompt: string | readonly Turn[];
  readonly chosen: string;
  readonly rejected: string;
}

/** A sample from which a model can learn to answer. */
export type ChatSample = SingleTurnSample | MultiTurnSample;
export type Sample = ChatSample | PreferenceSample;
export type SampleKind = Sample["kind"];

/** A sample, or the reason why the value is none. */
export type SampleCheck = { readonly sample: Sample } | { readonly reason: string };

/** Names under which files carry the answer: FedLLM-Bench's training files, Alpaca's, FedLLM-Bench's test files. */
const RESPONSE_FIELDS = ["response", "output", "reference"] as const;
const ROLES: ReadonlyMap<unknown, Turn["role"]> = new Map([
  ["human", "user"],
  ["gpt", "assistant"],
]);

/** The kind that the value's fields belong to, whether or not the sample is good; undefined if no field is known. */
export function detectSampleKind(value: unknown): SampleKind | undefined {
  if (!isRecord(value)) return undefined;
  if (Object.hasOwn(value, "conversations")) return "multi-turn";
  if (Object.hasOwn(value, "chosen") || Object.hasOwn(value, "rejected")) return "preference";
  if (Object.hasOwn(value, "instruction")) return "single-turn";
  return undefined;
}

/** Checks the fields of a value of this kind. */
export function checkSample(value: unknown, kind: SampleKind): SampleCheck {
  if (!isRecord(value)) return { reason: `expected an object, received ${describeType(value)}` };
  if (kind === "single-turn") return checkSingleTurn(value);
  if (kind === "multi-turn") return checkMultiTurn(value);
  return checkPreference(value);
}

function checkSingleTurn(record: JsonRecord): SampleCheck {
  const responseField = RESPONSE_FIELDS.find((field) => Object.hasOwn(record, field)) ?? "response";
  const reason =
    checkText(record, "instruction") ??
    checkAnswer(record, responseField) ??
    (record["input"] === undefined || record["input"] === null ? undefined : checkText(record, "input"));
  if (reason !== undefined) return { reason };
  const instruction = record["instruction"] as string;
  const response = record[responseField] as string;
  const input = record["input"];
  // Alpaca files carry an empty input where there is none.
  const hasInput = typeof input === "string" && input !== "";
  return { sample: { kind: "single-turn", instruction, ...(hasInput ? { input } : {}), response } };
}

/** A first turn that is not the user's is dropped, as the reference does; after it the turns must alternate. */
function checkMultiTurn(record: JsonRecord): SampleCheck {
  const conversations = record["conversations"];
  if (!Array.isArray(conversations))
    return { reason: `conversations: expected an array, received ${describeType(conversations)}` };
  const turns: Turn[] = [];
  for (const [index, value] of (conversations as unknown[]).entries()) {
    const turn = checkTurn(value);
    if (typeof turn === "string") return { reason: `conversations[${index}]${turn}` };
    if (index === 0 && turn.role === "assistant") continue;
    if (turn.role !== (turns.length % 2 === 0 ? "user" : "assistant")) {
      return {
        reason: `conversations[${index}]: turns must alternate, but two turns of the ${turn.role} follow each other`,
      };
    }
    if (turn.role === "assistant" && turn.text.trim() === "")
      return { reason: `conversations[${index}].value: the answer is empty` };
    turns.push(turn);
  }
  if (turns.length < 2) return { reason: "conversations: no user turn with an answer after it" };
  return { sample: { kind: "multi-turn", turns } };
}

/** The turn, or the end of a message that begins with the turn's place. */
function checkTurn(value: unknown): Turn | string {
  if (!isRecord(value)) return `: expected an object, received ${describeType(value)}`;
  const role = ROLES.get(value["from"]);
  if (role === undefined) {
    const from = value["from"];
    return `.from: expected "human" or "gpt", received ${typeof from === "string" ? JSON.stringify(from.slice(0, 40)) : describeType(from)}`;
  }
  const reason = checkText(value, "value");
  return reason === undefined ? { role, text: value["value"] as string } : `.${reason}`;
}
