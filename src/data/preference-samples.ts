/**
 * Checks values that hold a preferred answer and one that was not preferred. Forms that are read:
 * - `prompt`, `chosen`, `rejected` as strings (FedLLM-Bench);
 * - each of them as a list of messages `{role, content}`, the answers one message of the assistant (TRL's explicit form);
 * - `chosen` and `rejected` as whole conversations, as message lists or as text of the form of hh-rlhf, that differ in
 *   the last answer only; what they share is the prompt (TRL's implicit form).
 * A value that fails is described by a reason and never thrown.
 */
import { checkAnswer, checkText, describeType, isRecord } from "./sample-fields.js";
import type { JsonRecord } from "./sample-fields.js";
import type { PreferenceSample, Turn } from "./samples.js";

/** Where the last answer begins in a conversation written as one text. */
const LAST_ANSWER = "\n\nAssistant:";
const ROLES: ReadonlySet<unknown> = new Set<Turn["role"]>(["user", "assistant"]);

/** A side of a pair: what was asked, if the value says so, and the answer. */
interface Side {
  readonly prompt: string | readonly Turn[] | undefined;
  readonly answer: string;
}

/** The sample, or the reason why this record is none. */
export function checkPreference(record: JsonRecord): { readonly sample: PreferenceSample } | { readonly reason: string } {
  const hasPrompt = Object.hasOwn(record, "prompt");
  const given = hasPrompt ? readPrompt(record) : undefined;
  if (isReason(given)) return given;
  const chosen = readSide(record, "chosen", hasPrompt);
  if (isReason(chosen)) return chosen;
  const rejected = readSide(record, "rejected", hasPrompt);
  if (isReason(rejected)) return rejected;
  const prompt = given?.prompt ?? chosen.prompt;
  if (prompt === undefined) return { reason: "prompt: expected a string or a list of messages, received nothing" };
  if (!hasPrompt && JSON.stringify(chosen.prompt) !== JSON.stringify(rejected.prompt)) {
    return { reason: "chosen and rejected: the conversations differ before their last answer, so they have no common prompt" };
  }
  if (chosen.answer === rejected.answer) return { reason: "chosen and rejected: both are the same answer" };
  return { sample: { kind: "preference", prompt, chosen: chosen.answer, rejected: rejected.answer } };
}

/** Equal for two samples of the same prompt and answers. */
export function preferenceKey({ prompt, chosen, rejected }: PreferenceSample): string {
  return JSON.stringify([prompt, chosen, rejected]);
}

interface Reason {
  readonly reason: string;
}

function isReason(value: object | undefined): value is Reason {
  return value !== undefined && Object.hasOwn(value, "reason");
}

function readPrompt(record: JsonRecord): { readonly prompt: string | readonly Turn[] } | Reason {
  const value = record["prompt"];
  if (!Array.isArray(value)) {
    const reason = checkText(record, "prompt");
    if (reason !== undefined) return { reason };
    return (value as string).trim() === "" ? { reason: "prompt: is empty" } : { prompt: value as string };
  }
  const turns = readTurns(value as unknown[], "prompt");
  if (isReason(turns)) return turns;
  if (turns.at(-1)?.role !== "user") return { reason: "prompt: the last message must be the user's" };
  return { prompt: turns };
}

function readSide(record: JsonRecord, field: "chosen" | "rejected", hasPrompt: boolean): Side | Reason {
  const value = record[field];
  if (Array.isArray(value)) return readMessages(value as unknown[], field, hasPrompt);
  const reason = checkAnswer(record, field);
  if (reason !== undefined) return { reason };
  const text = value as string;
  if (hasPrompt) return { prompt: undefined, answer: text };
  const start = text.lastIndexOf(LAST_ANSWER);
  if (start < 0) {
    return { reason: `prompt: expected a prompt beside ${field}, or a conversation with ${JSON.stringify(LAST_ANSWER)} in it` };
  }
  const end = start + LAST_ANSWER.length;
  if (text.slice(end).trim() === "") return { reason: `${field}: the answer is empty` };
  return { prompt: text.slice(0, end), answer: text.slice(end) };
}

/** One message of the assistant beside a prompt, otherwise a whole conversation. */
function readMessages(messages: readonly unknown[], field: string, hasPrompt: boolean): Side | Reason {
  if (hasPrompt && messages.length !== 1) {
    return { reason: `${field}: expected one message of the assistant beside a prompt, received ${String(messages.length)}` };
  }
  const turns = readTurns(messages, field, hasPrompt ? 1 : 0);
  if (isReason(turns)) return turns;
  const last = turns.at(-1);
  if (last?.role !== "assistant") return { reason: `${field}: the last message must be the assistant's` };
  if (last.text.trim() === "") return { reason: `${field}: the answer is empty` };
  if (!hasPrompt && turns.length < 2) return { reason: `${field}: no question before the answer` };
  return { prompt: hasPrompt ? undefined : turns.slice(0, -1), answer: last.text };
}

/** Alternating turns; `firstIndex` is the place of the first one in its conversation, 0 being the user's. */
function readTurns(messages: readonly unknown[], field: string, firstIndex = 0): readonly Turn[] | Reason {
  const turns: Turn[] = [];
  for (const [index, message] of messages.entries()) {
    const place = `${field}[${String(index)}]`;
    if (!isRecord(message)) return { reason: `${place}: expected a message, received ${describeType(message)}` };
    const role = message["role"];
    if (!ROLES.has(role)) {
      const received = typeof role === "string" ? JSON.stringify(role.slice(0, 40)) : describeType(role);
      return { reason: `${place}.role: expected "user" or "assistant", received ${received}` };
    }
    const reason = checkText(message, "content");
    if (reason !== undefined) return { reason: `${place}.${reason}` };
    const turn: Turn = { role: role as Turn["role"], text: message["content"] as string };
    const expected = (firstIndex + index) % 2 === 0 ? "user" : "assistant";
    if (turn.role !== expected) return { reason: `${place}.role: expected ${JSON.stringify(expected)}, since turns alternate, received ${JSON.stringify(turn.role)}` };
    turns.push(turn);
  }
  return turns.length === 0 ? { reason: `${field}: no messages` } : turns;
}
