/**
 * A judge as metrics see it: an endpoint or a model file behind a bound on how much is asked at once, a cache by request, and counts of
 * what it cost. Equal requests that come together are asked once.
 */
import { createHash } from "node:crypto";
import type { Judge, JudgeReply } from "../benchmarks/metric.js";
import { isFedllmError } from "../errors.js";
import { canonicalJson } from "../util/canonical-json.js";
import { Slots } from "../util/slots.js";
import type { Answer, Answerer, AskRequest } from "./answerer.js";
import { ReplyCache } from "./cache.js";
import { throwIfAborted } from "./retry.js";

/** Money for a million tokens, in whatever currency. */
export interface Prices {
  readonly promptPerMillion: number;
  readonly completionPerMillion: number;
  readonly currency: string;
}

/** What was asked since the judge was opened. Tokens and cost are those of replies that did not come from the cache. */
export interface JudgeUsage {
  readonly numReplies: number;
  readonly numCached: number;
  readonly numPromptTokens: number;
  readonly numCompletionTokens: number;
  /** Replies whose tokens the endpoint did not count; their cost is not in `cost`. */
  readonly numUncounted: number;
  readonly cost?: { readonly amount: number; readonly currency: string };
}

export interface OpenJudge extends Judge {
  ask(request: AskRequest, signal?: AbortSignal): Promise<JudgeReply>;
  usage(): JudgeUsage;
  dispose(): Promise<void>;
}

export interface JudgeBounds {
  /** Requests at once; default 4. */
  readonly concurrency?: number;
  /** SQLite file of earlier replies; absent: none are kept. */
  readonly cacheFile?: string;
  readonly prices?: Prices;
}

const DEFAULT_CONCURRENCY = 4;

/** Puts bounds and cache around what answers; the judge owns it from then on. Throws as ReplyCache. */
export function openJudge(answerer: Answerer, { concurrency = DEFAULT_CONCURRENCY, cacheFile, prices }: JudgeBounds): OpenJudge {
  const slots = new Slots(concurrency);
  const cache = cacheFile === undefined ? undefined : new ReplyCache(cacheFile);
  const underway = new Map<string, Promise<Answer>>();
  const total = { numReplies: 0, numCached: 0, numPromptTokens: 0, numCompletionTokens: 0, numUncounted: 0 };

  const askNew = async (key: string, request: AskRequest, signal?: AbortSignal): Promise<Answer> => {
    const release = await slots.take(signal);
    try {
      const answer = await answerer.answer(request, signal);
      cache?.add(key, answerer.name, answer);
      total.numPromptTokens += answer.usage?.numPromptTokens ?? 0;
      total.numCompletionTokens += answer.usage?.numCompletionTokens ?? 0;
      if (answer.usage === undefined) total.numUncounted++;
      return answer;
    } finally {
      release();
    }
  };

  const ask = async (request: AskRequest, signal?: AbortSignal): Promise<JudgeReply> => {
    const key = hashRequest(answerer, request);
    for (;;) {
      throwIfAborted(signal);
      const known = cache?.find(key);
      if (known !== undefined) return reply(known, true);
      const other = underway.get(key);
      if (other === undefined) break;
      try {
        return reply(await untilAborted(other, signal), true);
      } catch (error) {
        // Who asked first may have been stopped; that is no reason not to ask.
        if (!isFedllmError(error, "CANCELLED")) throw error;
      }
    }
    const own = askNew(key, request, signal);
    underway.set(key, own);
    try {
      return reply(await own, false);
    } finally {
      underway.delete(key);
    }
  };

  const reply = ({ text, usage }: Answer, cached: boolean): JudgeReply => {
    total.numReplies++;
    if (cached) total.numCached++;
    return { text, numPromptTokens: usage?.numPromptTokens ?? 0, numCompletionTokens: usage?.numCompletionTokens ?? 0, cached };
  };

  return {
    name: answerer.name,
    ask,
    usage: () => ({ ...total, ...(prices === undefined ? {} : { cost: costOf(total, prices) }) }),
    dispose: async () => {
      await Promise.allSettled(underway.values());
      await answerer.dispose();
      cache?.close();
    },
  };
}

/** SHA-256 of everything a reply depends on, the same for fields in any order. */
export function hashRequest({ identity }: Pick<Answerer, "identity">, { messages, temperature, maxTokens, ratings, choices }: AskRequest): string {
  const asked = { identity, messages, temperature, maxTokens, ratings, choices };
  return createHash("sha256").update(canonicalJson(asked)).digest("hex");
}

async function untilAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return promise;
  let leave = (): void => undefined;
  const aborted = new Promise<void>((resolve) => {
    leave = resolve;
    signal.addEventListener("abort", leave, { once: true });
  });
  try {
    const first = await Promise.race([promise.then((value) => ({ value })), aborted]);
    if (first !== undefined) return first.value;
    throwIfAborted(signal);
    return await promise;
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

function costOf(total: { readonly numPromptTokens: number; readonly numCompletionTokens: number }, { promptPerMillion, completionPerMillion, currency }: Prices) {
  return { amount: (total.numPromptTokens * promptPerMillion + total.numCompletionTokens * completionPerMillion) / 1e6, currency };
}
