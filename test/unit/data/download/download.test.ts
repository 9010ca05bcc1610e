/** Downloads from a real server that breaks off, redirects, lies and refuses. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { downloadFile } from "../../../../src/data/download/download.js";
import type { DownloadOptions } from "../../../../src/data/download/download.js";
import { breakOff, refuse, serve, startFileServer } from "../../../helpers/file-server.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const BYTES = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 31 + (index >> 8)) % 251));
const SHA256 = createHash("sha256").update(BYTES).digest("hex");

/** Downloads with short pauses into a new folder. */
function download(url: string, options: Partial<DownloadOptions> = {}) {
  const folder = makeTemporaryFolder();
  const target = join(folder, "file.bin");
  const result = downloadFile({ url, target, network: { isOffline: false }, pauseMs: 5, ...options });
  return { result, folder, target };
}

async function expectWhole({ result, folder, target }: ReturnType<typeof download>) {
  expect(await result).toEqual({ path: target, numBytes: BYTES.length, sha256: SHA256 });
  expect(readFileSync(target).equals(BYTES)).toBe(true);
  expect(readdirSync(folder)).toEqual(["file.bin"]);
}

async function expectFailure({ result, target }: ReturnType<typeof download>, message: string) {
  await expect(result).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining(message) as string });
  expect(existsSync(target)).toBe(false);
}

describe("a server that works", () => {
  test("gives the whole file, with hash and progress", async () => {
    const { origin, requests } = await startFileServer(serve(BYTES));
    const seen: (readonly [number, number | undefined])[] = [];
    await expectWhole(download(`${origin}/f`, { sha256: SHA256.toUpperCase(), numBytes: BYTES.length, onProgress: (received, total) => seen.push([received, total]) }));
    expect(requests).toHaveLength(1);
    expect(seen.at(-1)).toEqual([BYTES.length, BYTES.length]);
  });

  test("may leave the length out", async () => {
    const { origin } = await startFileServer((_request, response) => {
      response.writeHead(200);
      response.write(BYTES.subarray(0, 1000));
      response.end(BYTES.subarray(1000));
    });
    await expectWhole(download(`${origin}/f`));
  });

  test("redirects to another host, which does not see the token", async () => {
    const other = await startFileServer(serve(BYTES));
    const { origin, requests } = await startFileServer([refuse(302, { location: "/g" }), refuse(307, { location: `${other.origin}/h?signature=s` })]);
    await expectWhole(download(`${origin}/f`, { token: { origin, value: "secret" } }));
    expect(requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([["/f", "Bearer secret"], ["/g", "Bearer secret"]]);
    expect(other.requests.map(({ url, headers }) => [url, headers.authorization])).toEqual([["/h?signature=s", undefined]]);
  });
});

describe("a connection that breaks", () => {
  test("is gone on from where it broke", async () => {
    const { origin, requests } = await startFileServer([breakOff(BYTES, 100_000), serve(BYTES)]);
    await expectWhole(download(`${origin}/f`));
    expect(requests[1]?.headers).toMatchObject({ range: "bytes=100000-", "if-range": '"v1"' });
  });

  test("is gone on with by a later call, also of another process", async () => {
    const { origin, requests } = await startFileServer([breakOff(BYTES, 70_000), serve(BYTES)]);
    const first = download(`${origin}/f`, { maxAttempts: 1 });
    await expectFailure(first, "given up after 1 attempts");
    expect(readdirSync(first.folder).sort()).toEqual(["file.bin.partial", "file.bin.partial.json"]);
    const result = downloadFile({ url: `${origin}/f`, target: first.target, network: { isOffline: false }, sha256: SHA256 });
    await expectWhole({ ...first, result });
    expect(requests[1]?.headers.range).toBe("bytes=70000-");
  });

  test("begins anew when the file has changed, or the server does not say which version it is", async () => {
    const changed = await startFileServer([breakOff(Buffer.alloc(300_000, 1), 100_000, '"old"'), serve(BYTES, '"new"')]);
    await expectWhole(download(`${changed.origin}/f`));
    const weak = await startFileServer([breakOff(BYTES, 100_000, 'W/"v1"'), serve(BYTES, 'W/"v1"')]);
    await expectWhole(download(`${weak.origin}/f`));
    expect(weak.requests[1]?.headers.range).toBeUndefined();
  });

  test("begins anew when the part is longer than the file", async () => {
    const { origin } = await startFileServer(serve(BYTES));
    const { target, folder, result } = download(`${origin}/f`);
    await result;
    writeFileSync(`${target}.partial`, Buffer.alloc(400_000));
    writeFileSync(`${target}.partial.json`, JSON.stringify({ url: `${origin}/f`, validator: '"v1"' }));
    await expectWhole({ folder, target, result: downloadFile({ url: `${origin}/f`, target, network: { isOffline: false }, pauseMs: 1 }) });
  });

  test("may break at once after the headers, before anything is read", async () => {
    const { origin } = await startFileServer((_request, response) => {
      response.writeHead(200, { etag: '"v1"', "content-length": String(BYTES.length) });
      response.write(BYTES.subarray(0, 10));
      setImmediate(() => response.destroy());
    });
    for (let attempt = 0; attempt < 5; attempt++) await expectFailure(download(`${origin}/f`, { maxAttempts: 3, pauseMs: 1 }), "given up");
  });

  test("is tried a few times and given up, with what arrived kept", async () => {
    const { origin, requests } = await startFileServer((_request, response) => response.destroy());
    await expectFailure(download(`${origin}/f`, { maxAttempts: 3 }), "given up after 3 attempts");
    expect(requests).toHaveLength(3);
  });
});

describe("a server that lies", () => {
  test("about a length that is too long: given up, not tried for ever", async () => {
    const { origin } = await startFileServer((request, response) => {
      if (request.headers.range !== undefined) refuse(416)(request, response);
      else breakOff(Buffer.concat([BYTES, BYTES]), BYTES.length)(request, response);
    });
    await expectFailure(download(`${origin}/f`, { maxAttempts: 3 }), "given up");
  });

  test("about a length that is too short: the hash shows it, and the file is removed", async () => {
    const { origin } = await startFileServer((_request, response) => {
      response.writeHead(200, { etag: '"v1"', "content-length": "1000" });
      response.end(BYTES.subarray(0, 1000));
    });
    const attempt = download(`${origin}/f`, { sha256: SHA256 });
    await expectFailure(attempt, "received 1000 bytes");
    expect(readdirSync(attempt.folder)).toEqual([]);
  });

  test("about the size that is known: refused before anything arrives", async () => {
    const { origin } = await startFileServer(serve(BYTES));
    await expectFailure(download(`${origin}/f`, { numBytes: 5 }), "expected 5 bytes, received a file of 300000");
  });

  test("about the part it sends: refused", async () => {
    const wrong = (bytes: Buffer) => (_request: unknown, response: ServerResponse) => {
      response.writeHead(206, { etag: '"v1"', "content-range": `bytes 5-${String(bytes.length - 1)}/${String(bytes.length)}`, "content-length": String(bytes.length - 5) }).end(bytes.subarray(5));
    };
    const { origin } = await startFileServer([breakOff(BYTES, 100_000), wrong(BYTES)]);
    await expectFailure(download(`${origin}/f`), "expected the part from byte 100000");
  });
});

describe("a server that refuses", () => {
  test.each([
    [401, "HF_TOKEN"],
    [403, "Accept the terms"],
    [404, "Check the name"],
    [410, "the answer 410"],
  ])("%d ends at once, with what to do", async (status, message) => {
    const { origin, requests } = await startFileServer(refuse(status));
    const attempt = download(`${origin}/f?key=hidden`, { token: { origin, value: "secret-token" } });
    await expectFailure(attempt, message);
    const text = await attempt.result.then(String, String);
    expect(text).not.toContain("secret-token");
    expect(text).not.toContain("hidden");
    expect(requests).toHaveLength(1);
  });

  test("429 waits as long as it was told", async () => {
    const { origin, requests } = await startFileServer([refuse(429, { "retry-after": "1" }), serve(BYTES)]);
    const start = performance.now();
    await expectWhole(download(`${origin}/f`));
    expect(performance.now() - start).toBeGreaterThan(950);
    expect(requests).toHaveLength(2);
  });

  test("503 is tried again, with a date to wait for as well", async () => {
    const { origin, requests } = await startFileServer([refuse(503), refuse(503, { "retry-after": new Date(0).toUTCString() }), serve(BYTES)]);
    await expectWhole(download(`${origin}/f`));
    expect(requests).toHaveLength(3);
  });

  test("endless redirects, other protocols and no address are refused", async () => {
    const { origin } = await startFileServer([refuse(302, { location: "/again" })]);
    await expectFailure(download(`${origin}/f`), "at most 8 redirects");
    const file = await startFileServer(refuse(302, { location: "file:///etc/passwd" }));
    await expectFailure(download(`${file.origin}/f`), "https:// or http://");
    await expectFailure(download("none"), "https:// or http://");
  });
});

describe("the network of the caller", () => {
  test("offline nothing is asked", async () => {
    const { origin, requests } = await startFileServer(serve(BYTES));
    await expectFailure(download(`${origin}/f`, { network: { isOffline: true } }), "offline mode");
    expect(requests).toHaveLength(0);
  });

  test("a proxy carries requests, except to hosts that need none", async () => {
    const { origin, requests } = await startFileServer(serve(BYTES));
    const tunnels: string[] = [];
    const proxy = createServer().on("connect", (request, client) => {
      tunnels.push(request.url ?? "");
      const [host = "", port = ""] = (request.url ?? "").split(":");
      const upstream = connect(Number(port), host, () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n");
        upstream.pipe(client).pipe(upstream);
      });
      client.on("error", () => upstream.destroy());
      upstream.on("error", () => client.destroy());
    });
    proxy.on("request", (request, response) => {
      // A proxy for plain HTTP may be asked without a tunnel.
      tunnels.push(request.url ?? "");
      serve(BYTES)(request, response);
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      proxy.closeAllConnections();
      proxy.close();
    });
    const httpProxy = `http://127.0.0.1:${String((proxy.address() as AddressInfo).port)}`;
    await expectWhole(download(`${origin}/f`, { network: { isOffline: false, httpProxy } }));
    expect(tunnels).toHaveLength(1);
    await expectWhole(download(`${origin}/f`, { network: { isOffline: false, httpProxy, noProxy: "127.0.0.1" } }));
    expect(tunnels).toHaveLength(1);
    expect(requests.length).toBeGreaterThan(0);
  });
});
