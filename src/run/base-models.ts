/**
 * The base model's variants that are open: one for an arm whose clients all train on the same file, several for a federation
 * of mixed precision, where every client trains the one adapter on the file of its device. Those must be the same model:
 * architecture, shapes and tokenizer are compared, whatever the files say about their origin.
 */
import { baseModelOf } from "../config/federation.js";
import type { ArmConfig } from "../config/schema.js";
import type { JobModel } from "../executor/executor.js";
import { problemError } from "../errors.js";
import type { NativeKernelVariants, NativeModelInfo } from "../native/binding.js";
import { assert } from "../util/assert.js";
import type { ModelTokenizer, OpenBaseModel, TrainingEngine } from "./engine.js";
import type { RunListener } from "./events.js";
import { EXACT_VARIANTS } from "./kernel-variants.js";
import type { ModelVariant } from "./model-variants.js";

/**
 * Precisions of an arm's clients, its own first: that one's file is what the adapter is judged with. A device with a file of its
 * own stands here with the file's name.
 */
export function precisionsOf({ precision, federation }: Pick<ArmConfig, "precision" | "federation">): readonly string[] {
  const others = Object.values(federation.devices?.profiles ?? {}).flatMap((profile) => baseModelOf(profile) ?? []);
  return [...new Set([precision, ...others])];
}

/** Opens variants when they are asked for and closes those that are needed no more; several arms may use one at once. */
export class BaseModels {
  readonly #engine: TrainingEngine;
  readonly #variants: ReadonlyMap<string, ModelVariant>;
  readonly #emit: RunListener;
  readonly #kernels: Readonly<Record<string, NativeKernelVariants>>;
  readonly #open = new Map<string, OpenBaseModel>();
  /** By precision, those that are opened at this moment. */
  readonly #opening = new Map<string, Promise<OpenBaseModel>>();
  readonly #numUsers = new Map<string, number>();

  /** kernels: by precision; those that are not named compute exactly. */
  constructor(
    engine: TrainingEngine,
    variants: ReadonlyMap<string, ModelVariant>,
    emit: RunListener,
    kernels: Readonly<Record<string, NativeKernelVariants>> = {},
  ) {
    this.#engine = engine;
    this.#variants = variants;
    this.#emit = emit;
    this.#kernels = kernels;
  }

  /**
   * The models of these precisions, in order, until they are released; others that nobody uses are closed. Throws MODEL_UNSUPPORTED when
   * they are not the same model.
   */
  async open(precisions: readonly string[]): Promise<ReadonlyMap<string, OpenBaseModel>> {
    for (const precision of precisions) this.#numUsers.set(precision, (this.#numUsers.get(precision) ?? 0) + 1);
    for (const [precision, base] of this.#open) {
      if ((this.#numUsers.get(precision) ?? 0) > 0) continue;
      this.#open.delete(precision);
      base.dispose();
    }
    try {
      for (const precision of precisions) await this.#ensureOpen(precision);
      const models = new Map(precisions.map((precision) => [precision, this.#modelOf(precision)]));
      if (models.size > 1) await this.#checkSameModel(precisions);
      return models;
    } catch (error) {
      this.release(precisions);
      throw error;
    }
  }

  /** Who opened them needs them no more; they stay open until another arm needs others. */
  release(precisions: readonly string[]): void {
    for (const precision of precisions) this.#numUsers.set(precision, (this.#numUsers.get(precision) ?? 0) - 1);
  }

  async #ensureOpen(precision: string): Promise<void> {
    if (this.#open.has(precision)) return;
    const opening = this.#opening.get(precision) ?? this.#openVariant(precision);
    this.#opening.set(precision, opening);
    try {
      this.#open.set(precision, await opening);
    } finally {
      this.#opening.delete(precision);
    }
  }

  dispose(): void {
    for (const base of this.#open.values()) base.dispose();
    this.#open.clear();
  }

  async #openVariant(precision: string): Promise<OpenBaseModel> {
    const { path, made } = this.variant(precision);
    const base = await this.#engine.openBaseModel(path, this.#kernels[precision] ?? EXACT_VARIANTS);
    this.#emit({ event: "model_ready", precision, path, weightBytes: base.weightBytes, made });
    return base;
  }

  /** Another file that is computed as a precision's model is; the caller disposes of it. */
  async openBeside(precision: string, path: string): Promise<OpenBaseModel> {
    return this.#engine.openBaseModel(path, this.#kernels[precision] ?? EXACT_VARIANTS);
  }

  variant(precision: string): ModelVariant {
    const variant = this.#variants.get(precision);
    assert(variant !== undefined, "every precision of an arm has a variant");
    return variant;
  }

  /** The file of a precision's model and the kernels that it is computed with. */
  file(precision: string): JobModel {
    const { path, sha256 } = this.variant(precision);
    return { path, sha256, variants: this.#kernels[precision] ?? EXACT_VARIANTS };
  }

  #modelOf(precision: string): OpenBaseModel {
    const base = this.#open.get(precision);
    assert(base !== undefined, "the model was opened");
    return base;
  }

  async #checkSameModel(precisions: readonly string[]): Promise<void> {
    const [first, ...others] = precisions;
    assert(first !== undefined, "an arm has a precision");
    const expected = await this.#describe(first);
    for (const precision of others) {
      const actual = await this.#describe(precision);
      for (const [fact, value] of Object.entries(expected)) {
        const received = new Map<string, unknown>(Object.entries(actual)).get(fact);
        if (received === value) continue;
        throw problemError("MODEL_UNSUPPORTED", {
          subject: `${fact} of ${this.variant(precision).path}`,
          expected: `that of ${this.variant(first).path}, as one adapter is trained on both (${String(value)})`,
          received: String(received),
        });
      }
    }
  }

  async #describe(precision: string): Promise<Readonly<Record<string, unknown>>> {
    const tokenizer = await this.#engine.openTokenizer(this.variant(precision).path);
    try {
      return { ...shapeOf(this.#modelOf(precision).info), ...describeTokenizer(tokenizer) };
    } finally {
      tokenizer.dispose();
    }
  }
}

/** What must agree; bytes and types of the tensors are what may differ. */
function shapeOf(info: NativeModelInfo): Readonly<Record<string, unknown>> {
  const { architecture, numLayers, embeddingLength, feedForwardLength, numHeads, numKvHeads, headLength, vocabularySize, tiedHead } = info;
  return { architecture, numLayers, embeddingLength, feedForwardLength, numHeads, numKvHeads, headLength, vocabularySize, tiedHead };
}

/** Text of several scripts, with digits, spaces and line breaks: two tokenizers that differ split some of it differently. */
const PROBE = "The quick brown fox, 1234567890!\n\tif (a != b) { return \"ä ö ü\"; }  Привет, мир. 你好，世界 नमस्ते 🙂";

function describeTokenizer(tokenizer: ModelTokenizer): Readonly<Record<string, unknown>> {
  const { bosToken, eosToken, addBos, chatTemplate } = tokenizer;
  return { bosToken, eosToken, addBos, chatTemplate, tokens: tokenizer.tokenize(PROBE, true).join(" ") };
}
