/**
 * The HTTP server: routes, bounds and the life of requests. A request is answered once, whole or as a stream; it ends early when its client leaves or the server
 * stops. What an answer is, is completions.ts; who may ask, access.ts.
 */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { FedllmError } from "../errors.js";
import type { ContextPool } from "../generation/context-pool.js";
import { isLoopbackName } from "../util/loopback.js";
import type { Secret } from "../util/secret.js";
import { checkOpenHost, checkOrigin, checkToken } from "./access.js";
import type { AccessRules } from "./access.js";
import { ApiError, badRequest, toApiError } from "./api-error.js";
import { ResponseObjects, complete } from "./completions.js";
import type { ApiKind } from "./completions.js";
import { parseChatRequest, parseTextRequest } from "./completion-request.js";
import type { CompletionRequest } from "./completion-request.js";
import type { ServedModel } from "./served-models.js";

export interface ServerOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Absent: everybody may ask, which is for loopback only. */
  readonly token?: Secret;
  /** Requests that may wait while others are computed; more are turned away with 429. */
  readonly maxWaiting: number;
  /** Requests that are computed at once; the pool's. */
  readonly parallel: number;
  /** Bytes of one request; more are refused with 413. */
  readonly maxBodyBytes: number;
  /** Hears of each request when it has ended; nothing of what was said. */
  readonly onRequest?: (entry: RequestEntry) => void;
}

export interface RequestEntry {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly durationMs: number;
}

export interface RunningServer {
  /** http://host:port, without /v1. */
  readonly url: string;
  /** Takes no more requests, ends open ones, and resolves when the last has ended. Safe to call twice. */
  stop(): Promise<void>;
}

/** A client that takes longer to send its request is cut off. */
const REQUEST_TIMEOUT_MS = 30_000;
const RETRY_AFTER_S = "2";
const MAX_CONNECTIONS = 512;

/** Starts serving; models and pool stay the caller's. Rejects with CONFIG_INVALID for a host that others reach without a token, IO_FAILED for a port that is taken. */
export async function startServer(models: readonly ServedModel[], pool: Pick<ContextPool, "lease">, options: ServerOptions): Promise<RunningServer> {
  const rules: AccessRules = { isLoopback: isLoopbackName(options.host), ...(options.token === undefined ? {} : { token: options.token }) };
  if (options.token === undefined) checkOpenHost(options.host);
  const service = new Service(models, pool, options, rules);
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    void service.handle(request, response);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, options);
  const { port, address, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${String(port)}`,
    stop: async () => {
      const closed = new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
      await service.stop();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function listen(server: Server, { host, port }: ServerOptions): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(new FedllmError("IO_FAILED", `cannot listen on ${host}:${String(port)}: ${error.message}. Choose another --port`, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
}

class Service {
  readonly #models: readonly ServedModel[];
  readonly #pool: Pick<ContextPool, "lease">;
  readonly #options: ServerOptions;
  readonly #rules: AccessRules;
  readonly #stopping = new AbortController();
  readonly #open = new Set<Promise<void>>();
  #numCompletions = 0;

  constructor(models: readonly ServedModel[], pool: Pick<ContextPool, "lease">, options: ServerOptions, rules: AccessRules) {
    this.#models = models;
    this.#pool = pool;
    this.#options = options;
    this.#rules = rules;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now();
    const { method = "GET" } = request;
    const [path = "/"] = (request.url ?? "/").split("?", 1);
    const work = this.#answer(request, response, method, path).catch((error: unknown) => {
      sendError(response, toApiError(error));
    });
    this.#open.add(work);
    await work;
    this.#open.delete(work);
    this.#options.onRequest?.({ method, path, status: response.statusCode, durationMs: performance.now() - startedAt });
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new FedllmError("CANCELLED", "the server is stopping"));
    await Promise.allSettled(this.#open);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, method: string, path: string): Promise<void> {
    if (this.#stopping.signal.aborted) throw new ApiError(503, "the server is stopping", { code: "stopping" });
    checkOrigin(request, this.#rules);
    if (path === "/health") {
      requireMethod(method, "GET");
      sendJson(response, 200, { status: "ok" });
      return;
    }
    checkToken(request, this.#rules);
    if (path === "/v1/models" || path.startsWith("/v1/models/")) {
      requireMethod(method, "GET");
      sendJson(response, 200, this.#describeModels(path));
      return;
    }
    const kind = kindOf(path);
    requireMethod(method, "POST");
    const body = await readJson(request, this.#options.maxBodyBytes);
    await this.#complete(kind, kind === "chat" ? parseChatRequest(body) : parseTextRequest(body), response);
  }

  #describeModels(path: string): unknown {
    const describe = ({ id, created }: ServedModel) => ({ id, object: "model", created, owned_by: "fedllm-native" });
    if (path === "/v1/models") return { object: "list", data: this.#models.map(describe) };
    return describe(this.#find(decode(path.slice("/v1/models/".length))));
  }

  #find(id: string | undefined): ServedModel {
    const model = id === undefined ? this.#models[0] : this.#models.find((candidate) => candidate.id === id);
    if (model !== undefined) return model;
    throw new ApiError(404, `the model ${JSON.stringify(id?.slice(0, 200) ?? "")} is not served; GET /v1/models lists those that are`, { param: "model", code: "model_not_found" });
  }

  async #complete(kind: ApiKind, request: CompletionRequest, response: ServerResponse): Promise<void> {
    const model = this.#find(request.model);
    const { parallel, maxWaiting } = this.#options;
    if (this.#numCompletions >= parallel + maxWaiting) throw new ApiError(429, "too many requests are waiting", { code: "queue_full", headers: { "retry-after": RETRY_AFTER_S } });
    const left = new AbortController();
    const leave = () => {
      left.abort(new FedllmError("CANCELLED", "the client has left"));
    };
    response.once("close", leave);
    this.#numCompletions++;
    try {
      const signal = AbortSignal.any([left.signal, this.#stopping.signal]);
      const objects = new ResponseObjects(kind, model.id);
      if (request.stream) await this.#stream(model, request, objects, response, signal);
      else sendJson(response, 200, objects.whole(await complete(this.#pool, model, request, { onStart: () => undefined, onText: () => undefined }, signal)));
    } finally {
      this.#numCompletions--;
      response.off("close", leave);
    }
  }

  async #stream(model: ServedModel, request: CompletionRequest, objects: ResponseObjects, response: ServerResponse, signal: AbortSignal): Promise<void> {
    const send = (value: unknown) => {
      if (value !== undefined) response.write(`data: ${JSON.stringify(value)}\n\n`);
    };
    const onStart = () => {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-content-type-options": "nosniff" });
      send(objects.first());
    };
    const onText = (piece: string) => {
      send(objects.text(piece));
    };
    const { finish, usage } = await complete(this.#pool, model, request, { onStart, onText }, signal);
    send(objects.last(finish));
    if (request.countsInStream) send(objects.counts(usage));
    response.end("data: [DONE]\n\n");
  }
}

function kindOf(path: string): ApiKind {
  if (path === "/v1/chat/completions") return "chat";
  if (path === "/v1/completions") return "text";
  throw new ApiError(404, `there is nothing at ${path.slice(0, 200)}`, { code: "unknown_url" });
}

function requireMethod(method: string, wanted: "GET" | "POST"): void {
  if (method !== wanted) throw new ApiError(405, `only ${wanted} is answered here`, { code: "method_not_allowed", headers: { allow: wanted } });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A body of another content type may come from a form of any page, which browsers send without asking; so there is only JSON. */
async function readJson(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  if (!/^application\/json\b/iu.test(request.headers["content-type"] ?? "")) throw new ApiError(415, "the body is to be of the type application/json", { code: "unsupported_media_type" });
  const pieces: Buffer[] = [];
  let numBytes = 0;
  // Leaving the loop must not close the connection, on which the refusal is yet to be said.
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    numBytes += piece.length;
    if (numBytes > maxBytes) throw new ApiError(413, `a request has at most ${String(maxBytes)} bytes`, { code: "request_too_large", headers: { connection: "close" } });
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString("utf8")) as unknown;
  } catch {
    throw badRequest("body", "the body is not JSON", "invalid_json");
  }
}

function sendJson(response: ServerResponse, status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", "x-content-type-options": "nosniff", ...headers }).end(JSON.stringify(value));
}

/** An error before an answer has begun is a status; in a stream it is its last piece, so that what came is not taken for the whole. */
function sendError(response: ServerResponse, error: ApiError): void {
  if (response.destroyed || response.writableEnded) return;
  if (response.headersSent) response.end(`data: ${JSON.stringify(error.body)}\n\n`);
  else sendJson(response, error.status, error.body, error.facts.headers);
}
