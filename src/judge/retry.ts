/** When a request is tried again: how long to wait, and when to give up. Time and chance are given, so that tests need neither. */
import { setTimeout as sleepFor } from "node:timers/promises";
import { FedllmError } from "../errors.js";

export interface RetryOptions {
  /** Attempts in all; at least 1. */
  readonly maxAttempts: number;
  /** Longest first pause in milliseconds, doubled with each further attempt. */
  readonly pauseMs: number;
  /** Longest pause without a word of the server. */
  readonly maxPauseMs: number;
  /** A server that asks for more milliseconds than this ends the request. */
  readonly maxServerPauseMs: number;
}

export const DEFAULT_RETRY: RetryOptions = { maxAttempts: 6, pauseMs: 1000, maxPauseMs: 60_000, maxServerPauseMs: 600_000 };

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Rejects after an abort. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Uniform in [0, 1). */
  random(): number;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    await sleepFor(ms, undefined, signal === undefined ? {} : { signal });
  },
  random: () => Math.random(),
};

/** A failure after which another attempt may help. */
export class RetryableFailure extends Error {
  /** What the server asked to wait. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, retryAfterMs?: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * The pause after a failed attempt (the first is 1): uniform between nothing and the doubled bound ("full jitter"), so that clients
 * that failed together do not come back together; behind what the server asked for, never before it.
 */
export function pauseAfter(attempt: number, { pauseMs, maxPauseMs }: RetryOptions, random: number, retryAfterMs = 0): number {
  return retryAfterMs + random * Math.min(maxPauseMs, pauseMs * 2 ** (attempt - 1));
}

/** Runs attempts until one succeeds. Rejects with JUDGE_FAILED after the last one, with CANCELLED after an abort; other errors pass at once. */
export async function withRetries<T>(attempt: () => Promise<T>, options: RetryOptions, clock: Clock, signal?: AbortSignal): Promise<T> {
  for (let number = 1; ; number++) {
    try {
      return await attempt();
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof RetryableFailure)) throw error;
      const { message, retryAfterMs = 0 } = error;
      if (number >= options.maxAttempts) throw new FedllmError("JUDGE_FAILED", `${message}; given up after ${String(number)} ${number === 1 ? "attempt" : "attempts"}`);
      if (retryAfterMs > options.maxServerPauseMs) {
        throw new FedllmError("JUDGE_FAILED", `${message}; it asks to wait ${String(Math.ceil(retryAfterMs / 1000))} s, which is longer than this program waits`);
      }
      await pause(pauseAfter(number, options, clock.random(), retryAfterMs), clock, signal);
    }
  }
}

async function pause(ms: number, clock: Clock, signal?: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  }
}

/** Throws CANCELLED once the signal is aborted. */
export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted !== true) return;
  throw signal.reason instanceof FedllmError ? signal.reason : new FedllmError("CANCELLED", "the judge's work was stopped");
}

/** What Retry-After (seconds or a date) or retry-after-ms says, in milliseconds; undefined if neither can be read. */
export function retryAfterMs(headers: Readonly<Record<string, string | string[] | undefined>>, now: number): number | undefined {
  const exact = headers["retry-after-ms"];
  if (typeof exact === "string" && /^\d+(\.\d+)?$/u.test(exact)) return Number(exact);
  const value = headers["retry-after"];
  if (typeof value !== "string") return undefined;
  if (/^\d+(\.\d+)?$/u.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
