/** The server driven by the public client of OpenAI's interface: chats, completions, streams, models, errors, and clients that leave. */
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { judgeSchema } from "../../src/config/judge.js";
import { generateText } from "../../src/generation/generate.js";
import { createJudge } from "../../src/judge/create-judge.js";
import { openJudge } from "../../src/judge/judge.js";
import { createRemoteAnswerer } from "../../src/judge/remote.js";
import { SYSTEM_CLOCK } from "../../src/judge/retry.js";
import type { RunningServer } from "../../src/serve/server.js";
import { Secret } from "../../src/util/secret.js";
import { makeTestFolder } from "../helpers/native.js";
import { closeServing, openServing, serve } from "../helpers/served.js";
import type { Serving } from "../helpers/served.js";

const TOKEN = "token-of-the-test-0123";
const folder = makeTestFolder();
let serving: Serving;
let server: RunningServer;
let client: OpenAI;
const statuses: number[] = [];

const clientOf = ({ url }: RunningServer, apiKey = TOKEN) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
const ask = (model: string, content = "What is the capital of France?", changes: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming> = {}) =>
  client.chat.completions.create({ model, messages: [{ role: "user", content }], temperature: 0, max_completion_tokens: 24, ...changes });

/** An answer that has to be long. */
const LONG = {
  ...{ model: "base", messages: [{ role: "user" as const, content: "Tell me something." }], temperature: 1, seed: 0, max_completion_tokens: 400 },
  response_format: { type: "json_schema" as const, json_schema: { name: "long", schema: { type: "array", items: { enum: [1, 2] }, minItems: 100, maxItems: 120 } } },
};

/** Tokens that the last used context of the base has made so far. */
async function outputTokens(): Promise<number> {
  const lease = await serving.pool.lease(serving.models[0]?.files ?? { modelPath: "" });
  const { usedOutputTokens } = lease.sequence.tokenMeter;
  lease.release();
  return usedOutputTokens;
}

beforeAll(async () => {
  serving = await openServing(folder);
  server = await serve(serving, {
    token: new Secret(TOKEN),
    onRequest: ({ status }) => {
      statuses.push(status);
    },
  });
  client = clientOf(server);
});

afterAll(async () => {
  await server.stop();
  await closeServing(serving);
});

describe("answers", () => {
  test("a chat is what the model says, with counts of tokens", async () => {
    const answer = await ask("base");
    expect(answer).toMatchObject({ object: "chat.completion", model: "base", choices: [{ index: 0, message: { role: "assistant" }, finish_reason: "stop" }] });
    expect(answer.choices[0]?.message.content).toContain("Paris");
    const { prompt_tokens: prompt = 0, completion_tokens: completion = 0, total_tokens: total } = answer.usage ?? {};
    expect(prompt).toBeGreaterThan(5);
    expect(completion).toBeGreaterThan(0);
    expect(total).toBe(prompt + completion);
  });

  test("its tokens are those of llama.cpp's own loop", async () => {
    const model = serving.models[0];
    const lease = await serving.pool.lease(model?.files ?? { modelPath: "" });
    const { bos } = lease.model.tokens;
    const prompt = [...(bos === null ? [] : [bos]), ...lease.model.tokenize("<|user|>What is the capital of France?<|assistant|>", true)];
    await lease.sequence.clearHistory();
    const tokens: number[] = [];
    for await (const token of lease.sequence.evaluate(prompt, { temperature: 0 })) tokens.push(token);
    const { text } = await generateText(lease, { promptTokens: prompt, maxNewTokens: 64, temperature: 0, topK: 0, topP: 1, seed: 0, stopTexts: [] });
    lease.release();
    const answer = await ask("base", undefined, { max_completion_tokens: 64 });
    expect(answer.choices[0]?.message.content).toBe(text);
    expect(answer.usage).toMatchObject({ prompt_tokens: prompt.length, completion_tokens: tokens.length });
  });

  test("a stream's pieces are the whole answer, with reason and counts at the end", async () => {
    const whole = await ask("base");
    const stream = await client.chat.completions.create({
      ...{ model: "base", messages: [{ role: "user" as const, content: "What is the capital of France?" }], temperature: 0, max_completion_tokens: 24 },
      ...{ stream: true as const, stream_options: { include_usage: true } },
    });
    const pieces: OpenAI.ChatCompletionChunk[] = [];
    for await (const piece of stream) pieces.push(piece);
    expect(pieces[0]?.choices[0]?.delta).toEqual({ role: "assistant", content: "" });
    expect(pieces.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toBe(whole.choices[0]?.message.content);
    expect(pieces.at(-2)?.choices[0]?.finish_reason).toBe("stop");
    expect(pieces.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
    expect(new Set(pieces.map(({ id }) => id)).size).toBe(1);
  });

  test("a plain completion goes on with the text, whole and streamed", async () => {
    const request = { model: "base", prompt: "The capital of France is", temperature: 0, stop: ["."] };
    const answer = await client.completions.create(request);
    expect(answer).toMatchObject({ object: "text_completion", choices: [{ text: "Paris", finish_reason: "stop" }] });
    let text = "";
    for await (const piece of await client.completions.create({ ...request, stream: true })) text += piece.choices[0]?.text ?? "";
    expect(text).toBe("Paris");
    // Without a limit it is the interface's sixteen tokens.
    expect((await client.completions.create({ model: "base", prompt: "One two three", temperature: 1, seed: 0 })).usage?.completion_tokens).toBeLessThanOrEqual(16);
  });

  test("the limit of tokens ends an answer, and a seed repeats it, 0 as well", async () => {
    expect((await ask("base", undefined, { max_completion_tokens: 1 })).choices[0]?.finish_reason).toBe("length");
    // The older name of the limit, which many programs still send.
    const old = await client.post<OpenAI.ChatCompletion>("/chat/completions", { body: { model: "base", messages: [{ role: "user", content: "Hi." }], max_tokens: 1 } });
    expect(old.usage?.completion_tokens).toBe(1);
    const drawn = async (seed: number) => (await ask("base", "Tell me something.", { temperature: 2, seed, max_completion_tokens: 32 })).choices[0]?.message.content;
    const first = await drawn(0);
    expect(await drawn(0)).toBe(first);
    expect(await drawn(1)).not.toBe(first);
    expect(await drawn(-5)).toBe(await drawn(-5));
  });

  test("parts of text, system and developer messages and earlier turns are read", async () => {
    const { usage } = await client.chat.completions.create({
      ...{ model: "base", temperature: 0, max_completion_tokens: 2 },
      messages: [
        { role: "developer", content: "Be short." },
        { role: "user", content: [{ type: "text", text: "What is the " }, { type: "text", text: "capital of France?" }] },
        { role: "assistant", content: "Paris." },
        { role: "user", content: "And of Croatia?" },
      ],
    });
    expect(usage?.prompt_tokens).toBeGreaterThan(20);
  });

  test("a schema of an answer is kept to", async () => {
    const schema = { type: "object", properties: { colour: { enum: ["red", "blue"] }, sure: { type: "boolean" } }, required: ["colour", "sure"], additionalProperties: false };
    for (const seed of [0, 1, 2]) {
      const { choices } = await ask("base", "A colour?", { temperature: 1, seed, max_completion_tokens: 64, response_format: { type: "json_schema", json_schema: { name: "answer", schema } } });
      const value = JSON.parse(choices[0]?.message.content ?? "") as { colour: string; sure: boolean };
      expect(["red", "blue"]).toContain(value.colour);
      expect(typeof value.sure).toBe("boolean");
      expect(Object.keys(value)).toHaveLength(2);
    }
    const object = await ask("base", "A colour?", { max_completion_tokens: 64, response_format: { type: "json_object" } });
    expect(typeof JSON.parse(object.choices[0]?.message.content ?? "")).toBe("object");
  });
});

describe("models", () => {
  test("base and adapters are listed, each by an id that may hold a slash", async () => {
    const list = await client.models.list();
    expect(list.data.map(({ id, object }) => [id, object])).toEqual([["base", "model"], ["arm", "model"], ["arm/one", "model"]]);
    expect(await client.models.retrieve("arm/one")).toMatchObject({ id: "arm/one", created: 1_700_000_000 });
    await expect(client.models.retrieve("other")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
  });

  test("requests with different adapters at the same time give what each gives alone", async () => {
    const questions = ["What is the capital of France?", "What comes after Monday?"];
    const all = serving.models.flatMap(({ id }) => questions.map((question) => [id, question] as const));
    const textOf = async ([id, question]: readonly [string, string]) => (await ask(id, question, { max_completion_tokens: 48 })).choices[0]?.message.content;
    const alone: (string | null | undefined)[] = [];
    for (const each of all) alone.push(await textOf(each));
    // The adapters do something, or the test would say nothing.
    expect(new Set([alone[0], alone[2], alone[4]]).size).toBe(3);
    expect(await Promise.all(all.map(textOf))).toEqual(alone);
    expect(await Promise.all([...all].reverse().map(textOf))).toEqual([...alone].reverse());
  });
});

describe("what is refused", () => {
  test.each<[string, object, number, string | null, string | null]>([
    ["an unknown model", { model: "gpt-none" }, 404, "model", "model_not_found"],
    ["several answers", { n: 2 }, 400, "n", "unsupported_parameter"],
    ["log-probabilities", { logprobs: true }, 400, "logprobs", "unsupported_parameter"],
    ["tools", { tools: [{ type: "function", function: { name: "f" } }] }, 400, "tools", "unsupported_parameter"],
    ["a penalty", { frequency_penalty: 0.5 }, 400, "frequency_penalty", "unsupported_parameter"],
    ["no messages", { messages: [] }, 400, "messages", null],
    ["an image", { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] }, 400, "messages.0.content", null],
    ["an answer last", { messages: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }] }, 400, null, null],
    ["a temperature below 0", { temperature: -1 }, 400, "temperature", null],
    ["no tokens", { max_tokens: 0 }, 400, "max_tokens", null],
    ["an empty stop text", { stop: [""] }, 400, "stop.0", null],
    ["a prompt that is too long", { messages: [{ role: "user", content: "word ".repeat(800) }] }, 400, "messages", "context_length_exceeded"],
    ["a schema with a pattern", { response_format: { type: "json_schema", json_schema: { name: "a", schema: { type: "string", pattern: "^a$" } } } }, 400, "response_format", "unsupported_schema"],
    ["a schema that is itself", { response_format: { type: "json_schema", json_schema: { name: "a", schema: { $defs: { a: { $ref: "#/$defs/a" } }, $ref: "#/$defs/a" } } } }, 400, "response_format", "unsupported_schema"],
  ])("%s, in the form of an error that clients read", async (_name, changes, status, param, code) => {
    for (const stream of [false, true]) {
      const failure = client.chat.completions.create({ model: "base", messages: [{ role: "user", content: "Hi." }], max_completion_tokens: 4, ...changes, stream });
      await expect(failure).rejects.toMatchObject({ status, param, code, type: "invalid_request_error" });
    }
  });

  test("another token, and none; health needs none", async () => {
    await expect(clientOf(server, "another").models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    const bare = await fetch(`${server.url}/v1/models`);
    expect([bare.status, bare.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    expect(await (await fetch(`${server.url}/health`)).json()).toEqual({ status: "ok" });
  });
});

describe("the life of a request", () => {
  test("what a client that leaves has asked for is not computed any more", async () => {
    const numTokens = (await client.chat.completions.create(LONG)).usage?.completion_tokens ?? 0;
    expect(numTokens).toBeGreaterThan(150);
    const before = await outputTokens();
    const numEnded = statuses.length;
    const controller = new AbortController();
    const stream = await client.chat.completions.create({ ...LONG, stream: true }, { signal: controller.signal });
    for await (const piece of stream) if ((piece.choices[0]?.delta.content ?? "") !== "") controller.abort();
    while (statuses.length === numEnded) await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await outputTokens()) - before).toBeLessThan(numTokens / 2);
  });

  test("more than may wait are turned away with 429 and a time, which the client heeds", async () => {
    const small = await serve(serving, { maxWaiting: 0, parallel: 1 });
    const plain = clientOf(small);
    const results = await Promise.allSettled([1, 2, 3].map(() => plain.chat.completions.create(LONG)));
    const refused = results.flatMap((result) => (result.status === "rejected" ? [result.reason as InstanceType<typeof OpenAI.RateLimitError>] : []));
    expect(refused.length).toBeGreaterThan(0);
    for (const error of refused) expect([error.status, error.code, error.headers.get("retry-after")]).toEqual([429, "queue_full", "2"]);
    expect(results.length - refused.length).toBeGreaterThan(0);
    await small.stop();
  });

  test("when the server stops, a stream ends with an error and not as if it were whole", async () => {
    const other = await serve(serving);
    const stream = await clientOf(other).chat.completions.create({ ...LONG, stream: true });
    let stopped: Promise<void> | undefined;
    const reading = (async () => {
      for await (const piece of stream) if (piece.choices[0]?.delta.content !== "") stopped ??= other.stop();
    })();
    await expect(reading).rejects.toMatchObject({ message: "the server is stopping" });
    await stopped;
    await other.stop();
    await expect(clientOf(other).models.list()).rejects.toBeInstanceOf(OpenAI.APIConnectionError);
  });
});

describe("as the endpoint of a judge", () => {
  const question = (content: string) => ({ messages: [{ role: "user", content }] as const, temperature: 0, maxTokens: 24 });

  test("a judge gets what the client gets, with its counts, and keeps it", async () => {
    const config = judgeSchema.parse({ baseUrl: `${server.url}/v1`, model: "arm/one", apiKeyEnv: "JUDGE_KEY" });
    const judge = await createJudge(config, { variables: { JUDGE_KEY: TOKEN, FEDLLM_CACHE_DIR: folder } });
    const reply = await judge.ask(question("What is the capital of France?"));
    const answer = await ask("arm/one");
    expect(reply).toEqual({ text: answer.choices[0]?.message.content, numPromptTokens: answer.usage?.prompt_tokens, numCompletionTokens: answer.usage?.completion_tokens, cached: false });
    expect(await judge.ask(question("What is the capital of France?"))).toEqual({ ...reply, cached: true });
    await judge.dispose();
  });

  test("a wrong key and an unknown model are reported at once", async () => {
    const openWith = (key: string, model: string) => openJudge(createRemoteAnswerer({ baseUrl: `${server.url}/v1`, model, key: new Secret(key) }), {});
    await expect(openWith("another-token-987", "base").ask(question("Hi."))).rejects.toMatchObject({ code: "JUDGE_FAILED", message: expect.stringContaining("answered 401") as string });
    await expect(openWith(TOKEN, "none").ask(question("Hi."))).rejects.toMatchObject({ code: "JUDGE_FAILED", message: expect.stringContaining("answered 404") as string });
  });

  test("of many items at a server that turns most away, each is judged once", async () => {
    const small = await serve(serving, { maxWaiting: 0, parallel: 1 });
    // The server asks for seconds, which the test does not wait.
    const clock = { ...SYSTEM_CLOCK, sleep: async (_ms: number, signal?: AbortSignal) => SYSTEM_CLOCK.sleep(5, signal) };
    const judge = openJudge(createRemoteAnswerer({ baseUrl: `${small.url}/v1`, model: "base", clock, retry: { maxAttempts: 10_000 } }), { concurrency: 4 });
    const items = Array.from({ length: 12 }, (_, index) => `What is ${String(index)} plus 1?`);
    const replies = await Promise.all(items.map((item) => judge.ask(question(item))));
    const expected: (string | null | undefined)[] = [];
    for (const item of items) expected.push((await ask("base", item)).choices[0]?.message.content);
    expect(replies.map(({ text }) => text)).toEqual(expected);
    expect(judge.usage()).toMatchObject({ numReplies: 12, numCached: 0 });
    await small.stop();
  });
});
