/** From a judge as a user describes it to replies: defaults, key and cache by the environment, and what is refused. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { judgeSchema } from "../../../src/config/judge.js";
import type { JudgeInput } from "../../../src/config/judge.js";
import { createJudge } from "../../../src/judge/create-judge.js";
import { say, startJudgeEndpoint } from "../../helpers/judge-endpoint.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const REQUEST = { messages: [{ role: "user", content: "Rate this." }], temperature: 0, maxTokens: 64 } as const;

test("key and cache folder come from the environment, and a second judge takes the reply from there", async () => {
  const folder = makeTemporaryFolder();
  const endpoint = await startJudgeEndpoint(say("[[7]]"));
  const config = judgeSchema.parse({ baseUrl: `${endpoint.baseUrl}/`, model: "m", apiKeyEnv: "MY_KEY", prices: { promptPerMillion: 1, completionPerMillion: 2 } });
  const variables = { MY_KEY: "sk-planted-0123456789", FEDLLM_CACHE_DIR: folder };
  for (const cached of [false, true]) {
    const judge = await createJudge(config, { variables });
    expect(judge.name).toBe("m");
    expect(await judge.ask(REQUEST)).toMatchObject({ text: "[[7]]", cached });
    await judge.dispose();
  }
  expect(endpoint.requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([["/v1/chat/completions", "Bearer sk-planted-0123456789"]]);
  expect(existsSync(join(folder, "judge-replies.sqlite"))).toBe(true);
});

test("without a cache every judge asks", async () => {
  const folder = makeTemporaryFolder();
  const endpoint = await startJudgeEndpoint(say("x"));
  const judge = await createJudge(judgeSchema.parse({ baseUrl: endpoint.baseUrl, model: "m", cache: false }), { variables: { FEDLLM_CACHE_DIR: folder } });
  await judge.ask(REQUEST);
  await judge.ask(REQUEST);
  await judge.dispose();
  expect(endpoint.requests).toHaveLength(2);
  expect(endpoint.requests[0]?.headers.authorization).toBeUndefined();
  expect(existsSync(join(folder, "judge-replies.sqlite"))).toBe(false);
});

test.each<[Partial<JudgeInput> & Record<string, unknown>, RegExp]>([
  [{ apiKeyEnv: "sk-a-key/itself" }, /never a key itself/],
  [{ apiKeyEnv: "sk_live_a1b2c3d4" }, /never a key itself/],
  [{ apiKey: "sk" }, /Unrecognized key/],
  [{ maxAttempts: 0 }, />=1/],
  [{ gguf: "judge.gguf" }, /either baseUrl with model, or gguf/],
  [{ baseUrl: undefined }, /either baseUrl with model, or gguf/],
  [{ model: undefined }, /the model that the endpoint is asked for/],
  [{ baseUrl: undefined, model: undefined, gguf: "judge.gguf", apiKeyEnv: "KEY" }, /a local judge needs no key/],
])("%o is refused", (change, message) => {
  expect(() => judgeSchema.parse({ baseUrl: "http://127.0.0.1:1/v1", model: "m", ...change })).toThrow(message);
});

test("a named variable that is not set is an error before anything is sent", async () => {
  const config = judgeSchema.parse({ baseUrl: "https://example.invalid/v1", model: "m", apiKeyEnv: "MISSING_KEY" });
  await expect(createJudge(config, { variables: {} })).rejects.toThrow("environment variable MISSING_KEY");
});
