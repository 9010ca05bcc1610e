/** A judge behind an OpenAI-compatible endpoint: llama-server, Ollama, vLLM, this program's `serve` and the large services have one. */
import { z } from "zod";
import type { Secret } from "../util/secret.js";
import type { Network } from "../data/download/http.js";
import type { Answer, Answerer, AskRequest } from "./answerer.js";
import { parseBaseUrl, postJson } from "./endpoint.js";
import type { Endpoint } from "./endpoint.js";
import { DEFAULT_RETRY, RetryableFailure, SYSTEM_CLOCK, withRetries } from "./retry.js";
import type { Clock, RetryOptions } from "./retry.js";

export interface RemoteJudgeOptions {
  /** Up to and without `/chat/completions`. */
  readonly baseUrl: string;
  readonly model: string;
  readonly key?: Secret;
  /** Lets a key go over plain HTTP to another machine; default false. */
  readonly allowHttp?: boolean;
  readonly network?: Endpoint["network"] & Partial<Network>;
  /** Instead of what metrics ask for; `omit` sends none, for models that take none. */
  readonly temperature?: number | "omit";
  /** What the endpoint calls the limit of new tokens; default `max_tokens`. */
  readonly tokenLimitField?: "max_tokens" | "max_completion_tokens";
  /** More fields of each request, for example `reasoning_effort`. */
  readonly extraBody?: Readonly<Record<string, unknown>>;
  /** Of one attempt; default 120 s. */
  readonly timeoutMs?: number;
  readonly retry?: Partial<RetryOptions>;
  readonly clock?: Clock;
}

const DEFAULT_TIMEOUT_MS = 120_000;

const count = z.number().int().nonnegative();
const replySchema = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string().nullish(), refusal: z.string().nullish() }) })).min(1),
  usage: z.object({ prompt_tokens: count, completion_tokens: count }).nullish(),
});

/** Makes the client; nothing is sent yet. Throws CONFIG_INVALID for an address that cannot be used. */
export function createRemoteAnswerer(options: RemoteJudgeOptions): Answerer {
  const { model, key, clock = SYSTEM_CLOCK } = options;
  const baseUrl = parseBaseUrl(options.baseUrl, { hasKey: key !== undefined, allowHttp: options.allowHttp === true });
  const retry = { ...DEFAULT_RETRY, ...options.retry };
  const endpoint: Endpoint = {
    baseUrl,
    network: options.network ?? {},
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    ...(key === undefined ? {} : { key }),
  };
  return {
    name: model,
    identity: { baseUrl: baseUrl.href, ...parametersOf(options) },
    answer: async (request, signal) => {
      const body = { ...parametersOf(options), messages: request.messages, ...temperatureOf(options, request), [options.tokenLimitField ?? "max_tokens"]: request.maxTokens };
      const attempt = async () => readReply(await postJson(endpoint, "/chat/completions", body, { now: clock.now(), signal }), key);
      return withRetries(attempt, retry, clock, signal);
    },
    dispose: () => Promise.resolve(),
  };
}

function parametersOf({ model, extraBody = {}, temperature }: RemoteJudgeOptions): Readonly<Record<string, unknown>> {
  return { ...extraBody, model, ...(typeof temperature === "number" ? { temperature } : {}) };
}

function temperatureOf({ temperature }: RemoteJudgeOptions, request: AskRequest): { temperature?: number } {
  return temperature === undefined ? { temperature: request.temperature } : {};
}

/** The text of a reply. An endpoint could send back what it was sent, so the key is taken out of that too. */
function readReply(value: unknown, key: Secret | undefined): Answer {
  const parsed = replySchema.safeParse(value);
  const first = parsed.data?.choices[0];
  if (!parsed.success || first === undefined) throw new RetryableFailure("an answer without choices[0].message.content");
  const { usage } = parsed.data;
  const text = first.message.content ?? first.message.refusal ?? "";
  return {
    text: key?.removeFrom(text) ?? text,
    ...(usage === null || usage === undefined ? {} : { usage: { numPromptTokens: usage.prompt_tokens, numCompletionTokens: usage.completion_tokens } }),
  };
}
