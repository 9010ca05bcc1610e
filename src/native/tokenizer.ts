/**
 * The model file's own tokenizer. Only the vocabulary is in memory; opening it does not need the weights. Templates and
 * labels are the data folder's business.
 */
import type { NativeAddon, NativeTokenizer } from "./binding.js";
import { awaitNative, callNative } from "./native-error.js";

export class Tokenizer {
  readonly vocabularySize: number;
  readonly bosToken?: number;
  readonly eosToken?: number;
  /** Whether the model file asks for BOS before a text. */
  readonly addBos: boolean;
  /** The Jinja chat template stored in the model file. */
  readonly chatTemplate?: string;
  private readonly native: NativeTokenizer;

  private constructor(native: NativeTokenizer) {
    const { bosToken, eosToken, chatTemplate } = native;
    this.native = native;
    this.vocabularySize = native.vocabularySize;
    this.addBos = native.addBos;
    if (bosToken !== undefined) this.bosToken = bosToken;
    if (eosToken !== undefined) this.eosToken = eosToken;
    if (chatTemplate !== undefined) this.chatTemplate = chatTemplate;
  }

  /** Opens the vocabulary of a GGUF file. Rejects with MODEL_LOAD_FAILED or MODEL_UNSUPPORTED. */
  static async open(addon: NativeAddon, path: string): Promise<Tokenizer> {
    return new Tokenizer(await awaitNative(() => addon.loadTokenizer(path)));
  }

  /** Token ids of a text. With `parseSpecial` a text such as "</s>" becomes the special token. Adds no BOS or EOS. */
  tokenize(text: string, parseSpecial: boolean): Int32Array {
    return callNative(() => this.native.tokenize(text, parseSpecial));
  }

  /** Text of token ids; special tokens only with `renderSpecial`. Throws CONFIG_INVALID for an id outside the vocabulary. */
  detokenize(tokens: Int32Array, renderSpecial: boolean): string {
    return callNative(() => this.native.detokenize(tokens, renderSpecial));
  }

  /** Frees the native memory; safe to call twice. */
  dispose(): void {
    this.native.dispose();
  }
}
