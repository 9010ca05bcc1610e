/**
 * The forms that instruction and preference data come in, each as a way from a record to one of the three kinds of samples:
 * - `alpaca`: instruction, input (may be empty), and output, response or reference;
 * - `sharegpt`: conversations of {from, value} or {role, content};
 * - `openai`: messages of {role, content}, the content text or a list of text parts;
 * - `prompt-completion`: prompt and completion, as text or lists of messages;
 * - `dpo`: prompt, chosen, rejected, as text or lists of messages;
 * - `hh-rlhf`: chosen and rejected, two whole transcripts with "Human:" and "Assistant:".
 * A system message is put before the first question, since samples have turns of two roles.
 */
import { checkPreference } from "../preference-samples.js";
import { describeType, isRecord } from "../sample-fields.js";
import type { JsonRecord } from "../sample-fields.js";
import { checkSample } from "../samples.js";
import type { SampleCheck } from "../samples.js";
import { readTranscript } from "./transcripts.js";

export const FORM_NAMES = ["alpaca", "sharegpt", "openai", "prompt-completion", "dpo", "hh-rlhf"] as const;
export type FormName = (typeof FORM_NAMES)[number];

/** Fields that any form reads; columns of other names need not be read. */
export const FORM_FIELDS: ReadonlySet<string> = new Set([
  ...["instruction", "input", "output", "response", "reference", "conversations", "messages"],
  ...["prompt", "completion", "chosen", "rejected"],
]);

const USER_ROLES: ReadonlySet<unknown> = new Set(["user", "human", "prompter"]);
const ASSISTANT_ROLES: ReadonlySet<unknown> = new Set(["assistant", "gpt", "chatgpt", "bot", "bing", "bard", "model"]);
const SYSTEM_ROLES: ReadonlySet<unknown> = new Set(["system", "developer"]);

const READERS: Readonly<Record<FormName, (record: JsonRecord) => SampleCheck>> = {
  alpaca: (record) => checkSample(record, "single-turn"),
  sharegpt: (record) => readConversation(record, "conversations"),
  openai: (record) => readConversation(record, "messages"),
  "prompt-completion": readCompletion,
  dpo: (record) => checkPreference({ ...record, ...sidesOf(record) }),
  "hh-rlhf": readTranscripts,
};

/** The form that a record's fields belong to; undefined if no form has them. */
export function detectForm(value: unknown): FormName | undefined {
  if (!isRecord(value)) return undefined;
  const has = (field: string) => Object.hasOwn(value, field);
  if (has("messages")) return "openai";
  if (has("conversations")) return "sharegpt";
  if (has("chosen") || has("rejected")) return !has("prompt") && typeof value["chosen"] === "string" ? "hh-rlhf" : "dpo";
  if (has("instruction")) return "alpaca";
  if (has("prompt") && has("completion")) return "prompt-completion";
  return undefined;
}

/** The sample that a record of this form holds, or why it holds none. */
export function readForm(value: unknown, form: FormName): SampleCheck {
  if (!isRecord(value)) return { reason: `expected an object, received ${describeType(value)}` };
  return READERS[form](value);
}

function readConversation(record: JsonRecord, field: string): SampleCheck {
  const turns = readMessages(record[field], field);
  if ("reason" in turns) return turns;
  const check = checkSample({ conversations: turns.messages.map(({ role, text }) => ({ from: role === "user" ? "human" : "gpt", value: text })) }, "multi-turn");
  return "reason" in check ? { reason: check.reason.replaceAll("conversations", field) } : check;
}

function readCompletion(record: JsonRecord): SampleCheck {
  const { prompt, completion } = record;
  if (typeof prompt === "string" && typeof completion === "string") {
    const check = checkSample({ instruction: prompt, response: completion }, "single-turn");
    return "reason" in check ? { reason: check.reason.replace("instruction", "prompt").replace("response", "completion") } : check;
  }
  const asked = typeof prompt === "string" ? [{ role: "user", content: prompt }] : listOf(prompt);
  const answered = typeof completion === "string" ? [{ role: "assistant", content: completion }] : listOf(completion);
  if (asked === undefined || answered === undefined) {
    return { reason: `prompt and completion: expected text or lists of messages, received ${describeType(prompt)} and ${describeType(completion)}` };
  }
  return readConversation({ messages: [...asked, ...answered] }, "messages");
}

function readTranscripts(record: JsonRecord): SampleCheck {
  const chosen = readTranscript(record["chosen"], "chosen");
  if ("reason" in chosen) return chosen;
  const rejected = readTranscript(record["rejected"], "rejected");
  if ("reason" in rejected) return rejected;
  return checkPreference({ chosen: chosen.messages, rejected: rejected.messages });
}

/** The parts of a pair that are lists, with the roles' names of ours and without a system message. */
function sidesOf(record: JsonRecord): JsonRecord {
  const sides = ["prompt", "chosen", "rejected"].flatMap((field) => {
    if (listOf(record[field]) === undefined) return [];
    const read = readMessages(record[field], field);
    // What cannot be read is left for the check of the pair, which says what is wrong with it.
    return "reason" in read ? [] : [[field, read.messages.map(({ role, text }) => ({ role, content: text }))] as const];
  });
  return Object.fromEntries(sides);
}

interface Message {
  readonly role: "user" | "assistant";
  readonly text: string;
}

function readMessages(value: unknown, field: string): { readonly messages: readonly Message[] } | { readonly reason: string } {
  const list = listOf(value);
  if (list === undefined) return { reason: `${field}: expected an array, received ${describeType(value)}` };
  const messages: Message[] = [];
  let system = "";
  for (const [index, entry] of list.entries()) {
    const place = `${field}[${String(index)}]`;
    if (!isRecord(entry)) return { reason: `${place}: expected an object, received ${describeType(entry)}` };
    const role = entry["role"] ?? entry["from"];
    const text = textOf(entry["content"] ?? entry["value"]);
    if (text === undefined) return { reason: `${place}: expected text, received ${describeType(entry["content"] ?? entry["value"])} or parts that are no text` };
    if (SYSTEM_ROLES.has(role) && messages.length === 0) system += text.trim() === "" ? "" : `${text}\n\n`;
    else if (USER_ROLES.has(role)) {
      messages.push({ role: "user", text: system + text });
      system = "";
    } else if (ASSISTANT_ROLES.has(role)) messages.push({ role: "assistant", text });
    else return { reason: `${place}: expected a role of the user or the assistant, received ${typeof role === "string" ? JSON.stringify(role.slice(0, 40)) : describeType(role)}` };
  }
  return { messages };
}

/** A list, also one that is written as JSON in a cell of a table. */
function listOf(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value as unknown[];
  if (typeof value !== "string" || !value.trimStart().startsWith("[")) return undefined;
  try {
    const parsed: unknown = JSON.parse(value);
    return Array.isArray(parsed) && parsed.every(isRecord) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function textOf(content: unknown): string | undefined {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return undefined;
  const parts = (content as unknown[]).map((part) => (isRecord(part) && part["type"] === "text" && typeof part["text"] === "string" ? part["text"] : undefined));
  return parts.includes(undefined) ? undefined : parts.join("");
}
