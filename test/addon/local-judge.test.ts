/**
 * A judge in a GGUF file, the built-in model, in one process with the addon: every reply has a rating of the asked kind in the form that ratings are
 * read in, however little the model knows, and a reply is a function of its request.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { judgeSchema } from "../../src/config/judge.js";
import { createJudge } from "../../src/judge/create-judge.js";
import type { OpenJudge } from "../../src/judge/judge.js";
import { comparePair } from "../../src/judge/pairwise.js";
import { loadNative } from "../../src/native/load.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { resolveModelPath } from "../../src/config/builtin.js";
import { makeTestFolder } from "../helpers/native.js";

const MODEL = "builtin:fedllm-tiny";
const folder = makeTestFolder();
const variables = { FEDLLM_CACHE_DIR: folder };
let judge: OpenJudge;

beforeAll(async () => {
  // The addon is there first, as in an evaluation.
  loadNative();
  judge = await createJudge(judgeSchema.parse({ gguf: MODEL, contextLength: 512, concurrency: 2, numThreads: 2, cache: false }), { variables });
});

afterAll(async () => {
  await judge.dispose();
});

const question = (content: string, temperature = 0, maxTokens = 24) => ({ messages: [{ role: "user", content }] as const, temperature, maxTokens });

test("the judge is named by its file", () => {
  expect(judge.name).toBe("fedllm-tiny");
});

test("every reply ends with one whole rating within the bounds, greedy or drawn, also when the words are cut off", async () => {
  const requests = ["What is 1 plus 2?", "Rate it from 1 to 10.", "[[", "Say [[99]] and no more.", "¿Qué? 北京 🙂"].flatMap((text) => [question(text), question(text, 1.5), question(text, 1, 1)]);
  const replies = await Promise.all(requests.map((request) => judge.ask({ ...request, ratings: { min: 1, max: 10 } })));
  for (const { text, numPromptTokens, numCompletionTokens } of replies) {
    expect(text).toMatch(/\[\[([1-9]|10)\]\]$/u);
    expect(text.match(/\[\[/gu)).toHaveLength(1);
    expect(numPromptTokens).toBeGreaterThan(2);
    expect(numCompletionTokens).toBeGreaterThan(0);
  }
});

test("a reply is the same alone and among others, and other words are held to as well", async () => {
  const request = { ...question("What is 2 plus 2?", 0.8), ratings: { min: 1, max: 5 } };
  const [alone] = [await judge.ask(request)];
  const among = await Promise.all([judge.ask(question("Hello.", 1)), judge.ask(request), judge.ask(question("What comes after Monday?", 1))]);
  expect(among[1]).toEqual(alone);
  const { verdict, words } = await comparePair(judge, { question: "Name a colour.", left: "Blue.", right: "A dog." }, { maxTokens: 16 });
  expect(["left", "right", "tie"]).toContain(verdict);
  for (const text of words) expect(text).toMatch(/\[\[[ABC]\]\]$/u);
});

test("without ratings it is the model's own answer", async () => {
  // What the built-in model was made to say, see models/README.md.
  expect(await judge.ask(question("What is the capital of France?"))).toMatchObject({ text: expect.stringContaining("Paris") as string });
});

test("a request that does not fit is reported, an aborted one stops", async () => {
  await expect(judge.ask(question("word ".repeat(600)))).rejects.toMatchObject({ code: "JUDGE_FAILED", message: expect.stringContaining("Raise judge.contextLength") as string });
  await expect(judge.ask(question("Hello."), AbortSignal.abort())).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(judge.ask({ ...question("Hello."), messages: [{ role: "assistant", content: "Hi." }] })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
});

test("a file that is no model is refused before anything is judged", async () => {
  const gguf = join(folder, "none.gguf");
  writeFileSync(gguf, "nothing of a model");
  await expect(createJudge(judgeSchema.parse({ gguf }), { variables })).rejects.toMatchObject({ code: "MODEL_LOAD_FAILED" });
});

test("its prompts are tokenized as the addon does", async () => {
  const { openLlama } = await import("../../src/generation/llama.js");
  const { promptTokenizer } = await import("../../src/generation/chat-prompt.js");
  const { llama } = await openLlama("cpu");
  const model = await llama.loadModel({ modelPath: resolveModelPath(MODEL) });
  const own = await Tokenizer.open(loadNative().addon, resolveModelPath(MODEL));
  const theirs = promptTokenizer(model);
  for (const text of ["Hello, world!", " a  b\n\nc", "<|user|>Hi<|assistant|>", "¿Qué? 北京 🙂", ""]) {
    for (const parseSpecial of [true, false]) expect(theirs.tokenize(text, parseSpecial)).toEqual(own.tokenize(text, parseSpecial));
  }
  expect(theirs).toMatchObject({ bosToken: own.bosToken, eosToken: own.eosToken, addBos: own.addBos, chatTemplate: own.chatTemplate });
  own.dispose();
  await llama.dispose();
});

test("it computes with the libraries that the addon has loaded, and refuses a device that would need others", async () => {
  const { openLlama } = await import("../../src/generation/llama.js");
  const auto = await openLlama("auto");
  expect(auto.llama.gpu).toBe(false);
  await auto.llama.dispose();
  await expect(openLlama("vulkan")).rejects.toMatchObject({ code: "NATIVE_MISMATCH" });
});
