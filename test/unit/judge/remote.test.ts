/**
 * The judge's client against a real HTTP server that fails in every way a service does: each request ends with one reply or with one
 * error, and what is asked again is only what may succeed. Pauses are recorded and not slept through.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { connect } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { openJudge } from "../../../src/judge/judge.js";
import type { JudgeBounds } from "../../../src/judge/judge.js";
import { createRemoteAnswerer } from "../../../src/judge/remote.js";
import type { RemoteJudgeOptions } from "../../../src/judge/remote.js";
import type { Clock } from "../../../src/judge/retry.js";
import { Secret } from "../../../src/util/secret.js";
import { cutOff, hang, say, sendJson, sendText, startJudgeEndpoint } from "../../helpers/judge-endpoint.js";
import type { ChatAnswer } from "../../helpers/judge-endpoint.js";

const REQUEST = { messages: [{ role: "user", content: "Rate this." }], temperature: 0.2, maxTokens: 64 } as const;
const NOW = Date.parse("2026-01-01T00:00:00Z");

/** Half of every bound, at once. */
function recordingClock(): Clock & { readonly pauses: number[] } {
  const pauses: number[] = [];
  return {
    pauses,
    now: () => NOW,
    random: () => 0.5,
    sleep: (ms) => {
      pauses.push(ms);
      return Promise.resolve();
    },
  };
}

async function openAt(answers: ChatAnswer | readonly ChatAnswer[], options: Partial<RemoteJudgeOptions> = {}, bounds: JudgeBounds = {}) {
  const endpoint = await startJudgeEndpoint(answers);
  const clock = recordingClock();
  const judge = openJudge(createRemoteAnswerer({ baseUrl: endpoint.baseUrl, model: "m", clock, ...options }), bounds);
  return { endpoint, judge, clock };
}

describe("what is sent", () => {
  test("model, messages and parameters go to the base URL's chat/completions, with the key", async () => {
    const { endpoint, judge } = await openAt(say("[[7]]"), { key: new Secret("sk-planted-0123456789"), extraBody: { reasoning_effort: "low" } });
    expect(await judge.ask(REQUEST)).toEqual({ text: "[[7]]", numPromptTokens: 100, numCompletionTokens: 10, cached: false });
    const [request] = endpoint.requests;
    expect(request?.url).toBe("/v1/chat/completions");
    expect(request?.headers.authorization).toBe("Bearer sk-planted-0123456789");
    expect(JSON.parse(request?.body ?? "")).toEqual({ reasoning_effort: "low", model: "m", messages: REQUEST.messages, temperature: 0.2, max_tokens: 64 });
  });

  test("temperature may be fixed or left out, and the limit has the name the endpoint knows", async () => {
    const { endpoint, judge } = await openAt(say("ok"), { temperature: "omit", tokenLimitField: "max_completion_tokens" });
    await judge.ask(REQUEST);
    expect(JSON.parse(endpoint.requests[0]?.body ?? "")).toEqual({ model: "m", messages: REQUEST.messages, max_completion_tokens: 64 });
    const fixed = await openAt(say("ok"), { temperature: 1 });
    await fixed.judge.ask(REQUEST);
    expect(JSON.parse(fixed.endpoint.requests[0]?.body ?? "")).toMatchObject({ temperature: 1 });
  });
});

describe("what is tried again", () => {
  test.each<[string, ChatAnswer]>([
    ["429 without Retry-After", sendJson(429, { error: { message: "slow down" } })],
    ["500", sendJson(500, { error: { message: "oops" } })],
    ["503 with a page", sendText(503, "<html>", "text/html")],
    ["a connection that breaks off", cutOff],
    ["a connection that closes before it answers", (_request, response) => response.destroy()],
    ["JSON that is none", sendText(200, '{"choices": [', "application/json")],
    ["another content type", sendText(200, "<html>welcome</html>", "text/html")],
    ["JSON of another form", sendJson(200, { choices: [] })],
  ])("%s, and the item has its one reply", async (_name, failure) => {
    const { endpoint, judge, clock } = await openAt([failure, failure, say("[[3]]")]);
    expect((await judge.ask(REQUEST)).text).toBe("[[3]]");
    expect(endpoint.requests.length).toBe(3);
    // Half of 1 s and half of 2 s: full jitter with a random number of a half.
    expect(clock.pauses).toEqual([500, 1000]);
    expect(judge.usage()).toMatchObject({ numReplies: 1, numCached: 0, numPromptTokens: 100, numCompletionTokens: 10 });
  });

  test("Retry-After is waited for, in seconds, as a date and in milliseconds, with the jitter behind it", async () => {
    const waits = [{ "retry-after": "7" }, { "retry-after": "Thu, 01 Jan 2026 00:00:30 GMT" }, { "retry-after-ms": "1500", "retry-after": "2" }];
    const { judge, clock } = await openAt([...waits.map((headers) => sendJson(429, {}, headers)), say("done")]);
    await judge.ask(REQUEST);
    expect(clock.pauses).toEqual([7000 + 500, 30_000 + 1000, 1500 + 2000]);
  });

  test("a hang ends at the timeout and is tried again", async () => {
    const { endpoint, judge } = await openAt([hang, say("late")], { timeoutMs: 100 });
    expect((await judge.ask(REQUEST)).text).toBe("late");
    expect(endpoint.requests.length).toBe(2);
  });

  test("after the last attempt the item is reported, with what failed", async () => {
    const { endpoint, judge, clock } = await openAt(sendJson(500, { error: { message: "broken" } }), { retry: { maxAttempts: 3 } });
    await expect(judge.ask(REQUEST)).rejects.toMatchObject({ code: "JUDGE_FAILED", message: "the endpoint answered 500: broken; given up after 3 attempts" });
    expect(endpoint.requests.length).toBe(3);
    expect(clock.pauses.length).toBe(2);
  });

  test("pauses double up to a bound", async () => {
    const { judge, clock } = await openAt(sendJson(502, {}), { retry: { maxAttempts: 6, pauseMs: 100, maxPauseMs: 500 } });
    await expect(judge.ask(REQUEST)).rejects.toThrow();
    expect(clock.pauses).toEqual([50, 100, 200, 250, 250]);
  });
});

describe("what ends at once", () => {
  test.each<[string, ChatAnswer, RegExp]>([
    ["400", sendJson(400, { error: { message: "no such field" } }), /answered 400: no such field/],
    ["401", sendJson(401, { error: { message: "wrong key" } }), /answered 401\. Check the key/],
    ["404", sendText(404, "nothing here", "text/plain"), /answered 404\. Check judge\.baseUrl/],
    ["429 of an account without money", sendJson(429, { error: { message: "quota", code: "insufficient_quota" } }), /nothing left/],
    ["a server that asks for an hour", sendJson(429, {}, { "retry-after": "3600" }), /asks to wait 3600 s/],
    ["a huge answer", sendText(200, " ".repeat(5 * 2 ** 20), "application/json"), /more than 4 MiB/],
    ["a redirect that changes the method", sendJson(302, {}, { location: "/elsewhere" }), /redirect \(302\)/],
  ])("%s", async (_name, answer, message) => {
    const { endpoint, judge, clock } = await openAt(answer);
    await expect(judge.ask(REQUEST)).rejects.toMatchObject({ code: "JUDGE_FAILED", message: expect.stringMatching(message) as string });
    expect(endpoint.requests.length).toBe(1);
    expect(clock.pauses).toEqual([]);
  });

  test("an abort stops a request that hangs, one that waits for its turn and one that pauses", async () => {
    const { endpoint, judge } = await openAt(hang, {}, { concurrency: 1 });
    const controller = new AbortController();
    const asked = [judge.ask(REQUEST, controller.signal), judge.ask({ ...REQUEST, temperature: 1 }, controller.signal)];
    const settled = Promise.allSettled(asked);
    while (endpoint.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    for (const result of await settled) expect(result).toMatchObject({ status: "rejected", reason: { code: "CANCELLED" } });
    expect(endpoint.requests.length).toBe(1);

    const pausing = new AbortController();
    const sleep: Clock["sleep"] = () => {
      pausing.abort();
      return Promise.reject(new Error("aborted"));
    };
    const second = await openAt(sendJson(500, {}), { clock: { ...recordingClock(), sleep } });
    await expect(second.judge.ask(REQUEST, pausing.signal)).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test.each([
    ["ftp://example.org/v1", /something else/],
    ["not an address", /something else/],
    ["https://me:pass@example.org/v1", /user, a password or a query/],
    ["https://example.org/v1?key=abc", /user, a password or a query/],
    ["http://example.org/v1", /plain HTTP to another machine/],
  ])("the address %s is refused before anything is sent", (baseUrl, message) => {
    expect(() => createRemoteAnswerer({ baseUrl, model: "m", key: new Secret("sk-planted-0123456789") })).toThrow(message);
  });

  test("plain HTTP to another machine is there on request, and without a key", () => {
    const options = { baseUrl: "http://192.168.0.7:8080/v1", model: "m" };
    expect(createRemoteAnswerer(options).name).toBe("m");
    expect(createRemoteAnswerer({ ...options, key: new Secret("sk-planted-0123456789"), allowHttp: true }).name).toBe("m");
  });
});

describe("proxies", () => {
  test("carry requests to other hosts, never to this machine", async () => {
    const endpoint = await startJudgeEndpoint(say("ok"));
    const { port } = new URL(endpoint.baseUrl);
    const asked: string[] = [];
    // The name is known to the proxy alone, so a reply can only have come through it.
    const proxy = createServer((request, response) => {
      asked.push(request.url ?? "");
      say("by the proxy itself")({ url: "", headers: {}, body: "" }, response);
    }).on("connect", (request, client) => {
      asked.push(request.url ?? "");
      const upstream = connect(Number(port), "127.0.0.1", () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n");
        upstream.pipe(client).pipe(upstream);
      });
      client.on("error", () => upstream.destroy());
      upstream.on("error", () => client.destroy());
    });
    await new Promise<void>((resolve) => {
      proxy.listen(0, "127.0.0.1", resolve);
    });
    onTestFinished(() => {
      proxy.closeAllConnections();
      proxy.close();
    });
    const network = { httpProxy: `http://127.0.0.1:${String((proxy.address() as AddressInfo).port)}` };
    const far = openJudge(createRemoteAnswerer({ baseUrl: "http://judge.invalid/v1", model: "m", network }), {});
    await far.ask(REQUEST);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toContain("judge.invalid");
    const near = openJudge(createRemoteAnswerer({ baseUrl: endpoint.baseUrl, model: "m", network }), {});
    expect((await near.ask({ ...REQUEST, temperature: 0 })).text).toBe("ok");
    expect(asked).toHaveLength(1);
  });
});

describe("many at once", () => {
  test("no more than the bound are open, and each item has its own reply", async () => {
    const { endpoint, judge } = await openAt(
      (request, response) => {
        const { temperature } = JSON.parse(request.body) as { temperature: number };
        setTimeout(() => {
          say(`got ${String(temperature)}`)(request, response);
        }, 5);
      },
      {},
      { concurrency: 3 },
    );
    const replies = await Promise.all(Array.from({ length: 12 }, (_, index) => judge.ask({ ...REQUEST, temperature: index })));
    expect(replies.map(({ text }) => text)).toEqual(replies.map((_, index) => `got ${String(index)}`));
    expect(endpoint.mostOpen()).toBe(3);
  });

  test("of items that meet every fault, each is scored once or reported", async () => {
    const faults = [sendJson(429, {}), cutOff, sendJson(500, {}), sendText(200, "no", "text/plain")];
    const tries = new Map<string, number>();
    const { judge } = await openAt(
      (request, response) => {
        const { temperature: item } = JSON.parse(request.body) as { temperature: number };
        const tried = tries.get(String(item)) ?? 0;
        tries.set(String(item), tried + 1);
        // Item n fails n times, each time in another way; with six attempts those from six on are lost.
        (tried < item ? (faults[tried % faults.length] ?? hang) : say(`[[${String(item)}]]`))(request, response);
      },
      {},
      { concurrency: 4 },
    );
    const results = await Promise.allSettled(Array.from({ length: 9 }, (_, item) => judge.ask({ ...REQUEST, temperature: item })));
    expect(results.map((result) => (result.status === "fulfilled" ? result.value.text : (result.reason as { code: string }).code))).toEqual([
      ...[0, 1, 2, 3, 4, 5].map((item) => `[[${String(item)}]]`),
      ...["JUDGE_FAILED", "JUDGE_FAILED", "JUDGE_FAILED"],
    ]);
    expect(judge.usage().numReplies).toBe(6);
    expect([...tries.values()]).toEqual([1, 2, 3, 4, 5, 6, 6, 6, 6]);
  });
});
