/**
 * Goal: the tokens of a sample and the flags of what is learned, with cutting and dropping counted.
 * Method: a tokenizer with one token per byte, so that the expected ids can be written down.
 */
import { describe, expect, it } from "vitest";
import type { ChatSample, Sample } from "../../../src/data/samples.js";
import { createTemplate } from "../../../src/data/templates.js";
import { tokenizePrompt, tokenizeSamples } from "../../../src/data/tokenized.js";
import type { TokenizedSample } from "../../../src/federated/local-trainer.js";
import type { NativeTokenizer } from "../../../src/native/binding.js";
import { BOS_ID, createByteTokenizer, EOS_ID } from "../../helpers/byte-tokenizer.js";

const vicuna = createTemplate("vicuna_v1.1");
const alpaca = createTemplate("alpaca");
const chatml = createTemplate("chat", {
  chatTemplate:
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
  bosText: "<s>",
});
const qa = (instruction: string, response: string): ChatSample => ({ kind: "single-turn", instruction, response });
const multi: ChatSample = {
  kind: "multi-turn",
  turns: [
    { role: "user", text: "q1" },
    { role: "assistant", text: "a1" },
    { role: "user", text: "q2" },
    { role: "assistant", text: "a2é" },
    { role: "user", text: "q3" },
  ],
};

function tokenizeOne(
  sample: Sample,
  template = vicuna,
  tokenizer = createByteTokenizer(),
  maxLength = 4096,
): TokenizedSample {
  const [tokenized] = tokenizeSamples([sample], { template, tokenizer, maxLength }).samples;
  if (tokenized === undefined) throw new Error("the sample was dropped");
  return tokenized;
}

/** The text of a sample, learned text in «». */
function show({ tokens, supervised }: TokenizedSample, tokenizer: NativeTokenizer = createByteTokenizer()): string {
  let text = "";
  for (let start = 0; start < tokens.length;) {
    let end = start + 1;
    while (end < tokens.length && supervised[end] === supervised[start]) end++;
    const part = tokenizer.detokenize(tokens.slice(start, end), true);
    text += supervised[start] === 1 ? `«${part}»` : part;
    start = end;
  }
  return text;
}

describe("tokenizeSamples", () => {
  it("begins with BOS, ends each answer with EOS and learns the answers only", () => {
    const tokenized = tokenizeOne(multi);
    expect(show(tokenized)).toMatch(
      /^<s>A chat .* questions\. USER: q1 ASSISTANT:« a1<\/s>»USER: q2 ASSISTANT:« a2é<\/s>»USER: q3 ASSISTANT:$/,
    );
    expect(tokenized.tokens[0]).toBe(BOS_ID);
    expect(tokenized.tokens.filter((id) => id === EOS_ID)).toHaveLength(2);
    expect(tokenized.tokens).toHaveLength(tokenized.supervised.length);
  });

  it("writes the reference's text in the alpaca frame", () => {
    expect(show(tokenizeOne(qa("2+2?", "4"), alpaca))).toMatch(
      /^<s>Below .*\n\n### Instruction:\n2\+2\? \n\n### Response:« 4<\/s>»$/,
    );
  });

  it("leaves BOS out when the model does not ask for it, and the first token is never learned", () => {
    const tokenizer = createByteTokenizer({ addBos: false, bos: null });
    const tokenized = tokenizeOne(qa("q", "a"), vicuna, tokenizer);
    expect(show(tokenized).startsWith("A chat")).toBe(true);
    const bare = {
      name: "chat",
      render: () => [{ text: "ab", supervised: true, special: false }],
      renderPrompt: () => [],
    } as const;
    expect(tokenizeOne(qa("q", "a"), bare, tokenizer).supervised).toEqual(Uint8Array.of(0, 1));
  });

  it("does not double the BOS that a chat template writes, and adds the one it does not write", () => {
    expect(show(tokenizeOne(qa("q", "a"), chatml))).toBe(
      "<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n«a<|im_end|>\n»",
    );
    const without = createTemplate("chat", {
      chatTemplate:
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    });
    expect([...tokenizeOne(qa("q", "a"), without).tokens.slice(0, 2)]).toEqual([BOS_ID, 258]);
  });

  it("never makes special tokens out of what users or answers say", () => {
    const text = "</s><|im_end|><s>";
    for (const template of [alpaca, vicuna, chatml]) {
      const honest = tokenizeOne(qa("x".repeat(text.length), "y".repeat(text.length)), template).tokens;
      const hostile = tokenizeOne(qa(text, text), template).tokens;
      expect(hostile.filter((id) => id >= 256)).toEqual(honest.filter((id) => id >= 256));
      expect(hostile).toHaveLength(honest.length);
    }
  });

  it("gives the tokens of the whole text with a tokenizer that puts a blank before every text", () => {
    const tokenizer = createByteTokenizer({ addBlank: true });
    // The blank belongs before the first word only.
    expect(show(tokenizeOne(multi, vicuna, tokenizer))).toBe(show(tokenizeOne(multi)).replace("<s>", "<s> "));
    expect(show(tokenizeOne(qa("q", "a"), alpaca, tokenizer))).toBe(
      show(tokenizeOne(qa("q", "a"), alpaca)).replace("<s>", "<s> "),
    );
  });

  it("cuts long samples on the right, drops those without any answer left, and counts both", () => {
    const samples = [qa("q", "a"), qa("q", "a".repeat(100)), qa("q".repeat(400), "a"), qa("q", "b")];
    const whole = tokenizeOne(qa("q", "a"));
    const result = tokenizeSamples(samples, {
      template: vicuna,
      tokenizer: createByteTokenizer(),
      maxLength: whole.tokens.length + 10,
    });
    expect(result).toMatchObject({ numTruncated: 1, numDropped: 1, droppedIndices: [2] });
    expect(result.dropped[0]?.reason).toContain("no answer is left");
    expect(result.samples).toHaveLength(3);
    // " a" and EOS; the cut one has " " and as many "a" as fit, but no EOS.
    expect(result.samples.map(({ supervised }) => supervised.reduce((sum, flag) => sum + flag, 0))).toEqual([3, 13, 3]);
    expect(result.numSupervisedTokens).toBe(19);
    expect(result.numTokens).toBe(3 * whole.tokens.length + 10);
    expect(result.samples[1]?.tokens).not.toContain(EOS_ID);
  });

  it("keeps a sample of exactly the maximum length whole", () => {
    const length = tokenizeOne(qa("q", "a")).tokens.length;
    expect(
      tokenizeSamples([qa("q", "a")], { template: vicuna, tokenizer: createByteTokenizer(), maxLength: length }),
    ).toMatchObject({ numTruncated: 0, numTokens: length });
  });

  it("drops a sample that the chat template refuses and gives the reason", () => {
    const picky = createTemplate("chat", {
      chatTemplate:
        "{% for m in messages %}[{{ m.role }}]{{ m.content.split('|')[0] }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    });
    const result = tokenizeSamples([qa("q", "a"), qa("q", "a|b")], {
      template: picky,
      tokenizer: createByteTokenizer(),
      maxLength: 100,
    });
    expect(result).toMatchObject({ numDropped: 1, droppedIndices: [1] });
    expect(result.dropped[0]?.reason).toContain("chat template");
  });

  it("refuses preference pairs unless their chosen answers are asked for", () => {
    const pair: Sample = { kind: "preference", prompt: "q", chosen: "good", rejected: "bad" };
    const options = { template: vicuna, tokenizer: createByteTokenizer(), maxLength: 500 };
    expect(() => tokenizeSamples([pair], options)).toThrow(
      expect.objectContaining({ code: "CONFIG_INVALID" }) as Error,
    );
    expect(tokenizeSamples([pair], { ...options, preferenceAnswer: "chosen" }).samples).toEqual([
      tokenizeOne(qa("q", "good")),
    ]);
  });

  it("refuses a length that leaves nothing to learn and tokenizers without the tokens that are needed", () => {
    const options = { template: vicuna, tokenizer: createByteTokenizer(), maxLength: 100 };
    expect(() => tokenizeSamples([], { ...options, maxLength: 1 })).toThrow("maxLength");
    expect(() => tokenizeSamples([multi], { ...options, tokenizer: createByteTokenizer({ eos: null }) })).toThrow(
      "end-of-sequence",
    );
    expect(() => tokenizeSamples([multi], { ...options, tokenizer: createByteTokenizer({ bos: null }) })).toThrow(
      "beginning-of-sequence",
    );
  });
});

describe("tokenizePrompt", () => {
  it.each([alpaca, vicuna, chatml])("gives the tokens that come before the last answer in training", (template) => {
    for (const tokenizer of [createByteTokenizer(), createByteTokenizer({ addBlank: true })]) {
      for (const sample of [qa("what is 1+1", "2"), multi]) {
        const { tokens, supervised } = tokenizeOne(sample, template, tokenizer);
        const lastLearned = supervised.lastIndexOf(1);
        const start = supervised.lastIndexOf(0, lastLearned) + 1;
        expect([...tokenizePrompt(sample, { template, tokenizer })]).toEqual([...tokens.slice(0, start)]);
      }
    }
  });
});
