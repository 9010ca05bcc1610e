/** A planted key is sent to its own origin and comes out nowhere else: not in errors, replies, the cache, printed values or a redirect's target. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { readSecret } from "../../../src/config/environment.js";
import { openJudge } from "../../../src/judge/judge.js";
import { createRemoteAnswerer } from "../../../src/judge/remote.js";
import { Secret } from "../../../src/util/secret.js";
import { cutOff, say, sendJson, startJudgeEndpoint } from "../../helpers/judge-endpoint.js";
import type { ChatAnswer } from "../../helpers/judge-endpoint.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const KEY = "sk-planted/Kz7+Q2w9xY4vB8nM1";
const REQUEST = { messages: [{ role: "user", content: "Rate this." }], temperature: 0, maxTokens: 64 } as const;

/** What a server that means ill, or debugs, sends back of a request's headers. */
const echo = (status: number): ChatAnswer => (request, response) => {
  const told = `you sent ${String(request.headers.authorization)}, in base64 ${Buffer.from(KEY).toString("base64")}, half of it ${KEY.slice(4, 16)}`;
  const body = status === 200 ? { choices: [{ message: { content: told } }] } : { error: { message: told } };
  sendJson(status, body)(request, response);
};

/** Any six characters in a row of the key. */
function partsIn(text: string): string[] {
  const parts = Array.from({ length: KEY.length - 5 }, (_, start) => KEY.slice(start, start + 6));
  return parts.filter((part) => text.includes(part));
}

/** Everything that a program could print or store of a value. */
const everythingOf = (value: unknown) => [inspect(value, { depth: 10, showHidden: true, getters: true }), JSON.stringify(value), String(value), value instanceof Error ? (value.stack ?? "") : ""].join("\n");

test.each<[string, ChatAnswer]>([
  ["400 that echoes it", echo(400)],
  ["401 that echoes it", echo(401)],
  ["500 that echoes it", echo(500)],
  ["a broken connection", cutOff],
  ["a redirect without a target", sendJson(307, {})],
])("an error of %s holds nothing of the key", async (_name, answer) => {
  const endpoint = await startJudgeEndpoint(answer);
  const judge = openJudge(createRemoteAnswerer({ baseUrl: endpoint.baseUrl, model: "m", key: new Secret(KEY), retry: { maxAttempts: 2, pauseMs: 1 } }), {});
  const error: unknown = await judge.ask(REQUEST).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "JUDGE_FAILED" });
  expect(partsIn(everythingOf(error))).toEqual([]);
  expect(partsIn(everythingOf(judge))).toEqual([]);
  expect(endpoint.requests[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
  expect(partsIn(`${process.title} ${process.argv.join(" ")}`)).toEqual([]);
});

test("a reply that echoes it is stored and returned without it", async () => {
  const file = join(makeTemporaryFolder(), "cache.sqlite");
  const endpoint = await startJudgeEndpoint(echo(200));
  const judge = openJudge(createRemoteAnswerer({ baseUrl: endpoint.baseUrl, model: "m", key: new Secret(KEY) }), { cacheFile: file });
  const reply = await judge.ask(REQUEST);
  expect(reply.text).toContain("you sent Bearer [secret]");
  expect(reply.text).not.toContain(KEY);
  expect(reply.text).not.toContain(Buffer.from(KEY).toString("base64"));
  await judge.dispose();
  const stored = readFileSync(file).toString("latin1");
  expect(stored).toContain("you sent Bearer [secret]");
  expect(stored).not.toContain(KEY);
});

test("a redirect to another origin is followed without the key, one to the same with it", async () => {
  const other = await startJudgeEndpoint(say("from elsewhere"));
  const target = other.baseUrl.replace("127.0.0.1", "localhost");
  const first = await startJudgeEndpoint([sendJson(307, {}, { location: "/v1/moved" }), sendJson(308, {}, { location: `${target}/chat/completions` })]);
  const judge = openJudge(createRemoteAnswerer({ baseUrl: first.baseUrl, model: "m", key: new Secret(KEY) }), {});
  expect((await judge.ask(REQUEST)).text).toBe("from elsewhere");
  expect(first.requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([
    ["/v1/chat/completions", `Bearer ${KEY}`],
    ["/v1/moved", `Bearer ${KEY}`],
  ]);
  expect(other.requests.length).toBe(1);
  expect(partsIn(JSON.stringify(other.requests[0]?.headers))).toEqual([]);
  expect(other.requests[0]?.body).toContain("Rate this.");
});

test("a secret is read from its variable alone, and a bad one is named by the variable", () => {
  expect(readSecret("MY_KEY", { MY_KEY: ` ${KEY}\n` }).reveal()).toBe(KEY);
  expect(() => readSecret("MY_KEY", {})).toThrow("environment variable MY_KEY: expected a key or token, received none");
  const bad = (() => {
    try {
      return readSecret("MY_KEY", { MY_KEY: `${KEY}\r\nx-other: 1` });
    } catch (error) {
      return error;
    }
  })();
  expect(bad).toMatchObject({ code: "CONFIG_INVALID" });
  expect(partsIn(everythingOf(bad))).toEqual([]);
});

test("a word that many servers take as a key stays in texts", () => {
  expect(new Secret("none").removeFrom("none of these")).toBe("none of these");
  expect(new Secret("none").removeWithParts("none of these")).toBe("none of these");
  expect(new Secret("abcdefgh").removeWithParts("xx abcdefgh bcdefg abcde")).toBe("xx [secret] [secret] abcde");
});
