/** Bodies of /v1/chat/completions and /v1/completions -> what is to be generated. Fields that would change an answer and cannot be had are refused by name. */
import { z } from "zod";
import type { ChatMessage } from "../benchmarks/metric.js";
import { deriveSeed } from "../util/random.js";
import { badRequest } from "./api-error.js";

/** The form an answer is held to by a grammar. */
export type AnswerForm = { readonly type: "json" } | { readonly type: "schema"; readonly schema: unknown };

export interface CompletionRequest {
  /** Absent: the server's first model. */
  readonly model?: string;
  /** Messages are written by the model's template, a text is taken as it is. */
  readonly prompt: readonly ChatMessage[] | string;
  /** Absent: as many as the context leaves. */
  readonly maxNewTokens?: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  /** From 0 to 2^32 - 2; absent: another one for each request. */
  readonly seed?: number;
  readonly stopTexts: readonly string[];
  readonly form?: AnswerForm;
  readonly stream: boolean;
  /** Whether a stream ends with a piece that counts tokens. */
  readonly countsInStream: boolean;
}

/** As of OpenAI's interface for plain completions. */
const DEFAULT_COMPLETION_TOKENS = 16;
const MAX_STOP_TEXTS = 16;
const MAX_STOP_LENGTH = 256;
/** llama.cpp takes the largest seed as none. */
const NUM_SEEDS = 2 ** 32 - 1;

const stopText = z.string().min(1).max(MAX_STOP_LENGTH);
const tokenLimit = z.int().min(1).nullish();

const commonSchema = z.object({
  model: z.string().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  seed: z.int().nullish(),
  stop: z.union([stopText, z.array(stopText).max(MAX_STOP_TEXTS)]).nullish(),
  max_tokens: tokenLimit,
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  response_format: z
    .union([z.object({ type: z.enum(["text", "json_object"]) }), z.object({ type: z.literal("json_schema"), json_schema: z.object({ schema: z.record(z.string(), z.unknown()) }) })])
    .nullish(),
});

const contentSchema = z.union([z.string(), z.array(z.object({ type: z.literal("text"), text: z.string() })).transform((parts) => parts.map(({ text }) => text).join(""))]);

const chatSchema = commonSchema.extend({
  max_completion_tokens: tokenLimit,
  messages: z.array(z.object({ role: z.enum(["system", "developer", "user", "assistant"]), content: contentSchema })).min(1),
});

const textSchema = commonSchema.extend({ prompt: z.union([z.string(), z.tuple([z.string()])]) });

/** Fields that are refused unless they ask for what happens anyway. */
const REFUSED: readonly { readonly field: string; readonly isHarmless: (value: unknown) => boolean; readonly why: string }[] = [
  { field: "n", isHarmless: (value) => value === 1, why: "one answer is given to each request" },
  { field: "best_of", isHarmless: (value) => value === 1, why: "one answer is given to each request" },
  { field: "logprobs", isHarmless: (value) => value === false, why: "log-probabilities are not given by this server" },
  { field: "top_logprobs", isHarmless: () => false, why: "log-probabilities are not given by this server" },
  { field: "echo", isHarmless: (value) => value === false, why: "the prompt is not repeated" },
  { field: "suffix", isHarmless: (value) => value === "", why: "text is only continued, not filled in" },
  { field: "presence_penalty", isHarmless: (value) => value === 0, why: "penalties are not computed" },
  { field: "frequency_penalty", isHarmless: (value) => value === 0, why: "penalties are not computed" },
  { field: "logit_bias", isHarmless: isEmpty, why: "tokens cannot be favoured" },
  { field: "tools", isHarmless: isEmpty, why: "tools cannot be called" },
  { field: "functions", isHarmless: isEmpty, why: "functions cannot be called" },
  { field: "tool_choice", isHarmless: (value) => value === "none" || value === "auto", why: "tools cannot be called" },
  { field: "audio", isHarmless: () => false, why: "answers are text" },
  { field: "modalities", isHarmless: (value) => JSON.stringify(value) === '["text"]', why: "answers are text" },
];

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** Reads the body of a chat request. Throws ApiError 400. */
export function parseChatRequest(body: unknown): CompletionRequest {
  const fields = parse(chatSchema, body);
  const messages = fields.messages.map(({ role, content }): ChatMessage => ({ role: role === "developer" ? "system" : role, content }));
  const maxNewTokens = fields.max_completion_tokens ?? fields.max_tokens;
  return { ...commonOf(fields), prompt: messages, ...(typeof maxNewTokens === "number" ? { maxNewTokens } : {}) };
}

/** Reads the body of a plain completion. Throws ApiError 400. */
export function parseTextRequest(body: unknown): CompletionRequest {
  const fields = parse(textSchema, body);
  const { prompt } = fields;
  return { ...commonOf(fields), prompt: typeof prompt === "string" ? prompt : prompt[0], maxNewTokens: fields.max_tokens ?? DEFAULT_COMPLETION_TOKENS };
}

function parse<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw badRequest("body", "the body is to be a JSON object");
  for (const { field, isHarmless, why } of REFUSED) {
    const value: unknown = Reflect.get(body, field);
    if (value === undefined || value === null || isHarmless(value)) continue;
    throw badRequest(field, `${field}: ${why}; leave the field out`, "unsupported_parameter");
  }
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = (issue?.path ?? []).map(String).join(".");
  throw badRequest(path, `${path}: ${issue?.message ?? "invalid"}`);
}

function commonOf(fields: z.output<typeof commonSchema>): Omit<CompletionRequest, "prompt" | "maxNewTokens"> {
  const { model, temperature, top_p: topP, top_k: topK, seed, stop, response_format: format } = fields;
  return {
    ...(typeof model === "string" ? { model } : {}),
    temperature: temperature ?? 1,
    topP: topP ?? 1,
    topK: topK ?? 0,
    ...(typeof seed === "number" ? { seed: seedOf(seed) } : {}),
    stopTexts: typeof stop === "string" ? [stop] : (stop ?? []),
    ...(format === null || format === undefined || format.type === "text" ? {} : { form: format.type === "json_schema" ? { type: "schema", schema: format.json_schema.schema } : { type: "json" } }),
    stream: fields.stream === true,
    countsInStream: fields.stream_options?.include_usage === true,
  };
}

/** Seeds of clients are any whole numbers. */
function seedOf(seed: number): number {
  return seed >= 0 && seed < NUM_SEEDS ? seed : deriveSeed(seed, "serve") % NUM_SEEDS;
}

/** A seed for a request that names none. */
export function drawSeed(): number {
  return Math.floor(Math.random() * NUM_SEEDS);
}
