/** A judge's key in a whole evaluation at a server that sends back what it was sent: it is in no output and in no file that the program leaves. */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sendJson, startJudgeEndpoint } from "../helpers/judge-endpoint.js";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const KEY = "sk-planted/Kz7+Q2w9xY4vB8nM1";

test("the key goes to the endpoint, and nowhere else", async () => {
  const folder = makeTemporaryFolder();
  writeFileSync(join(folder, "questions.jsonl"), ["one", "two", "three"].map((text, index) => JSON.stringify({ question_id: index, category: "generic", turns: [`Say ${text}.`] })).join("\n"));
  // The first item is judged, by words that hold the key; the others fail with errors that do.
  const endpoint = await startJudgeEndpoint([
    ({ headers }, response) => {
      sendJson(200, { choices: [{ message: { content: `You sent ${String(headers.authorization)}. [[7]]` } }], usage: { prompt_tokens: 9, completion_tokens: 9 } })({ url: "", headers, body: "" }, response);
    },
    ({ headers }, response) => {
      sendJson(400, { error: { message: `bad key ${String(headers.authorization)}` } })({ url: "", headers, body: "" }, response);
    },
  ]);
  const judge = ["--judge-url", endpoint.baseUrl, "--judge-model", "m", "--judge-key-env", "PLANTED_KEY"];
  const args = ["eval", "builtin:fedllm-tiny", "--metrics", "vicuna", "--questions", "vicuna=questions.jsonl", "--metric-option", "vicuna.maxNewTokens=8", "--threads", "1", "--debug", ...judge];
  const { stdout, stderr } = await runCli(args, { cwd: folder, env: { PLANTED_KEY: KEY, FEDLLM_CACHE_DIR: join(folder, "cache") } });

  expect(endpoint.requests.map(({ headers }) => headers.authorization)).toEqual([KEY, KEY, KEY].map((key) => `Bearer ${key}`));
  expect(stdout + stderr).not.toContain(KEY);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const texts = files.map((entry) => readFileSync(join(entry.parentPath, entry.name)).toString("latin1"));
  // What was judged was stored, so there was something to be found.
  expect(texts.filter((text) => text.includes("You sent Bearer [secret]")).length).toBeGreaterThan(0);
  expect(files.filter((_, index) => texts[index]?.includes(KEY) === true).map(({ name }) => name)).toEqual([]);
});
