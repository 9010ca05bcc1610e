/**
 * Contexts of models and adapters, kept for the next request that wants the same. A bounded number works at once, a bounded number is
 * kept, and the one that was not used for longest gives way. Each has one sequence and threads of its own: what a request gets
 * depends on nothing that is computed beside it.
 */
import type { Llama, LlamaContext, LlamaContextSequence, LlamaModel } from "node-llama-cpp";
import { FedllmError, problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { Slots } from "../util/slots.js";
import type { OpenLlama } from "./llama.js";
import { OpenModels, isMemoryError } from "./open-models.js";
import type { OpenModel } from "./open-models.js";

/** What answers: a base model, and maybe an adapter of it. */
export interface GenerationFiles {
  readonly modelPath: string;
  readonly adapterPath?: string;
}

export interface PoolOptions {
  /** Requests that are computed at once; at least 1. */
  readonly parallel: number;
  /** Contexts that are kept; at least `parallel`. */
  readonly maxContexts: number;
  /** Tokens of prompt and answer; less where a model was trained with less. */
  readonly contextLength: number;
  /** Of each context. */
  readonly numThreads: number;
}

/** A context for one request. */
export interface Lease {
  readonly llama: Llama;
  readonly model: LlamaModel;
  readonly sequence: LlamaContextSequence;
  readonly contextLength: number;
  /** Gives it back; may be called twice. */
  release(): void;
}

interface Entry {
  readonly key: string;
  readonly opened: OpenModel;
  readonly context: LlamaContext;
  readonly sequence: LlamaContextSequence;
  readonly contextLength: number;
  isBusy: boolean;
}

/** Tokens of a prompt that are computed at once. */
export const BATCH_SIZE = 512;

export class ContextPool {
  readonly #llama: Llama;
  readonly #models: OpenModels;
  readonly #options: PoolOptions;
  readonly #slots: Slots;
  /** Used last at the end. */
  #entries: Entry[] = [];
  #numOpening = 0;

  /** The libraries stay the caller's. */
  constructor(open: OpenLlama, options: PoolOptions) {
    assert(options.maxContexts >= options.parallel, "every running request has a context");
    this.#llama = open.llama;
    this.#models = new OpenModels(open);
    this.#options = options;
    this.#slots = new Slots(options.parallel);
  }

  /** Requests that wait for their turn. */
  get numWaiting(): number {
    return this.#slots.numWaiting;
  }

  /** Waits for a turn and a context. Rejects with MODEL_LOAD_FAILED, ADAPTER_INVALID, OUT_OF_MEMORY, or CANCELLED after an abort. */
  async lease(files: GenerationFiles, signal?: AbortSignal): Promise<Lease> {
    const leave = await this.#slots.take(signal);
    try {
      const entry = await this.#take(files);
      let isLeased = true;
      const release = () => {
        if (!isLeased) return;
        isLeased = false;
        entry.isBusy = false;
        leave();
      };
      const { sequence, contextLength, opened } = entry;
      return { llama: this.#llama, model: opened.model, sequence, contextLength, release };
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** Frees contexts and models, when their requests have ended; the caller stops those before. */
  async dispose(): Promise<void> {
    const entries = this.#entries.splice(0);
    for (const entry of entries) await disposeEntry(entry);
  }

  async #take(files: GenerationFiles): Promise<Entry> {
    const key = JSON.stringify([files.modelPath, files.adapterPath]);
    const idle = this.#entries.findLast((entry) => entry.key === key && !entry.isBusy);
    if (idle !== undefined) {
      idle.isBusy = true;
      this.#entries = [...this.#entries.filter((entry) => entry !== idle), idle];
      return idle;
    }
    this.#numOpening++;
    try {
      // The model comes first, so that it is not freed and opened again when its last context gives way.
      const opened = await this.#models.open(files.modelPath, files.adapterPath);
      try {
        await this.#makeRoom();
        const made = await this.#createContext(opened.model, files);
        const entry: Entry = { key, opened, ...made, isBusy: true };
        this.#entries.push(entry);
        return entry;
      } catch (error) {
        await opened.release();
        throw error;
      }
    } finally {
      this.#numOpening--;
    }
  }

  async #makeRoom(): Promise<void> {
    while (this.#entries.length + this.#numOpening > this.#options.maxContexts) {
      const index = this.#entries.findIndex((entry) => !entry.isBusy);
      if (index < 0) return;
      const [oldest] = this.#entries.splice(index, 1);
      if (oldest !== undefined) await disposeEntry(oldest);
    }
  }

  async #createContext(model: LlamaModel, { adapterPath, modelPath }: GenerationFiles): Promise<Pick<Entry, "context" | "sequence" | "contextLength">> {
    const contextLength = Math.min(this.#options.contextLength, model.trainContextSize);
    try {
      const context = await model.createContext({
        contextSize: contextLength,
        sequences: 1,
        batchSize: Math.min(BATCH_SIZE, contextLength),
        threads: this.#options.numThreads,
        ...(adapterPath === undefined ? {} : { lora: adapterPath }),
      });
      return { context, sequence: context.getSequence(), contextLength };
    } catch (error) {
      const received = error instanceof Error ? error.message : String(error);
      if (isMemoryError(error)) throw new FedllmError("OUT_OF_MEMORY", `a context of ${String(contextLength)} tokens for ${modelPath}: ${received}`, { cause: error });
      if (adapterPath === undefined) throw new FedllmError("MODEL_LOAD_FAILED", `a context of ${modelPath}: ${received}`, { cause: error });
      throw problemError("ADAPTER_INVALID", { subject: adapterPath, expected: `an adapter of ${modelPath}`, received }, error);
    }
  }
}

async function disposeEntry({ sequence, context, opened }: Entry): Promise<void> {
  await sequence.dispose();
  await context.dispose();
  await opened.release();
}
