/** Each form by a record of its own, and what is refused with which reason. */
import { describe, expect, test } from "vitest";
import { mapFields, parseFieldMap, valueAt } from "../../../../src/data/import/field-map.js";
import { detectForm, readForm } from "../../../../src/data/import/forms.js";
import type { FormName } from "../../../../src/data/import/forms.js";
import { sampleRecord } from "../../../../src/data/import/sample-record.js";
import { checkSample } from "../../../../src/data/samples.js";

const question = { role: "user", text: "2+2?" } as const;
const answer = { role: "assistant", text: "4" } as const;
const single = { kind: "single-turn", instruction: "2+2?", response: "4" } as const;
const conversation = { kind: "multi-turn", turns: [question, answer] } as const;
const pair = { kind: "preference", prompt: "2+2?", chosen: "4", rejected: "5" } as const;
const pairOfTurns = { ...pair, prompt: [question] } as const;

const GOOD: readonly (readonly [string, FormName, unknown, unknown])[] = [
  ["instruction and response", "alpaca", { instruction: "2+2?", response: "4" }, single],
  ["Alpaca with an empty input", "alpaca", { instruction: "2+2?", input: "", output: "4" }, single],
  ["Alpaca with an input", "alpaca", { instruction: "add", input: "2 2", output: "4" }, { ...single, instruction: "add", input: "2 2" }],
  ["ShareGPT", "sharegpt", { conversations: [{ from: "human", value: "2+2?" }, { from: "gpt", value: "4" }] }, conversation],
  ["ShareGPT with other names of roles", "sharegpt", { conversations: [{ from: "user", value: "2+2?" }, { from: "chatgpt", value: "4" }] }, conversation],
  ["conversations of roles and contents", "sharegpt", { conversations: [{ role: "user", content: "2+2?" }, { role: "assistant", content: "4" }] }, conversation],
  ["OpenAI", "openai", { messages: [{ role: "user", content: "2+2?" }, { role: "assistant", content: "4" }] }, conversation],
  [
    "OpenAI with parts of text",
    "openai",
    { messages: [{ role: "user", content: [{ type: "text", text: "2+" }, { type: "text", text: "2?" }] }, { role: "assistant", content: "4" }] },
    conversation,
  ],
  [
    "OpenAI with a system message, which goes before the first question",
    "openai",
    { messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "2+2?" }, { role: "assistant", content: "4" }] },
    { kind: "multi-turn", turns: [{ role: "user", text: "Be brief.\n\n2+2?" }, answer] },
  ],
  ["messages as JSON in a cell", "openai", { messages: '[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]' }, conversation],
  ["prompt and completion", "prompt-completion", { prompt: "2+2?", completion: "4" }, single],
  ["prompt and completion as messages", "prompt-completion", { prompt: [{ role: "user", content: "2+2?" }], completion: [{ role: "assistant", content: "4" }] }, conversation],
  ["DPO", "dpo", { prompt: "2+2?", chosen: "4", rejected: "5" }, pair],
  [
    "DPO with messages",
    "dpo",
    { prompt: [{ from: "human", value: "2+2?" }], chosen: [{ from: "gpt", value: "4" }], rejected: [{ role: "assistant", content: "5" }] },
    pairOfTurns,
  ],
  ["hh-rlhf", "hh-rlhf", { chosen: "\n\nHuman: 2+2?\n\nAssistant: 4", rejected: "\n\nHuman: 2+2?\n\nAssistant: 5" }, pairOfTurns],
  [
    "hh-rlhf of several turns, and a line that only looks like a turn",
    "hh-rlhf",
    { chosen: "\n\nHuman: a\nHuman: b\n\nAssistant: c\n\nHuman: d\n\nAssistant: e", rejected: "\n\nHuman: a\nHuman: b\n\nAssistant: c\n\nHuman: d\n\nAssistant: f" },
    {
      kind: "preference",
      prompt: [{ role: "user", text: "a\nHuman: b" }, { role: "assistant", text: "c" }, { role: "user", text: "d" }],
      chosen: "e",
      rejected: "f",
    },
  ],
];

describe("forms", () => {
  test.each(GOOD)("%s", (_title, form, record, sample) => {
    expect(detectForm(record)).toBe(form);
    expect(readForm(record, form)).toEqual({ sample });
  });

  test.each(GOOD)("%s is read again from what is written", (_title, form, record) => {
    const check = readForm(record, form);
    if ("reason" in check) throw new Error(check.reason);
    const written: unknown = JSON.parse(JSON.stringify(sampleRecord(check.sample, { language: "en" })));
    expect(checkSample(written, check.sample.kind)).toEqual(check);
    expect(written).toHaveProperty("language", "en");
  });

  test.each([
    ["alpaca", "text", "expected an object, received a string"],
    ["alpaca", { instruction: "x", output: " " }, "output: the answer is empty"],
    ["openai", { messages: "not a list" }, "messages: expected an array, received a string"],
    ["openai", { messages: [{ role: "tool", content: "x" }] }, 'messages[0]: expected a role of the user or the assistant, received "tool"'],
    ["openai", { messages: [{ role: "user", content: [{ type: "image_url" }] }] }, "messages[0]: expected text, received an array or parts that are no text"],
    ["openai", { messages: [{ role: "user", content: "x" }] }, "messages: no user turn with an answer after it"],
    ["sharegpt", { conversations: [{ from: "gpt", value: "x" }] }, "conversations: no user turn with an answer after it"],
    ["prompt-completion", { prompt: 5, completion: "x" }, "prompt and completion: expected text or lists of messages, received a number and a string"],
    ["dpo", { prompt: "x", chosen: "y", rejected: "y" }, "chosen and rejected: both are the same answer"],
    ["hh-rlhf", { chosen: "x", rejected: "y" }, 'chosen: expected a transcript that begins with "Human:", received "x"'],
    ["hh-rlhf", { chosen: "\n\nHuman: a\n\nAssistant: b", rejected: "\n\nHuman: c\n\nAssistant: d" }, "chosen and rejected: the conversations differ before"],
  ] as const)("%s refuses %j", (form, record, reason) => {
    expect(readForm(record, form)).toHaveProperty("reason", expect.stringContaining(reason));
  });

  test("fields of no form are of none", () => {
    expect(detectForm({ text: "x" })).toBeUndefined();
    expect(detectForm(null)).toBeUndefined();
  });
});

describe("field mapping", () => {
  test("takes fields from inside others, from places of lists and from names with dots", () => {
    const record = { q: { text: "2+2?" }, answers: [{ text: "5" }, { text: "4" }], "a.b": "dotted" };
    expect(mapFields(record, parseFieldMap(["instruction=q.text", "response=answers.-1.text"]))).toEqual({ instruction: "2+2?", response: "4" });
    expect(valueAt(record, ["a", "b"])).toBe("dotted");
  });

  test("reads own fields only", () => {
    expect(valueAt({}, ["__proto__"])).toBeUndefined();
    expect(valueAt({}, ["constructor", "name"])).toBeUndefined();
    expect(mapFields({}, parseFieldMap(["response=toString"]))).toEqual({});
  });

  test.each(["response", "response=", "=x", "anser=x"])("refuses %j", (setting) => {
    expect(() => parseFieldMap([setting])).toThrow("--map: expected field=source");
  });
});
