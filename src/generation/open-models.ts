/**
 * Model files that are open, each once, as long as somebody uses them. llama.cpp frees adapters together with their model only, so a
 * model that has seen many is left to those who use it and opened anew for others.
 */
import type { LlamaModel } from "node-llama-cpp";
import { FedllmError, problemError } from "../errors.js";
import type { OpenLlama } from "./llama.js";

/** Adapters that one opening of a model may hold in memory. */
const MAX_ADAPTERS = 32;

export interface OpenModel {
  readonly model: LlamaModel;
  /** To be called once; the model is freed after the last one. */
  release(): Promise<void>;
}

interface Entry {
  readonly opening: Promise<LlamaModel>;
  readonly adapters: Set<string>;
  numUsers: number;
}

export class OpenModels {
  readonly #open: OpenLlama;
  readonly #entries = new Map<string, Entry>();

  constructor(open: OpenLlama) {
    this.#open = open;
  }

  /** Opens a GGUF model, or takes the one that is open. Rejects with MODEL_LOAD_FAILED or OUT_OF_MEMORY. */
  async open(path: string, adapter?: string): Promise<OpenModel> {
    const entry = this.#entryFor(path, adapter);
    entry.numUsers++;
    try {
      const model = await entry.opening;
      return { model, release: () => this.#release(path, entry) };
    } catch (error) {
      await this.#release(path, entry);
      throw loadError(path, error);
    }
  }

  #entryFor(path: string, adapter: string | undefined): Entry {
    const known = this.#entries.get(path);
    const hasRoom = adapter === undefined || known?.adapters.has(adapter) === true || (known?.adapters.size ?? 0) < MAX_ADAPTERS;
    const { llama, ...layers } = this.#open;
    const entry = known !== undefined && hasRoom ? known : { opening: llama.loadModel({ modelPath: path, ...layers }), adapters: new Set<string>(), numUsers: 0 };
    this.#entries.set(path, entry);
    if (adapter !== undefined) entry.adapters.add(adapter);
    return entry;
  }

  async #release(path: string, entry: Entry): Promise<void> {
    entry.numUsers--;
    if (entry.numUsers > 0) return;
    if (this.#entries.get(path) === entry) this.#entries.delete(path);
    const model = await entry.opening.catch(() => undefined);
    await model?.dispose();
  }
}

function loadError(path: string, error: unknown): FedllmError {
  if (error instanceof FedllmError) return error;
  const received = error instanceof Error ? error.message : String(error);
  if (isMemoryError(error)) return new FedllmError("OUT_OF_MEMORY", `${path}: ${received}`, { cause: error });
  return problemError("MODEL_LOAD_FAILED", { subject: path, expected: "a GGUF model that llama.cpp can open", received }, error);
}

/** node-llama-cpp refuses what would not fit before it tries. */
export function isMemoryError(error: unknown): boolean {
  return error instanceof Error && (error.name === "InsufficientMemoryError" || error.constructor.name === "InsufficientMemoryError");
}
