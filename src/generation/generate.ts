/**
 * One answer, token by token. The context begins empty, unless it goes on, and computes the prompt in pieces of the same length each time, so an answer is
 * a function of model, adapter and request. Text is handed on as soon as no later token can change it.
 */
import { LlamaGrammarEvaluationState } from "node-llama-cpp";
import type { LlamaGrammar, Token } from "node-llama-cpp";
import { FedllmError } from "../errors.js";
import { BATCH_SIZE } from "./context-pool.js";
import type { Lease } from "./context-pool.js";

export interface TextRequest {
  /** At least one, BOS included where the model wants it. */
  readonly promptTokens: ArrayLike<number>;
  /** At least 1; prompt and answer together at most the lease's contextLength. */
  readonly maxNewTokens: number;
  /** 0: greedy. */
  readonly temperature: number;
  /** 0: all. */
  readonly topK: number;
  /** 1: all. */
  readonly topP: number;
  /** From 0 to 2^32 - 1. */
  readonly seed: number;
  /** The answer ends before the first of them; none is empty. */
  readonly stopTexts: readonly string[];
  readonly grammar?: LlamaGrammar;
  /** Takes what the context has computed of the same beginning just before; default: it begins empty. */
  readonly continues?: boolean;
}

export interface TextAnswer {
  readonly text: string;
  readonly tokens: readonly number[];
  /** stop: an end token or a stop text; length: the limit of tokens. */
  readonly finish: "stop" | "length";
  /** The stop text that ended it. */
  readonly stopText?: string;
}

/** Tokens before an answer that the text of its first token may depend on. */
const NUM_TOKENS_BEFORE = 8;

/** Answers. `onText` gets the text in pieces, whose sum is the answer's. Rejects with CANCELLED after an abort, at the next token or piece of the prompt. */
export async function generateText(lease: Lease, request: TextRequest, onText: (piece: string) => void = () => undefined, signal?: AbortSignal): Promise<TextAnswer> {
  const { model, sequence } = lease;
  const prompt = Array.from(request.promptTokens) as Token[];
  const before = prompt.slice(-NUM_TOKENS_BEFORE);
  if (request.continues === true) await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
  else await sequence.clearHistory();
  const lastPiece = await evaluatePrompt(lease, prompt.slice(sequence.nextTokenIndex), signal);

  const tokens: Token[] = [];
  const text = new AnswerText(request.stopTexts, onText);
  throwIfAborted(signal);
  for await (const token of sequence.evaluate(lastPiece, samplingOf(lease, request))) {
    throwIfAborted(signal);
    tokens.push(token);
    text.grow(model.detokenize(tokens, false, before));
    if (text.stopText !== undefined) return { text: text.whole, tokens, finish: "stop", stopText: text.stopText };
    if (tokens.length >= request.maxNewTokens) return { text: text.end(), tokens, finish: "length" };
  }
  return { text: text.end(), tokens, finish: "stop" };
}

/** Computes all but the last piece, which is returned. */
async function evaluatePrompt({ sequence }: Lease, prompt: readonly Token[], signal: AbortSignal | undefined): Promise<Token[]> {
  let start = 0;
  for (; prompt.length - start > BATCH_SIZE; start += BATCH_SIZE) {
    throwIfAborted(signal);
    await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(start, start + BATCH_SIZE));
  }
  return prompt.slice(start);
}

function samplingOf({ model }: Lease, { temperature, topK, topP, seed, grammar }: TextRequest) {
  return {
    temperature,
    topK,
    topP,
    minP: 0,
    seed,
    ...(grammar === undefined ? {} : { grammarEvaluationState: new LlamaGrammarEvaluationState({ model, grammar }) }),
  };
}

/** The text of an answer as it grows: what could still become a stop text or another character is held back. */
export class AnswerText {
  /** Everything that was handed on. */
  whole = "";
  stopText: string | undefined;
  #seen = "";
  readonly #stopTexts: readonly string[];
  readonly #onText: (piece: string) => void;

  constructor(stopTexts: readonly string[], onText: (piece: string) => void) {
    this.#stopTexts = stopTexts;
    this.#onText = onText;
  }

  /** Takes the text of all tokens so far. */
  grow(text: string): void {
    this.#seen = text;
    const stop = this.#firstStop();
    if (stop !== undefined) {
      this.#handOn(stop.index);
      this.stopText = stop.stopText;
      return;
    }
    const settled = text.length - (/\uFFFD+$/u.exec(text)?.[0].length ?? 0);
    this.#handOn(settled - this.#heldBack(text.slice(0, settled)));
  }

  /** The answer is over: what was held back is its text too. */
  end(): string {
    this.#handOn(this.#seen.length);
    return this.whole;
  }

  #firstStop(): { readonly index: number; readonly stopText: string } | undefined {
    return this.#stopTexts
      .map((stopText) => ({ stopText, index: this.#seen.indexOf(stopText, Math.max(0, this.whole.length - stopText.length)) }))
      .filter(({ index }) => index >= 0)
      .sort((left, right) => left.index - right.index)[0];
  }

  /** Length of the longest end of the text with which a stop text begins. */
  #heldBack(text: string): number {
    const lengths = this.#stopTexts.map((stopText) => {
      for (let length = Math.min(stopText.length - 1, text.length); length > 0; length--) if (text.endsWith(stopText.slice(0, length))) return length;
      return 0;
    });
    return Math.max(0, ...lengths);
  }

  #handOn(length: number): void {
    const piece = this.#seen.slice(this.whole.length, length);
    if (piece === "") return;
    this.whole += piece;
    this.#onText(piece);
  }
}

function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted !== true) return;
  throw signal.reason instanceof FedllmError ? signal.reason : new FedllmError("CANCELLED", "generation was stopped");
}
