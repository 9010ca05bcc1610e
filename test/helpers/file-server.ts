/** A real HTTP server on loopback that serves bytes as a list of answers says, one for each request; it keeps what it was asked. */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export interface FileServer {
  /** http://127.0.0.1:port */
  readonly origin: string;
  readonly requests: { readonly method: string; readonly url: string; readonly headers: IncomingMessage["headers"] }[];
}

/** Starts a server; each request takes the next answer, the last one again and again. It ends with the test. */
export async function startFileServer(answers: Answer | readonly Answer[]): Promise<FileServer> {
  const list = typeof answers === "function" ? [answers] : answers;
  const requests: FileServer["requests"] = [];
  const server: Server = createServer((request, response) => {
    const answer = list[Math.min(requests.length, list.length - 1)];
    requests.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    answer?.(request, response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, requests };
}

/** Serves the bytes, whole or the range that was asked for if the version is still the same. */
export function serve(bytes: Buffer, etag = '"v1"', more: Readonly<Record<string, string>> = {}): Answer {
  return (request, response) => {
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
    const isSame = request.headers["if-range"] === undefined || request.headers["if-range"] === etag;
    const start = range === null || !isSame ? 0 : Number(range[1]);
    if (start >= bytes.length && start > 0) {
      response.writeHead(416, { "content-range": `bytes */${String(bytes.length)}` }).end();
      return;
    }
    const part = bytes.subarray(start);
    const headers = { etag, "content-length": String(part.length), ...more };
    if (range !== null && isSame) response.writeHead(206, { ...headers, "content-range": `bytes ${String(start)}-${String(bytes.length - 1)}/${String(bytes.length)}` });
    else response.writeHead(200, headers);
    response.end(request.method === "HEAD" ? undefined : part);
  };
}

/** Serves the bytes and breaks the connection off after so many of them. */
export function breakOff(bytes: Buffer, numSent: number, etag = '"v1"'): Answer {
  return (_request, response) => {
    response.writeHead(200, { etag, "content-length": String(bytes.length) });
    response.write(bytes.subarray(0, numSent), () => setTimeout(() => response.destroy(), 300));
  };
}

/** Answers with a status and headers alone. */
export function refuse(status: number, headers: Readonly<Record<string, string>> = {}): Answer {
  return (_request, response) => {
    response.writeHead(status, headers).end("no");
  };
}
