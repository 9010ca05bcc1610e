/**
 * Who may ask. The server is on loopback, where every program of the machine and every page in its browser can reach it: a token keeps programs of other users away, the
 * names of host and origin keep pages away that found a way round the browser's rules (DNS rebinding). Nothing is ever allowed across origins.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { problemError } from "../errors.js";
import { isLoopbackName } from "../util/loopback.js";
import type { Secret } from "../util/secret.js";
import { ApiError } from "./api-error.js";

/** Throws CONFIG_INVALID for a host that others reach, where nobody is asked for a token. */
export function checkOpenHost(host: string): void {
  if (isLoopbackName(host)) return;
  throw problemError("CONFIG_INVALID", { subject: "--host", expected: "127.0.0.1, ::1 or localhost without a token", received: host, remedy: "Leave --no-token out" });
}

export interface AccessRules {
  readonly token?: Secret;
  /** Whether the server is reachable from this machine alone. */
  readonly isLoopback: boolean;
}

/** Throws ApiError 403 for a request that a page of another site may have made. */
export function checkOrigin({ headers }: IncomingMessage, { isLoopback }: AccessRules): void {
  if (isLoopback && !isLoopbackName(nameOf(headers.host ?? ""))) throw new ApiError(403, "the host of the request is not this machine", { code: "forbidden_host" });
  const { origin } = headers;
  if (origin === undefined) return;
  const isOwn = URL.canParse(origin) && (new URL(origin).host === headers.host || (isLoopback && isLoopbackName(new URL(origin).hostname)));
  if (!isOwn) throw new ApiError(403, "requests of pages of other sites are refused", { code: "forbidden_origin" });
}

/** Throws ApiError 401 without the right token. */
export function checkToken({ headers }: IncomingMessage, { token }: AccessRules): void {
  if (token === undefined) return;
  const given = /^Bearer +(\S+)$/iu.exec(headers.authorization ?? "")?.[1];
  if (given !== undefined && timingSafeEqual(digest(given), digest(token.reveal()))) return;
  const message = given === undefined ? "a token is needed: send it as Authorization: Bearer TOKEN" : "this is not the server's token";
  throw new ApiError(401, message, { code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } });
}

/** Hashes have one length, so that comparing them tells nothing. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** The name in a Host header, without the port. */
function nameOf(host: string): string {
  return host.replace(/:\d+$/u, "").toLowerCase();
}
