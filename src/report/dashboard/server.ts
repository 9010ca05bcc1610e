/**
 * The page of a study, live: an HTTP server on loopback that renders it when it is asked and tells open pages by server-sent events when
 * there is something new. Databases are opened read-only, nothing is written, and no file is served: there are two addresses, both below
 * a random token, since every program of the machine can reach a port.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { FedllmError, problemError } from "../../errors.js";
import { isLoopbackName } from "../../util/loopback.js";
import { renderPage } from "../page/page.js";
import type { LiveStudy } from "./live-study.js";
import { renderProgress } from "./progress.js";

export interface DashboardOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Between two looks at the runs' files while a page is open; default: a second. */
  readonly lookEveryMs?: number;
}

export interface RunningDashboard {
  /** With the token. */
  readonly url: string;
  /** Ends open pages' connections and stops listening. */
  stop(): Promise<void>;
}

const LOOK_EVERY_MS = 1000;
/** A comment now and then keeps the connection of a page that hears nothing. */
const BEAT_EVERY_MS = 15_000;
const PAGES_MAX = 32;

const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": "frame-ancestors 'none'",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
};

/** Starts the server. Rejects with CONFIG_INVALID for a host that others can reach, IO_FAILED for a port that is taken. */
export async function startDashboard(live: LiveStudy, options: DashboardOptions): Promise<RunningDashboard> {
  if (!isLoopbackName(options.host)) {
    throw problemError("CONFIG_INVALID", { subject: "--host", expected: "127.0.0.1, ::1 or localhost", received: options.host, remedy: "Use a tunnel such as ssh -L to look from another machine" });
  }
  const token = randomBytes(24).toString("base64url");
  const dashboard = new Dashboard(live, token, options.lookEveryMs ?? LOOK_EVERY_MS);
  const server = createServer((request, response) => {
    void dashboard.handle(request, response);
  });
  await listen(server, options);
  const { port, address, family } = server.address() as AddressInfo;
  return {
    url: `http://${family === "IPv6" ? `[${address}]` : address}:${String(port)}/${token}/`,
    stop: async () => {
      dashboard.stop();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function listen(server: Server, { host, port }: DashboardOptions): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(new FedllmError("IO_FAILED", `cannot listen on ${host}:${String(port)}: ${error.message}`, { cause: error }));
    });
    server.listen(port, host.replace(/^\[|\]$/gu, ""), resolve);
  });
}

class Dashboard {
  readonly #live: LiveStudy;
  readonly #token: string;
  readonly #lookEveryMs: number;
  readonly #pages = new Set<ServerResponse>();
  #told = "";
  #looking: NodeJS.Timeout | undefined;
  #beating: NodeJS.Timeout | undefined;

  constructor(live: LiveStudy, token: string, lookEveryMs: number) {
    this.#live = live;
    this.#token = token;
    this.#lookEveryMs = lookEveryMs;
  }

  /** Answers every request; never rejects. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const refused = this.#refusal(request);
      if (refused !== undefined) sendText(response, ...refused);
      else if (this.#pathOf(request) === "") await this.#sendPage(response);
      else await this.#follow(request, response);
    } catch (error) {
      const message = error instanceof FedllmError ? error.message : "the page could not be made";
      if (response.headersSent) response.end();
      else sendText(response, 500, message);
    }
  }

  stop(): void {
    clearInterval(this.#looking);
    clearInterval(this.#beating);
    for (const page of this.#pages) page.end();
  }

  /** A name of another host means that a page of a stranger has this address under its own name (DNS rebinding). */
  #refusal(request: IncomingMessage): readonly [status: number, message: string] | undefined {
    const host = (request.headers.host ?? "").replace(/:\d+$/u, "").toLowerCase();
    if (!isLoopbackName(host)) return [403, "this address is not served"];
    const site = request.headers["sec-fetch-site"];
    if (site === "cross-site" || site === "same-site") return [403, "requests of other pages are refused"];
    const path = this.#pathOf(request);
    if (path === undefined || (path !== "" && path !== "events")) return [404, "not found"];
    return request.method === "GET" ? undefined : [405, "only GET"];
  }

  /** What comes after the token; undefined without the right one. Addresses are compared as they come: nothing in them is resolved. */
  #pathOf({ url = "" }: IncomingMessage): string | undefined {
    const [, given = "", path] = /^\/([^/]*)\/(.*)$/su.exec(url) ?? [];
    return path !== undefined && timingSafeEqual(digest(given), digest(this.#token)) ? path : undefined;
  }

  async #sendPage(response: ServerResponse): Promise<void> {
    const { study, version } = await this.#live.read();
    const live = { address: `/${this.#token}/`, version, progress: renderProgress(study) };
    const page = renderPage(study, { hrefOf: () => undefined, live });
    response.writeHead(200, { ...HEADERS, "Content-Type": "text/html; charset=utf-8" }).end(page);
  }

  async #follow(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#pages.size >= PAGES_MAX) {
      sendText(response, 503, "too many open pages");
      return;
    }
    response.writeHead(200, { ...HEADERS, "Content-Type": "text/event-stream" });
    this.#pages.add(response);
    request.on("close", () => {
      this.#pages.delete(response);
      if (this.#pages.size > 0) return;
      clearInterval(this.#looking);
      clearInterval(this.#beating);
      this.#looking = undefined;
    });
    response.write(eventOf(await this.#live.version()));
    this.#startLooking();
  }

  /** Nobody looks at the files while no page is open. */
  #startLooking(): void {
    if (this.#looking !== undefined) return;
    let isBusy = false;
    this.#looking = setInterval(() => {
      if (isBusy) return;
      isBusy = true;
      void this.#look().finally(() => {
        isBusy = false;
      });
    }, this.#lookEveryMs);
    this.#beating = setInterval(() => {
      for (const page of this.#pages) page.write(": still here\n\n");
    }, BEAT_EVERY_MS);
  }

  async #look(): Promise<void> {
    const version = await this.#live.version().catch(() => this.#told);
    if (version === this.#told) return;
    this.#told = version;
    for (const page of this.#pages) page.write(eventOf(version));
  }
}

function eventOf(version: string): string {
  return `event: study\ndata: ${version}\n\n`;
}

function sendText(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { ...HEADERS, "Content-Type": "text/plain; charset=utf-8", ...(status === 405 ? { Allow: "GET" } : {}) }).end(`${message}\n`);
}

function digest(value: string): Buffer {
  return createHash("sha256").update(value).digest();
}
