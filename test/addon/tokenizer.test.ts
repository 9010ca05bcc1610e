/** The model's own tokenizer, compared with node-llama-cpp's use of the same file and with a vocabulary known by hand. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { LlamaLogLevel, getLlama } from "node-llama-cpp";
import { afterAll, describe, expect, test } from "vitest";
import { loadNative } from "../../src/native/load.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { TINY_BOS, TINY_EOS, encodeGguf, makeTinyModel } from "../fixtures/tiny-gguf.js";
import type { GgufContent, GgufValue } from "../fixtures/tiny-gguf.js";
import { makeTestFolder, makeTinyModelFile } from "../helpers/native.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const chatTemplate = "{% for message in messages %}{{ message.content }}{% endfor %}";
const path = makeTinyModelFile(folder, "tiny.gguf", { chatTemplate });
const tokenizer = await Tokenizer.open(addon, path);

afterAll(() => {
  tokenizer.dispose();
});

const texts = [
  "the thing and her",
  "Hello, World!",
  "  two blanks, a tab\tand\na line end ",
  "ünïcödé 日本語 🙂",
  "",
  "</s> as text",
  "x".repeat(5000),
];

describe("a tokenizer", () => {
  test("tells what the file says", () => {
    expect(tokenizer).toMatchObject({
      vocabularySize: 368,
      bosToken: TINY_BOS,
      eosToken: TINY_EOS,
      addBos: true,
      chatTemplate,
    });
  });

  test("has no template where the file has none", async () => {
    const plain = await Tokenizer.open(addon, makeTinyModelFile(folder, "plain.gguf"));
    expect(plain.chatTemplate).toBeUndefined();
    plain.dispose();
  });

  test("merges pieces as the vocabulary says", () => {
    // Pieces start at id 259: th, the, then a blank before a, b, s, t, the; 273 is the blank alone, then characters from "!".
    expect([...tokenizer.tokenize("the", false)]).toEqual([265]);
    expect([...tokenizer.tokenize("Q", false)]).toEqual([273, 274 + "Q".charCodeAt(0) - 33]);
    // Bytes start at id 3.
    expect([...tokenizer.tokenize("é", false)]).toEqual([273, 3 + 0xc3, 3 + 0xa9]);
  });

  test.each(texts.map((text) => [text.slice(0, 40), text]))("gives back the text %j", (_, text) => {
    expect(tokenizer.detokenize(tokenizer.tokenize(text, false), false)).toBe(text);
  });

  test("makes special tokens only when asked, and shows them only when asked", () => {
    expect([...tokenizer.tokenize("a</s>", true)].at(-1)).toBe(TINY_EOS);
    expect([...tokenizer.tokenize("a</s>", false)]).not.toContain(TINY_EOS);
    const tokens = Int32Array.of(TINY_BOS, ...tokenizer.tokenize("a", false), TINY_EOS);
    expect(tokenizer.detokenize(tokens, true)).toBe("<s> a</s>");
    expect(tokenizer.detokenize(tokens, false)).not.toContain("<s>");
  });

  test("agrees with node-llama-cpp on the same file", async () => {
    const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.disabled });
    const model = await llama.loadModel({ modelPath: path });
    for (const text of texts) {
      expect([...tokenizer.tokenize(text, false)]).toEqual([...model.tokenize(text, false)]);
      expect([...tokenizer.tokenize(text, true)]).toEqual([...model.tokenize(text, true)]);
    }
    await llama.dispose();
  });

  test("refuses ids outside the vocabulary", () => {
    for (const id of [-1, 368, 2 ** 31 - 1]) {
      expect(() => tokenizer.detokenize(Int32Array.of(1, id), false)).toThrow(
        expect.objectContaining({
          code: "CONFIG_INVALID",
          message: `tokens[1]: expected a token id in 0..367, received ${id}`,
        }),
      );
    }
  });

  test("can be disposed twice, and refuses any use afterwards", async () => {
    const other = await Tokenizer.open(addon, path);
    other.dispose();
    other.dispose();
    expect(() => other.tokenize("a", false)).toThrow("expected a tokenizer in use, received a disposed one");
  });
});

describe("a vocabulary", () => {
  // A narrow model, since only its metadata matters here.
  const model = makeTinyModel({ embeddingLength: 32 });
  const { "tokenizer.ggml.tokens": tokensValue, ...rest } = model.metadata;
  const tokens = tokensValue !== undefined && "strings" in tokensValue ? tokensValue.strings : [];

  function withVocabulary(metadata: Record<string, GgufValue>): GgufContent {
    return { metadata: { ...model.metadata, ...metadata }, tensors: model.tensors };
  }

  test.each<[string, GgufContent, string]>([
    [
      "with one text twice",
      withVocabulary({ "tokenizer.ggml.tokens": { strings: [...tokens.slice(0, -1), "the"] } }),
      "MODEL_LOAD_FAILED",
    ],
    ["that is missing", { metadata: rest, tensors: model.tensors }, "MODEL_UNSUPPORTED"],
    ["that is empty", withVocabulary({ "tokenizer.ggml.tokens": { strings: [] } }), "MODEL_LOAD_FAILED"],
    ["of numbers", withVocabulary({ "tokenizer.ggml.tokens": { i32s: [1, 2] } }), "MODEL_LOAD_FAILED"],
    ["of an unknown kind", withVocabulary({ "tokenizer.ggml.model": { string: "rwkv" } }), "MODEL_UNSUPPORTED"],
    ["with too few scores", withVocabulary({ "tokenizer.ggml.scores": { f32s: [0, 0] } }), "MODEL_LOAD_FAILED"],
    ["with too few types", withVocabulary({ "tokenizer.ggml.token_type": { i32s: [1] } }), "MODEL_LOAD_FAILED"],
    ["without merges where they are needed", withVocabulary({ "tokenizer.ggml.model": { string: "gpt2" } }), "MODEL_LOAD_FAILED"],
  ])("%s is refused", async (_, content, code) => {
    const bad = join(folder, "bad-vocabulary.gguf");
    writeFileSync(bad, encodeGguf(content));
    await expect(Tokenizer.open(addon, bad)).rejects.toMatchObject({ name: "FedllmError", code });
  });
});
