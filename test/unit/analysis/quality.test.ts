/** IFD from losses worked out by hand, and the frames that stand before an answer without its question. */
import { expect, test } from "vitest";
import { meanState } from "../../../src/analysis/embeddings.js";
import { answerFrame, describeQuality, difficultyOf } from "../../../src/analysis/quality.js";
import { samplesPerClient } from "../../../src/analysis/samples.js";
import { joinSegments } from "../../../src/data/prompt-template.js";
import { createTemplate } from "../../../src/data/templates.js";

test("the quotient of the losses, and what is above 1", () => {
  const findings = [
    { lossGivenInstruction: 1, lossAlone: 2, numTokens: 3 },
    { lossGivenInstruction: 3, lossAlone: 2, numTokens: 1 },
    { skipped: "2000 tokens, more than 1024" },
  ];
  expect(findings.map((finding) => difficultyOf(finding as never))).toEqual([0.5, 1.5, undefined]);
  expect(describeQuality(findings as never)).toMatchObject({
    numScored: 2,
    numSkipped: 1,
    numAboveOne: 1,
    ifd: { count: 2, mean: 1, standardDeviation: 0.5 },
    lossGivenInstruction: { mean: 2 },
    lossAlone: { mean: 2 },
  });
  expect(difficultyOf({ lossGivenInstruction: 0.1, lossAlone: 0, numTokens: 1 })).toBeUndefined();
  expect(describeQuality([])).toBeUndefined();
});

test("the frame is what stands between the question and the answer", () => {
  expect(joinSegments(answerFrame(createTemplate("alpaca")))).toBe("### Response:");
  expect(joinSegments(answerFrame(createTemplate("vicuna_v1.1")))).toBe("ASSISTANT:");
  const chatTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  const chat = answerFrame(createTemplate("chat", { chatTemplate, eosText: "<|im_end|>" }));
  expect(joinSegments(chat)).toBe("<|im_end|>\n<|im_start|>assistant\n");
});

test("a mean of states leaves the first position out where there are others", () => {
  expect([...meanState(Float32Array.of(100, 100, 1, 2, 3, 6), 2)]).toEqual([2, 4]);
  expect([...meanState(Float32Array.of(5, 7), 2)]).toEqual([5, 7]);
});

test("samples for a model are dealt out evenly", () => {
  // 2 + 4 + 4 = 10.
  expect(samplesPerClient([2, 8, 100], 10)).toBe(4);
  expect(samplesPerClient([2, 8, 100], 1000)).toBe(100);
  expect(samplesPerClient([5, 5, 5], 1)).toBe(1);
  expect(samplesPerClient([], 10)).toBe(1);
});
