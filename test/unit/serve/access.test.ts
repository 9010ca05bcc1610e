/**
 * Who is turned away, asked over real sockets with headers that no client library would send. The server has no models: what is tested is
 * decided before any is looked for.
 */
import { request } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import type { ContextPool } from "../../../src/generation/context-pool.js";
import { startServer } from "../../../src/serve/server.js";
import type { ServerOptions } from "../../../src/serve/server.js";
import { Secret } from "../../../src/util/secret.js";

/** Without models nothing ever asks for a context. */
const NO_POOL: Pick<ContextPool, "lease"> = { lease: () => Promise.reject(new Error("nothing is served")) };
const TOKEN = "token-of-the-test-0123";

async function start(changes: Partial<ServerOptions> = {}) {
  const server = await startServer([], NO_POOL, { host: "127.0.0.1", port: 0, maxWaiting: 1, parallel: 1, maxBodyBytes: 1000, ...changes });
  onTestFinished(() => server.stop());
  return server;
}

interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

async function send(url: string, options: { method?: string; headers?: Record<string, string>; body?: string } = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: options.method ?? "GET", headers: options.headers ?? {} }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    sent.on("error", reject);
    sent.end(options.body);
  });
}

const json = { "content-type": "application/json" };
const codeOf = ({ status, body }: Reply) => [status, (JSON.parse(body) as { error: { code: string } }).error.code];

test("a name of another machine in Host, as after DNS rebinding, is refused; those of this machine are not", async () => {
  const { url } = await start();
  const { port } = new URL(url);
  for (const host of ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "0.0.0.0"]) expect(codeOf(await send(`${url}/v1/models`, { headers: { host } }))).toEqual([403, "forbidden_host"]);
  for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, "[::1]:1", "127.5.5.5"]) expect((await send(`${url}/v1/models`, { headers: { host } })).status).toBe(200);
});

test("pages of other sites are refused, and nobody is told that they may ask", async () => {
  const { url } = await start();
  for (const origin of ["https://evil.example", "null", "file://", "http://localhost.evil.example"]) {
    expect(codeOf(await send(`${url}/v1/models`, { headers: { origin } }))).toEqual([403, "forbidden_origin"]);
  }
  const preflight = await send(`${url}/v1/chat/completions`, { method: "OPTIONS", headers: { origin: "http://localhost:3000", "access-control-request-method": "POST" } });
  expect(preflight.status).toBe(405);
  const own = await send(`${url}/v1/models`, { headers: { origin: "http://localhost:3000" } });
  for (const { headers } of [preflight, own]) expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
});

test("a body that a form could send is refused", async () => {
  const { url } = await start();
  for (const contentType of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]) {
    expect(codeOf(await send(`${url}/v1/completions`, { method: "POST", headers: { "content-type": contentType }, body: "{}" }))).toEqual([415, "unsupported_media_type"]);
  }
});

test("the token is asked for before anything is said about models, and is compared whole", async () => {
  const { url } = await start({ token: new Secret(TOKEN) });
  const answers = await Promise.all(
    [undefined, "Bearer ", `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(0, -1)}`, `Basic ${TOKEN}`, TOKEN].map((authorization) =>
      send(`${url}/v1/models/none`, authorization === undefined ? {} : { headers: { authorization } }),
    ),
  );
  for (const answer of answers) expect(codeOf(answer)).toEqual([401, "invalid_api_key"]);
  expect(answers.every(({ body }) => !body.includes(TOKEN.slice(0, 8)))).toBe(true);
  expect(codeOf(await send(`${url}/v1/models/none`, { headers: { authorization: `bearer ${TOKEN}` } }))).toEqual([404, "model_not_found"]);
  expect((await send(`${url}/health`)).status).toBe(200);
});

test("a body that is too large is refused, with a length and without one", async () => {
  const { url } = await start();
  const body = JSON.stringify({ prompt: "x".repeat(5000) });
  const large = { method: "POST", headers: json, body };
  expect(codeOf(await send(`${url}/v1/completions`, { ...large, headers: { ...json, "content-length": String(body.length) } }))).toEqual([413, "request_too_large"]);
  expect(codeOf(await send(`${url}/v1/completions`, { ...large, headers: { ...json, "transfer-encoding": "chunked" } }))).toEqual([413, "request_too_large"]);
});

test("what is no JSON, no path and no method of ours has an error of its own", async () => {
  const { url } = await start();
  expect(codeOf(await send(`${url}/v1/completions`, { method: "POST", headers: json, body: "{" }))).toEqual([400, "invalid_json"]);
  expect(codeOf(await send(`${url}/v1/completions`))).toEqual([405, "method_not_allowed"]);
  expect(codeOf(await send(`${url}/v1/embeddings`, { method: "POST", headers: json, body: "{}" }))).toEqual([404, "unknown_url"]);
  expect(codeOf(await send(`${url}/v1/models/%E0%A4%A`))).toEqual([404, "model_not_found"]);
  expect(codeOf(await send(`${url}/`))).toEqual([404, "unknown_url"]);
  expect((await send(`${url}/health`, { method: "POST" })).status).toBe(405);
});

test("a client that breaks off in its request leaves the server at work", async () => {
  const { url } = await start();
  const { port } = new URL(url);
  await new Promise<void>((resolve) => {
    const socket = connect(Number(port), "127.0.0.1", () => {
      socket.write("POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"prompt\"");
      setTimeout(() => socket.destroy(), 20);
    });
    socket.on("close", () => {
      resolve();
    });
  });
  expect((await send(`${url}/health`)).status).toBe(200);
});

test("addresses that others reach are refused without a token, a taken port is named", async () => {
  const open = { port: 0, maxWaiting: 1, parallel: 1, maxBodyBytes: 1000 };
  for (const host of ["0.0.0.0", "::", "192.168.1.2"]) {
    await expect(startServer([], NO_POOL, { ...open, host })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  }
  const { url } = await start();
  await expect(startServer([], NO_POOL, { ...open, host: "127.0.0.1", port: Number(new URL(url).port) })).rejects.toMatchObject({ code: "IO_FAILED" });
});
