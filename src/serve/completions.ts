/** One request from prompt to answer, and the objects of OpenAI's interface that it becomes, whole or in pieces. */
import { randomUUID } from "node:crypto";
import { promptTokenizer, startsWithFrameBlank, templateFor, tokenizeConversation, tokenizeText } from "../generation/chat-prompt.js";
import type { ContextPool, Lease } from "../generation/context-pool.js";
import { generateText } from "../generation/generate.js";
import { JSON_END, grammarOf } from "./answer-form.js";
import { badRequest } from "./api-error.js";
import { drawSeed } from "./completion-request.js";
import type { CompletionRequest } from "./completion-request.js";
import type { ServedModel } from "./served-models.js";

export interface Completion {
  readonly text: string;
  readonly finish: "stop" | "length";
  readonly usage: Usage;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** What hears of an answer while it grows. */
export interface CompletionListener {
  /** The request is good and its model is open; only now can a stream begin. */
  readonly onStart: () => void;
  readonly onText: (piece: string) => void;
}

/** Answers a request. Rejects with ApiError, or as ContextPool.lease and generateText. */
export async function complete(pool: Pick<ContextPool, "lease">, model: ServedModel, request: CompletionRequest, listener: CompletionListener, signal: AbortSignal): Promise<Completion> {
  const lease = await pool.lease(model.files, signal);
  try {
    const { prompt, stopTexts, form } = request;
    const tokenizer = promptTokenizer(lease.model);
    const isText = typeof prompt === "string";
    const template = templateFor(tokenizer, model.template);
    const promptTokens = isText ? tokenizeText(prompt, tokenizer) : tokenizeConversation(prompt, template, tokenizer);
    const maxNewTokens = Math.min(request.maxNewTokens ?? Number.POSITIVE_INFINITY, roomFor(promptTokens.length, lease));
    const grammar = form === undefined ? undefined : await grammarOf(lease, form);
    const writer = new AnswerWriter(!isText && startsWithFrameBlank(template), listener.onText);
    listener.onStart();
    const { temperature, topP, topK, seed = drawSeed() } = request;
    const answer = await generateText(
      lease,
      { promptTokens, maxNewTokens, temperature, topP, topK, seed, stopTexts: [...stopTexts, ...(grammar === undefined ? [] : [JSON_END])], ...(grammar === undefined ? {} : { grammar }) },
      (piece) => {
        writer.write(piece);
      },
      signal,
    );
    const numTokens = answer.tokens.length;
    return { text: writer.text, finish: answer.finish, usage: { prompt_tokens: promptTokens.length, completion_tokens: numTokens, total_tokens: promptTokens.length + numTokens } };
  } finally {
    lease.release();
  }
}

function roomFor(numPromptTokens: number, { contextLength }: Lease): number {
  if (numPromptTokens === 0) throw badRequest("prompt", "prompt: there is nothing to continue, and the model has no token that begins a text");
  const room = contextLength - numPromptTokens;
  if (room > 0) return room;
  throw badRequest("messages", `a prompt of ${String(numPromptTokens)} tokens leaves no room in a context of ${String(contextLength)}`, "context_length_exceeded");
}

/** Leaves out the blank that belongs to the template's frame. */
class AnswerWriter {
  text = "";
  #isFirst: boolean;
  readonly #onText: (piece: string) => void;

  constructor(skipsBlank: boolean, onText: (piece: string) => void) {
    this.#isFirst = skipsBlank;
    this.#onText = onText;
  }

  write(piece: string): void {
    const kept = this.#isFirst && piece.startsWith(" ") ? piece.slice(1) : piece;
    this.#isFirst = false;
    if (kept === "") return;
    this.text += kept;
    this.#onText(kept);
  }
}

/** Which of both interfaces a request came by. */
export type ApiKind = "chat" | "text";

/** The objects of one answer; all have its id. */
export class ResponseObjects {
  readonly #kind: ApiKind;
  readonly #common: { readonly id: string; readonly created: number; readonly model: string };

  constructor(kind: ApiKind, model: string) {
    this.#kind = kind;
    this.#common = { id: `${kind === "chat" ? "chatcmpl" : "cmpl"}-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
  }

  whole({ text, finish, usage }: Completion): unknown {
    const choice = this.#kind === "chat" ? { message: { role: "assistant", content: text, refusal: null } } : { text };
    return { ...this.#common, object: this.#kind === "chat" ? "chat.completion" : "text_completion", choices: [{ index: 0, ...choice, logprobs: null, finish_reason: finish }], usage };
  }

  /** The first piece of a chat, which says whose the words are; plain completions have none. */
  first(): unknown {
    return this.#kind === "chat" ? this.#piece({ delta: { role: "assistant", content: "" } }, null) : undefined;
  }

  text(piece: string): unknown {
    return this.#piece(this.#kind === "chat" ? { delta: { content: piece } } : { text: piece }, null);
  }

  last(finish: Completion["finish"]): unknown {
    return this.#piece(this.#kind === "chat" ? { delta: {} } : { text: "" }, finish);
  }

  counts(usage: Usage): unknown {
    return { ...this.#common, object: this.#pieceName(), choices: [], usage };
  }

  #piece(content: object, finish: Completion["finish"] | null): unknown {
    return { ...this.#common, object: this.#pieceName(), choices: [{ index: 0, ...content, logprobs: null, finish_reason: finish }] };
  }

  #pieceName(): string {
    return this.#kind === "chat" ? "chat.completion.chunk" : "text_completion";
  }
}
