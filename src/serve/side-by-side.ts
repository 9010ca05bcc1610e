/** One question to several models, such as a base and an adapter of it, each with a conversation of its own. */
import { FedllmError } from "../errors.js";
import type { ChatMessage } from "../benchmarks/metric.js";
import type { ContextPool } from "../generation/context-pool.js";
import { ApiError } from "./api-error.js";
import { complete } from "./completions.js";
import type { ServedModel } from "./served-models.js";

export interface Speaker {
  readonly label: string;
  readonly model: ServedModel;
}

export interface ChatSettings {
  readonly maxNewTokens: number;
  /** 0: greedy. */
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  /** Of every answer, from 0 to 2^32 - 2. */
  readonly seed: number;
  /** Goes before the first question. */
  readonly system?: string | undefined;
}

export interface ChatAnswer {
  readonly speaker: string;
  readonly text: string;
  /** stop: the model ended it; length: the limit of tokens or of the context. */
  readonly finish: "stop" | "length";
  readonly numTokens: number;
}

export class SideBySide {
  readonly #pool: Pick<ContextPool, "lease">;
  readonly #speakers: readonly Speaker[];
  readonly #settings: ChatSettings;
  readonly #histories = new Map<Speaker, ChatMessage[]>();

  constructor(pool: Pick<ContextPool, "lease">, speakers: readonly Speaker[], settings: ChatSettings) {
    this.#pool = pool;
    this.#speakers = speakers;
    this.#settings = settings;
    this.reset();
  }

  /** Forgets what was said. */
  reset(): void {
    const { system } = this.#settings;
    for (const speaker of this.#speakers) this.#histories.set(speaker, system === undefined ? [] : [{ role: "system", content: system }]);
  }

  /**
   * Every speaker's answer, one after another; `onText` gets them in pieces. Rejects with CONFIG_INVALID when a conversation does not fit into the context,
   * CANCELLED after an abort, and as ContextPool.lease; then the question counts as not asked.
   */
  async ask(question: string, onText: (speaker: string, piece: string) => void, signal: AbortSignal): Promise<readonly ChatAnswer[]> {
    const answers: ChatAnswer[] = [];
    for (const speaker of this.#speakers) answers.push(await this.#answer(speaker, question, onText, signal));
    for (const [index, speaker] of this.#speakers.entries()) {
      this.#histories.get(speaker)?.push({ role: "user", content: question }, { role: "assistant", content: answers[index]?.text ?? "" });
    }
    return answers;
  }

  async #answer(speaker: Speaker, question: string, onText: (speaker: string, piece: string) => void, signal: AbortSignal): Promise<ChatAnswer> {
    const { label, model } = speaker;
    const history = this.#histories.get(speaker) ?? [];
    const { maxNewTokens, temperature, topP, topK, seed } = this.#settings;
    const prompt = [...history, { role: "user" as const, content: question }];
    const request = { prompt, maxNewTokens, temperature, topP, topK, seed, stopTexts: [], stream: true, countsInStream: false };
    const listener = {
      onStart: () => undefined,
      onText: (piece: string) => {
        onText(label, piece);
      },
    };
    try {
      const { text, finish, usage } = await complete(this.#pool, model, request, listener, signal);
      return { speaker: label, text, finish, numTokens: usage.completion_tokens };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      throw new FedllmError("CONFIG_INVALID", `${label}: ${error.message}. Begin anew with /reset, or allow more with --context-length`, { cause: error });
    }
  }
}
