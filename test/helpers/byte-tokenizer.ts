/**
 * A real tokenizer small enough to check by hand: one token per UTF-8 byte (ids 0 to 255), then the special tokens in
 * the order given. It has the form of NativeTokenizer. With `addBlank` it behaves like SentencePiece and puts a blank
 * before every text that it is given.
 */
import type { NativeTokenizer } from "../../src/native/binding.js";

export interface ByteTokenizerOptions {
  /** Names of special tokens; the first gets id 256. Default: `<s>`, `</s>`, `<|im_start|>`, `<|im_end|>`. */
  readonly specials?: readonly string[];
  /** Default `<s>`; null: the tokenizer has none. */
  readonly bos?: string | null;
  /** Default `</s>`; null: the tokenizer has none. */
  readonly eos?: string | null;
  /** Default true. */
  readonly addBos?: boolean;
  readonly addBlank?: boolean;
  readonly chatTemplate?: string;
}

export const BOS_ID = 256;
export const EOS_ID = 257;

/** Makes a tokenizer; without options BOS is `<s>` (256) and EOS `</s>` (257). */
export function createByteTokenizer(options: ByteTokenizerOptions = {}): NativeTokenizer {
  const specials = options.specials ?? ["<s>", "</s>", "<|im_start|>", "<|im_end|>"];
  const idOf = (name: string | null): { id?: number } => (name === null ? {} : { id: 256 + specials.indexOf(name) });
  const bos = idOf(options.bos === undefined ? "<s>" : options.bos).id;
  const eos = idOf(options.eos === undefined ? "</s>" : options.eos).id;
  return {
    vocabularySize: 256 + specials.length,
    addBos: options.addBos ?? true,
    ...(bos === undefined ? {} : { bosToken: bos }),
    ...(eos === undefined ? {} : { eosToken: eos }),
    ...(options.chatTemplate === undefined ? {} : { chatTemplate: options.chatTemplate }),
    tokenize: (text, parseSpecial) => {
      const given = options.addBlank === true && text !== "" ? ` ${text}` : text;
      return Int32Array.from(parseSpecial ? splitSpecials(given, specials) : Buffer.from(given, "utf8"));
    },
    detokenize: (tokens, renderSpecial) => {
      const pieces = Array.from(tokens, (id) =>
        id < 256 ? Buffer.from([id]) : Buffer.from(renderSpecial ? (specials[id - 256] ?? "") : ""),
      );
      return Buffer.concat(pieces).toString("utf8");
    },
    dispose: () => undefined,
  };
}

/** Ids of a text in which names of special tokens count as one token. */
function splitSpecials(text: string, specials: readonly string[]): number[] {
  const ids: number[] = [];
  let position = 0;
  while (position < text.length) {
    const name = specials.find((candidate) => text.startsWith(candidate, position));
    if (name === undefined) {
      const character = String.fromCodePoint(text.codePointAt(position) ?? 0);
      ids.push(...Buffer.from(character, "utf8"));
      position += character.length;
    } else {
      ids.push(256 + specials.indexOf(name));
      position += name.length;
    }
  }
  return ids;
}
