/**
 * Goal: pairs of token sequences with one prompt, and the reference's rule of cutting them.
 * Method: a tokenizer with one token per byte, so that lengths are lengths of texts and ids can be written down.
 */
import { describe, expect, it } from "vitest";
import { tokenizePairs, truncatePair } from "../../../src/data/preference-tokens.js";
import type { PairTokens, TokenizePairsOptions } from "../../../src/data/preference-tokens.js";
import type { PreferenceSample } from "../../../src/data/samples.js";
import { createTemplate } from "../../../src/data/templates.js";
import { tokenizeSamples } from "../../../src/data/tokenized.js";
import { BOS_ID, createByteTokenizer, EOS_ID } from "../../helpers/byte-tokenizer.js";

const tokenizer = createByteTokenizer();
const chatml = createTemplate("chat", {
  chatTemplate:
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
});
const pair = (prompt: PreferenceSample["prompt"], chosen: string, rejected: string): PreferenceSample => ({ kind: "preference", prompt, chosen, rejected });

function tokenizeOne(sample: PreferenceSample, options: Partial<TokenizePairsOptions> = {}) {
  const result = tokenizePairs([sample], { template: "none", tokenizer, maxLength: 512, maxPromptLength: 128, ...options });
  const [first] = result.samples;
  if (first === undefined) throw new Error(`dropped: ${result.dropped[0]?.reason ?? ""}`);
  return first;
}

const show = (tokens: ArrayLike<number>) => tokenizer.detokenize(Int32Array.from(tokens), true);

describe("the two sequences of a pair", () => {
  it("are the bare texts without BOS and with EOS, the answers supervised", () => {
    const { chosen, rejected } = tokenizeOne(pair("What?", "Yes", "No"));
    expect([show(chosen.tokens), show(rejected.tokens)]).toEqual(["What?Yes</s>", "What?No</s>"]);
    expect([...chosen.supervised]).toEqual([0, 0, 0, 0, 0, 1, 1, 1, 1]);
    expect([...rejected.supervised]).toEqual([0, 0, 0, 0, 0, 1, 1, 1]);
  });

  it("are each tokenized alone in the bare form, so SentencePiece puts its blank before the answer too", () => {
    const withBlank = createByteTokenizer({ addBlank: true });
    const { chosen } = tokenizeOne(pair("What?", "Yes", "No"), { tokenizer: withBlank });
    expect(show(chosen.tokens)).toBe(" What? Yes</s>");
  });

  it.each([createTemplate("alpaca"), createTemplate("vicuna_v1.1"), chatml])("have the tokens of instruction tuning with a template", (template) => {
    for (const used of [tokenizer, createByteTokenizer({ addBlank: true })]) {
      const { chosen, rejected } = tokenizeOne(pair("2+2?", "four", "5"), { template, tokenizer: used });
      for (const [side, response] of [[chosen, "four"], [rejected, "5"]] as const) {
        const instruction = tokenizeSamples([{ kind: "single-turn", instruction: "2+2?", response }], { template, tokenizer: used, maxLength: 512 });
        const [whole] = instruction.samples;
        // A template may write something after the answer, which a pair leaves out.
        expect([...side.tokens]).toEqual([...(whole?.tokens.slice(0, side.tokens.length) ?? [])]);
        expect(side.supervised.reduce((sum, flag) => sum + flag, 0)).toBe(instruction.numSupervisedTokens);
      }
      const length = chosen.supervised.indexOf(1);
      expect([...rejected.tokens.slice(0, length)]).toEqual([...chosen.tokens.slice(0, length)]);
      expect(rejected.supervised.indexOf(1)).toBe(length);
      expect(chosen.tokens[0]).toBe(BOS_ID);
    }
  });

  it("supervise the last answer of a conversation only", () => {
    const turns = [
      { role: "user", text: "q1" },
      { role: "assistant", text: "a1" },
      { role: "user", text: "q2" },
    ] as const;
    const { chosen } = tokenizeOne(pair(turns, "good", "bad"), { template: chatml });
    const start = chosen.supervised.indexOf(1);
    expect(show(chosen.tokens.slice(0, start))).toContain("a1<|im_end|>");
    expect(show(chosen.tokens.slice(start))).toBe("good<|im_end|>\n");
    expect(chosen.supervised.lastIndexOf(0)).toBe(start - 1);
  });
});

describe("cutting", () => {
  const tokens = (prompt: number, chosen: number, rejected: number, numFixed = 0): PairTokens => ({
    prompt: Array.from({ length: prompt }, (_, index) => index),
    numFixed,
    chosen: Array.from({ length: chosen }, (_, index) => 1000 + index),
    rejected: Array.from({ length: rejected }, (_, index) => 2000 + index),
  });
  const lengths = { maxLength: 512, maxPromptLength: 128 };
  const cutLengths = (whole: PairTokens) => {
    const { prompt, chosen, rejected } = truncatePair(whole, lengths);
    return [prompt.length, chosen.length, rejected.length];
  };

  // Worked out from the rule: 512 in all, 128 of the prompt, 384 of each answer.
  it.each([
    { given: [200, 312, 10], left: [200, 312, 10] },
    { given: [200, 313, 10], left: [128, 313, 10] },
    { given: [200, 10, 384], left: [128, 10, 384] },
    { given: [200, 385, 10], left: [128, 384, 10] },
    { given: [200, 600, 400], left: [128, 384, 384] },
    { given: [100, 412, 1], left: [100, 412, 1] },
    { given: [100, 413, 1], left: [100, 384, 1] },
    { given: [5000, 1, 1], left: [128, 1, 1] },
  ])("$given tokens become $left", ({ given: [prompt = 0, chosen = 0, rejected = 0], left }) => {
    expect(cutLengths(tokens(prompt, chosen, rejected))).toEqual(left);
  });

  it("keeps the end of the prompt and the beginning of the answers", () => {
    const cut = truncatePair(tokens(200, 600, 3), lengths);
    expect([cut.prompt[0], cut.prompt.at(-1)]).toEqual([72, 199]);
    expect([cut.chosen[0], cut.chosen.at(-1), cut.rejected]).toEqual([1000, 1383, [2000, 2001, 2002]]);
  });

  it("keeps BOS in front of a cut prompt, inside its length", () => {
    const { prompt } = truncatePair(tokens(200, 600, 3, 1), lengths);
    expect([prompt.length, prompt[0], prompt[1], prompt.at(-1)]).toEqual([128, 0, 73, 199]);
    const { chosen } = tokenizeOne(pair("q".repeat(300), "a", "b"), { template: createTemplate("vicuna_v1.1"), maxLength: 64, maxPromptLength: 32 });
    expect(show(chosen.tokens)).toBe(`<s>${"q".repeat(20)} ASSISTANT: a</s>`);
  });

  it("is counted, and a pair whose answers differ only in what was cut is dropped", () => {
    const long = "x".repeat(40);
    const result = tokenizePairs([pair("q", "a", "b"), pair("p".repeat(50), "a", "b"), pair("q", `${long}1`, `${long}2`)], {
      template: "none",
      tokenizer,
      maxLength: 24,
      maxPromptLength: 8,
    });
    expect(result).toMatchObject({ numTruncated: 1, numDropped: 1, droppedIndices: [2] });
    expect(result.dropped[0]?.reason).toContain("begin with the same 16 tokens");
    // q, answer and EOS twice; 8 of the prompt, answer and EOS twice.
    expect([result.numTokens, result.numSupervisedTokens]).toEqual([2 * 3 + 2 * 10, 8]);
    expect(result.samples[1]?.chosen.tokens.at(-1)).toBe(EOS_ID);
  });
});

describe("what cannot be tokenized", () => {
  it("is dropped with a reason: a prompt of several messages without a template", () => {
    const result = tokenizePairs([pair([{ role: "user", text: "q" }], "a", "b")], { template: "none", tokenizer, maxLength: 24, maxPromptLength: 8 });
    expect(result.dropped[0]?.reason).toContain("several messages");
  });

  it("is refused: other samples, lengths that leave no answer, a tokenizer without EOS", () => {
    const options = { template: "none", tokenizer, maxLength: 24, maxPromptLength: 8 } as const;
    expect(() => tokenizePairs([{ kind: "single-turn", instruction: "q", response: "a" }], options)).toThrow("training.objective");
    expect(() => tokenizePairs([], { ...options, maxPromptLength: 24 })).toThrow("data.maxPromptLength");
    expect(() => tokenizePairs([], { ...options, tokenizer: createByteTokenizer({ eos: null }) })).toThrow("end-of-sequence");
  });
});
