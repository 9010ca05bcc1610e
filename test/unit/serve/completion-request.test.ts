/** Bodies of requests: what is read, what stands where nothing is said, and what is refused by name. */
import { describe, expect, test } from "vitest";
import { ApiError } from "../../../src/serve/api-error.js";
import { checkSchema } from "../../../src/serve/answer-form.js";
import { parseChatRequest, parseTextRequest } from "../../../src/serve/completion-request.js";

const MESSAGES = [{ role: "user", content: "Hi." }];
const failureOf = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    if (error instanceof ApiError) return [error.status, error.facts.param, error.message];
    throw error;
  }
  return undefined;
};

describe("requests", () => {
  test("defaults are those of the interface", () => {
    const common = { temperature: 1, topP: 1, topK: 0, stopTexts: [], stream: false, countsInStream: false };
    expect(parseChatRequest({ messages: MESSAGES })).toEqual({ ...common, prompt: MESSAGES });
    expect(parseTextRequest({ prompt: "Once" })).toEqual({ ...common, prompt: "Once", maxNewTokens: 16 });
  });

  test("every field is read, null as if it were not there", () => {
    const all = { model: "m", temperature: 0, top_p: 0.5, top_k: 3, seed: 0, stop: "x", stream: true, stream_options: { include_usage: true }, max_tokens: 7, response_format: { type: "json_object" } };
    const read = { model: "m", temperature: 0, topP: 0.5, topK: 3, seed: 0, stopTexts: ["x"], stream: true, countsInStream: true, maxNewTokens: 7, form: { type: "json" } };
    expect(parseChatRequest({ ...all, messages: MESSAGES })).toEqual({ ...read, prompt: MESSAGES });
    expect(parseTextRequest({ ...all, prompt: ["one"] })).toEqual({ ...read, prompt: "one" });
    const nothing = Object.fromEntries(Object.keys(all).map((field) => [field, null]));
    expect(parseChatRequest({ ...nothing, messages: MESSAGES })).toEqual(parseChatRequest({ messages: MESSAGES }));
  });

  test("the newer name of the limit goes before the older one", () => {
    expect(parseChatRequest({ messages: MESSAGES, max_tokens: 3, max_completion_tokens: 4 }).maxNewTokens).toBe(4);
  });

  test("any whole number is a seed, and different ones are different", () => {
    const seeds = [0, 1, -1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER].map((seed) => parseTextRequest({ prompt: "x", seed }).seed ?? -1);
    expect(new Set(seeds).size).toBe(seeds.length);
    for (const seed of seeds) expect(seed >= 0 && seed < 2 ** 32 - 1).toBe(true);
    expect(seeds[0]).toBe(0);
  });

  test("fields that ask for what happens anyway are no reason to refuse", () => {
    const harmless = { n: 1, logprobs: false, presence_penalty: 0, frequency_penalty: 0, logit_bias: {}, tools: [], tool_choice: "none", response_format: { type: "text" }, user: "me", metadata: { a: "b" } };
    expect(parseChatRequest({ ...harmless, messages: MESSAGES })).toEqual(parseChatRequest({ messages: MESSAGES }));
  });

  test.each([
    [{ prompt: "x", logprobs: 5 }, "logprobs"],
    [{ prompt: "x", n: 2 }, "n"],
    [{ prompt: "x", echo: true }, "echo"],
    [{ prompt: "x", suffix: "end" }, "suffix"],
    [{ prompt: "x", best_of: 3 }, "best_of"],
    [{ prompt: ["a", "b"] }, "prompt"],
    [{ prompt: [1, 2] }, "prompt"],
    [{}, "prompt"],
    [{ prompt: "x", top_p: 0 }, "top_p"],
    [{ prompt: "x", seed: 0.5 }, "seed"],
    [[], "body"],
    ["text", "body"],
    [null, "body"],
  ])("%j is refused by its field", (body, param) => {
    const [status, field, message] = failureOf(() => parseTextRequest(body)) ?? [];
    expect([status, String(field).split(".")[0]]).toEqual([400, param]);
    expect(message).not.toBe("");
  });
});

describe("schemas that a grammar can hold an answer to", () => {
  test.each([
    { type: "object", properties: { a: { type: "string" }, b: { type: ["number", "null"] } }, required: ["a"], additionalProperties: false, title: "T" },
    { type: "array", items: { oneOf: [{ type: "boolean" }, { const: 1 }] }, minItems: 1, maxItems: 3 },
    { enum: ["a", 1, null, true] },
    { $defs: { node: { type: "object", properties: { next: { oneOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } } } }, $ref: "#/$defs/node" },
    { type: "string", format: "date", minLength: 1 },
  ])("%j", (schema) => {
    expect(failureOf(() => { checkSchema(schema); })).toBeUndefined();
  });

  test.each<[unknown, RegExp]>([
    [{ type: "integer", minimum: 1 }, /minimum cannot be kept to/],
    [{ type: "string", pattern: "a" }, /pattern cannot be kept to/],
    [{ type: "banana" }, /type is to be one of/],
    [{}, /type is to be one of/],
    [{ type: "object", properties: { a: {} } }, /schema\.properties\.a: type/],
    [{ anyOf: [{ type: "null" }] }, /type is to be one of/],
    [{ $ref: "#/definitions/a" }, /is not among \$defs/],
    [{ $ref: "#/$defs/a" }, /is not among \$defs/],
    [{ enum: [{}] }, /texts, numbers, booleans or null/],
    [{ enum: [] }, /texts, numbers, booleans or null/],
    [{ type: "string", format: "email" }, /format "email"/],
    [{ type: "object", required: ["a"] }, /not in properties/],
    [{ type: ["object", "null"] }, /use oneOf/],
    [{ type: "array", items: [] }, /a schema is an object/],
    [5, /a schema is an object/],
    [{ $defs: { bad: { type: "x" } }, type: "null" }, /schema\.\$defs\.bad/],
    [Array.from({ length: 40 }).reduce<object>((inner) => ({ type: "array", items: inner }), { type: "null" }), /too large/],
    [{ oneOf: Array.from({ length: 3000 }, () => ({ type: "null" })) }, /too large/],
  ])("%j is refused", (schema, message) => {
    expect(failureOf(() => { checkSchema(schema); })).toEqual([400, "response_format", expect.stringMatching(message)]);
  });
});
