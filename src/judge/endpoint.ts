/**
 * One POST to an OpenAI-compatible endpoint: what is sent where, what the answer means. The key goes to the origin it was given
 * for and to no other, and no text that comes back leaves this file before the key was taken out of it. Attempts and pauses are retry.ts.
 */
import { request } from "undici";
import type { Dispatcher } from "undici";
import { dispatcherOf } from "../data/download/http.js";
import type { Network } from "../data/download/http.js";
import { FedllmError, problemError } from "../errors.js";
import type { Secret } from "../util/secret.js";
import { RetryableFailure, retryAfterMs, throwIfAborted } from "./retry.js";

export interface Endpoint {
  /** Up to and without `/chat/completions`. */
  readonly baseUrl: URL;
  readonly key?: Secret;
  readonly network: Pick<Network, "httpProxy" | "httpsProxy" | "noProxy">;
  /** Milliseconds for one attempt, from the connection to the last byte. */
  readonly timeoutMs: number;
}

/** A JSON answer larger than this is none of a judge. */
const MAX_REPLY_BYTES = 4 * 2 ** 20;
const MAX_REDIRECTS = 5;
const MAX_SHOWN = 300;
/** Redirects that keep method and body. */
const KEEPING_REDIRECTS: ReadonlySet<number> = new Set([307, 308]);
const OTHER_REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303]);
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/u;

/**
 * Checks an address. Throws CONFIG_INVALID for other protocols, for a user, a password, a query or a fragment in it, and for a
 * key that would go over plain HTTP to another machine.
 */
export function parseBaseUrl(text: string, options: { readonly hasKey: boolean; readonly allowHttp: boolean }): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const problem = (received: string, remedy: string) =>
    problemError("CONFIG_INVALID", { subject: "judge.baseUrl", expected: "an address such as https://api.example.org/v1", received, remedy });
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) throw problem("something else", "It begins with https:// or http://");
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw problem("one with a user, a password or a query", "Put the key into an environment variable and name that in judge.apiKeyEnv");
  }
  if (options.hasKey && url.protocol === "http:" && !options.allowHttp && !isLoopback(url)) {
    throw problem("plain HTTP to another machine, with a key", "Use https://, or set judge.allowHttp to true if the network between is yours");
  }
  url.pathname = url.pathname.replace(/\/+$/u, "");
  return url;
}

export function isLoopback({ hostname }: URL): boolean {
  return LOOPBACK.test(hostname);
}

/** Sends a JSON body to a path below the base URL and returns the JSON of the answer. Rejects with RetryableFailure, JUDGE_FAILED or CANCELLED. */
export async function postJson(endpoint: Endpoint, path: string, body: unknown, options: { readonly now: number; readonly signal?: AbortSignal | undefined }): Promise<unknown> {
  const deadline = AbortSignal.timeout(endpoint.timeoutMs);
  const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
  try {
    const response = await sendFollowing(endpoint, new URL(`${endpoint.baseUrl.href.replace(/\/+$/u, "")}${path}`), JSON.stringify(body), signal);
    const text = await readBody(response);
    if (response.statusCode !== 200) throw failureOf(endpoint, response, text, options.now);
    return parseReply(response, text);
  } catch (error) {
    throwIfAborted(options.signal);
    if (deadline.aborted) throw new RetryableFailure(`no answer within ${String(endpoint.timeoutMs / 1000)} s`);
    if (error instanceof FedllmError || error instanceof RetryableFailure) throw error;
    throw networkFailure(endpoint, error);
  }
}

async function sendFollowing(endpoint: Endpoint, first: URL, body: string, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
  let url = first;
  for (let redirect = 0; redirect <= MAX_REDIRECTS; redirect++) {
    const isOwnOrigin = url.origin === endpoint.baseUrl.origin;
    const authorization = endpoint.key === undefined || !isOwnOrigin ? {} : { authorization: `Bearer ${endpoint.key.reveal()}` };
    const response = await request(url, {
      method: "POST",
      dispatcher: dispatcherOf(isLoopback(url) ? {} : endpoint.network),
      headers: { "content-type": "application/json", accept: "application/json", "user-agent": "fedllm-native", ...authorization },
      body,
      signal,
    });
    const { location } = response.headers;
    const isOther = OTHER_REDIRECTS.has(response.statusCode);
    if (!isOther && !KEEPING_REDIRECTS.has(response.statusCode)) return response;
    await response.body.dump({ limit: 2 ** 16 }).catch(() => undefined);
    const next = typeof location === "string" && URL.canParse(location, url.href) ? new URL(location, url) : undefined;
    if (isOther || next === undefined || !["http:", "https:"].includes(next.protocol) || (url.protocol === "https:" && next.protocol !== "https:")) {
      throw new FedllmError("JUDGE_FAILED", `the endpoint answers with a redirect (${String(response.statusCode)}) that cannot be followed. Set judge.baseUrl to where it leads`);
    }
    url = next;
  }
  throw new FedllmError("JUDGE_FAILED", `more than ${String(MAX_REDIRECTS)} redirects`);
}

async function readBody({ body }: Dispatcher.ResponseData): Promise<string> {
  const pieces: Buffer[] = [];
  let numBytes = 0;
  for await (const piece of body as AsyncIterable<Buffer>) {
    numBytes += piece.length;
    if (numBytes > MAX_REPLY_BYTES) {
      body.destroy();
      throw new FedllmError("JUDGE_FAILED", `an answer of more than ${String(MAX_REPLY_BYTES / 2 ** 20)} MiB`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

function parseReply({ headers }: Dispatcher.ResponseData, text: string): unknown {
  const contentType = String(headers["content-type"] ?? "none");
  if (!/^application\/json\b/iu.test(contentType)) throw new RetryableFailure("an answer that is not JSON by its content type");
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new RetryableFailure("an answer that is not JSON");
  }
}

function failureOf(endpoint: Endpoint, { statusCode, headers }: Dispatcher.ResponseData, text: string, now: number): Error {
  const { message, code } = errorIn(text);
  // What a server says of a key that it refuses may hold parts of it.
  const words = statusCode === 401 || statusCode === 403 || message === undefined ? "" : `: ${shown(endpoint, message)}`;
  const described = `the endpoint answered ${String(statusCode)}${words}`;
  const isFinal = statusCode === 429 ? code === "insufficient_quota" : statusCode < 500;
  if (!isFinal) return new RetryableFailure(described, retryAfterMs(headers, now));
  const remedies: Readonly<Record<number, string>> = {
    401: "Check the key in the variable that judge.apiKeyEnv names",
    403: "Check the key in the variable that judge.apiKeyEnv names, and what it may use",
    404: "Check judge.baseUrl and judge.model",
    429: "The account has nothing left",
  };
  const remedy = remedies[statusCode];
  return new FedllmError("JUDGE_FAILED", remedy === undefined ? described : `${described}. ${remedy}`);
}

/** OpenAI's form of an error, or none. */
function errorIn(text: string): { readonly message?: string; readonly code?: string } {
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown; code?: unknown } | string };
    if (typeof error === "string") return { message: error };
    const { message, code } = error ?? {};
    return { ...(typeof message === "string" ? { message } : {}), ...(typeof code === "string" ? { code } : {}) };
  } catch {
    return {};
  }
}

/** Bytes of a certificate that is not trusted do not change by asking again. */
const CERTIFICATE_ERROR = /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL/u;

function networkFailure(endpoint: Endpoint, error: unknown): Error {
  const { code, message } = error instanceof Error ? (error as Error & { code?: unknown }) : { code: undefined, message: "unknown" };
  const described = `${endpoint.baseUrl.host} cannot be reached (${shown(endpoint, typeof code === "string" ? code : message)})`;
  return typeof code === "string" && CERTIFICATE_ERROR.test(code) ? new FedllmError("JUDGE_FAILED", described) : new RetryableFailure(described);
}

function shown({ key }: Endpoint, text: string): string {
  const clean = key?.removeWithParts(text) ?? text;
  return clean.length > MAX_SHOWN ? `${clean.slice(0, MAX_SHOWN)}…` : clean;
}
