/** Replies are kept by what was asked: the same request costs once, any other one anew, and files of another kind stay as they are. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { openJudge } from "../../../src/judge/judge.js";
import type { JudgeBounds } from "../../../src/judge/judge.js";
import { createRemoteAnswerer } from "../../../src/judge/remote.js";
import type { RemoteJudgeOptions } from "../../../src/judge/remote.js";
import { hang, say, startJudgeEndpoint } from "../../helpers/judge-endpoint.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const REQUEST = { messages: [{ role: "user", content: "Rate this." }], temperature: 0, maxTokens: 64 } as const;

const open = (options: Partial<RemoteJudgeOptions> & { readonly baseUrl: string }, bounds: JudgeBounds = {}) => openJudge(createRemoteAnswerer({ model: "m", ...options }), bounds);

test("a reply is asked for once, also by another process of the same file, and costs once", async () => {
  const cacheFile = join(makeTemporaryFolder(), "folder", "cache.sqlite");
  const endpoint = await startJudgeEndpoint(say("[[7]]"));
  const bounds = { cacheFile, prices: { promptPerMillion: 10, completionPerMillion: 30, currency: "USD" } };
  const judge = open({ baseUrl: endpoint.baseUrl }, bounds);
  const reply = await judge.ask(REQUEST);
  expect(await judge.ask(REQUEST)).toEqual({ ...reply, cached: true });
  expect(judge.usage()).toEqual({
    ...{ numReplies: 2, numCached: 1, numPromptTokens: 100, numCompletionTokens: 10, numUncounted: 0 },
    // 100 tokens at 10 and 10 at 30 for a million.
    cost: { amount: 0.0013, currency: "USD" },
  });
  await judge.dispose();
  const later = open({ baseUrl: endpoint.baseUrl }, bounds);
  expect(await later.ask(REQUEST)).toEqual({ ...reply, cached: true });
  expect(later.usage()).toMatchObject({ numPromptTokens: 0, cost: { amount: 0 } });
  await later.dispose();
  expect(endpoint.requests.length).toBe(1);
});

test("everything that a reply depends on makes another request", async () => {
  const cacheFile = join(makeTemporaryFolder(), "cache.sqlite");
  const endpoint = await startJudgeEndpoint(say("x"));
  const { baseUrl } = endpoint;
  const variants: (() => Promise<unknown>)[] = [
    () => open({ baseUrl }, { cacheFile }).ask(REQUEST),
    () => open({ baseUrl: `${baseUrl}/beta` }, { cacheFile }).ask(REQUEST),
    () => open({ baseUrl, model: "n" }, { cacheFile }).ask(REQUEST),
    () => open({ baseUrl, extraBody: { seed: 0 } }, { cacheFile }).ask(REQUEST),
    () => open({ baseUrl, temperature: 1 }, { cacheFile }).ask(REQUEST),
    () => open({ baseUrl }, { cacheFile }).ask({ ...REQUEST, temperature: 0.5 }),
    () => open({ baseUrl }, { cacheFile }).ask({ ...REQUEST, maxTokens: 65 }),
    () => open({ baseUrl }, { cacheFile }).ask({ ...REQUEST, ratings: { min: 1, max: 10 } }),
    () => open({ baseUrl }, { cacheFile }).ask({ ...REQUEST, messages: [{ role: "system", content: "Rate this." }] }),
  ];
  for (const ask of [...variants, ...variants]) await ask();
  expect(endpoint.requests.length).toBe(variants.length);
});

test("equal requests that come together are asked once, and the stop of one does not stop the other", async () => {
  const endpoint = await startJudgeEndpoint([hang, say("second")]);
  const judge = open({ baseUrl: endpoint.baseUrl });
  const controller = new AbortController();
  const first = judge.ask(REQUEST, controller.signal);
  const second = judge.ask(REQUEST);
  while (endpoint.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(endpoint.requests.length).toBe(1);
  controller.abort();
  await expect(first).rejects.toMatchObject({ code: "CANCELLED" });
  expect((await second).text).toBe("second");
  const together = await startJudgeEndpoint(say("one"));
  const other = open({ baseUrl: together.baseUrl });
  expect((await Promise.all([other.ask(REQUEST), other.ask(REQUEST), other.ask(REQUEST)])).map(({ cached }) => cached)).toEqual([false, true, true]);
  expect(together.requests.length).toBe(1);
});

test("the file holds no text of what was asked", async () => {
  const cacheFile = join(makeTemporaryFolder(), "cache.sqlite");
  const endpoint = await startJudgeEndpoint(say("fine"));
  const judge = open({ baseUrl: endpoint.baseUrl }, { cacheFile });
  await judge.ask({ ...REQUEST, messages: [{ role: "user", content: "a private question" }] });
  await judge.dispose();
  expect(readFileSync(cacheFile).includes("a private question")).toBe(false);
});

test("files of another kind are refused and left alone", () => {
  const folder = makeTemporaryFolder();
  const [text, database] = [join(folder, "text"), join(folder, "other.sqlite")];
  writeFileSync(text, "not a database at all, but long enough to be taken for one by its size".repeat(20));
  new Database(database).exec("CREATE TABLE mine (x)").close();
  for (const cacheFile of [text, database]) {
    const before = readFileSync(cacheFile);
    expect(() => open({ baseUrl: "http://127.0.0.1:1/v1" }, { cacheFile })).toThrow(expect.objectContaining({ code: "METRICS_INVALID" }) as Error);
    expect(readFileSync(cacheFile).equals(before)).toBe(true);
  }
});
