/**
 * Requests of files over HTTP: redirects are followed by hand, so that a token goes to the host it is meant for and no other; proxies
 * are those of the caller. What a server's answer means is decided here, how a file grows from it in download.ts.
 */
import { EnvHttpProxyAgent, request } from "undici";
import type { Dispatcher } from "undici";
import { FedllmError, problemError } from "../../errors.js";

/** How the network is reached. */
export interface Network {
  /** Refuse every request. */
  readonly isOffline: boolean;
  /** Proxies as in the variables http_proxy, https_proxy and no_proxy. */
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
  /** Milliseconds without any byte after which a server counts as gone; default 60 s. */
  readonly timeoutMs?: number;
}

/** A secret and the one origin that may see it. */
export interface Token {
  readonly origin: string;
  readonly value: string;
}

export interface FileRequest {
  readonly url: string;
  readonly network: Network;
  readonly token?: Token;
  readonly headers?: Readonly<Record<string, string>>;
  /** HEAD asks for the headers alone; default GET. */
  readonly method?: "GET" | "HEAD";
  /** Whether redirects are followed; default true. Otherwise the redirect is the answer. */
  readonly followRedirects?: boolean;
}

export type FileResponse = Dispatcher.ResponseData;

const MAX_REDIRECTS = 8;
const DEFAULT_TIMEOUT_MS = 60_000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** The answer to a request, whatever its status. Throws DOWNLOAD_FAILED offline, for bad addresses and endless redirects; network errors pass. */
export async function requestFile(options: FileRequest): Promise<FileResponse> {
  const { network, token, headers = {}, method = "GET", followRedirects = true } = options;
  if (network.isOffline) {
    const remedy = "Give the files with --from, or allow the network (no --offline, no HF_HUB_OFFLINE)";
    throw problemError("DOWNLOAD_FAILED", { subject: withoutQuery(options.url), expected: "a file that is here already", received: "offline mode", remedy });
  }
  let url = parseUrl(options.url);
  const timeout = network.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  for (let redirect = 0; redirect <= MAX_REDIRECTS; redirect++) {
    const authorization = token?.origin === url.origin ? { authorization: `Bearer ${token.value}` } : {};
    const response = await request(url, {
      method,
      dispatcher: dispatcherOf(network),
      headers: { "user-agent": "fedllm-native", ...headers, ...authorization },
      headersTimeout: timeout,
      bodyTimeout: timeout,
    });
    const { location } = response.headers;
    if (!followRedirects || !REDIRECTS.has(response.statusCode) || typeof location !== "string") return response;
    await discard(response);
    const next = parseUrl(location, url);
    if (url.protocol === "https:" && next.protocol !== "https:") throw new FedllmError("DOWNLOAD_FAILED", `${withoutQuery(url.href)}: refused a redirect from https to ${next.protocol}`);
    url = next;
  }
  throw problemError("DOWNLOAD_FAILED", { subject: withoutQuery(options.url), expected: `at most ${String(MAX_REDIRECTS)} redirects`, received: "more" });
}

/** Reads the rest of an answer that nobody needs, so that the connection is free again. */
export async function discard(response: FileResponse): Promise<void> {
  await response.body.dump({ limit: 2 ** 20 }).catch(() => undefined);
}

/** An address for messages: what follows a question mark may be a signature. */
export function withoutQuery(url: string): string {
  const query = url.indexOf("?");
  return query < 0 ? url : `${url.slice(0, query)}?…`;
}

function parseUrl(text: string, base?: URL): URL {
  const url = URL.canParse(text, base?.href) ? new URL(text, base) : undefined;
  if (url !== undefined && (url.protocol === "https:" || url.protocol === "http:")) return url;
  throw problemError("DOWNLOAD_FAILED", { subject: "address", expected: "one that begins with https:// or http://", received: withoutQuery(text).slice(0, 200) });
}

const dispatchers = new Map<string, EnvHttpProxyAgent>();

/** One for each choice of proxies, so that connections are used again. */
export function dispatcherOf({ httpProxy, httpsProxy, noProxy }: Pick<Network, "httpProxy" | "httpsProxy" | "noProxy">): EnvHttpProxyAgent {
  const key = JSON.stringify([httpProxy, httpsProxy, noProxy]);
  const known = dispatchers.get(key);
  if (known !== undefined) return known;
  // Empty values keep the agent from looking at the environment itself.
  const made = new EnvHttpProxyAgent({ httpProxy: httpProxy ?? "", httpsProxy: httpsProxy ?? httpProxy ?? "", noProxy: noProxy ?? "" });
  dispatchers.set(key, made);
  return made;
}
