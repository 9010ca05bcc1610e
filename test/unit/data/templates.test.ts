/** Goal: the two frames of FedLLM-Bench come out letter by letter, and exactly the answers with their ends are learned. */
import { describe, expect, it } from "vitest";
import { joinSegments, lastAnswerOf, TEMPLATE_NAMES } from "../../../src/data/prompt-template.js";
import type { Segment } from "../../../src/data/prompt-template.js";
import type { ChatSample } from "../../../src/data/samples.js";
import { createTemplate } from "../../../src/data/templates.js";

const single: ChatSample = { kind: "single-turn", instruction: "Add 1 and 2.", response: "3" };
const multi: ChatSample = {
  kind: "multi-turn",
  turns: [
    { role: "user", text: "q1" },
    { role: "assistant", text: "a1" },
    { role: "user", text: "q2" },
    { role: "assistant", text: "a2" },
  ],
};
const open: ChatSample = { kind: "multi-turn", turns: [...multi.turns, { role: "user", text: "q3" }] };
const learned = (segments: readonly Segment[]): string[] =>
  segments.filter((segment) => segment.supervised).map((segment) => joinSegments([segment], "</s>"));

describe("alpaca", () => {
  const template = createTemplate("alpaca");

  it("writes the training frame with a blank after the instruction and none at the end of the prompt", () => {
    expect(joinSegments(template.render(single), "</s>")).toBe(
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd 1 and 2. \n\n### Response: 3</s>",
    );
    expect(joinSegments(template.renderPrompt(single))).toBe(
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd 1 and 2. \n\n### Response:",
    );
  });

  it("writes conversations in the chat frame", () => {
    const system =
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
    expect(joinSegments(template.render(multi), "</s>")).toBe(
      `${system}\n\n### Instruction: q1\n\n### Response: a1</s>### Instruction: q2\n\n### Response: a2</s>`,
    );
    expect(joinSegments(template.renderPrompt(multi), "</s>")).toBe(
      `${system}\n\n### Instruction: q1\n\n### Response: a1</s>### Instruction: q2\n\n### Response:`,
    );
  });

  it("puts an input on a line of its own after the instruction", () => {
    const text = joinSegments(
      template.render({ kind: "single-turn", instruction: "Sort.", input: "b a", response: "a b" }),
    );
    expect(text).toContain("### Instruction:\nSort.\nb a \n\n### Response: a b");
  });
});

describe("vicuna_v1.1", () => {
  const template = createTemplate("vicuna_v1.1");
  const system =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.";

  it("writes one exchange and several", () => {
    expect(joinSegments(template.render(single), "</s>")).toBe(`${system} USER: Add 1 and 2. ASSISTANT: 3</s>`);
    expect(joinSegments(template.render(multi), "</s>")).toBe(
      `${system} USER: q1 ASSISTANT: a1</s>USER: q2 ASSISTANT: a2</s>`,
    );
    expect(joinSegments(template.renderPrompt(multi), "</s>")).toBe(
      `${system} USER: q1 ASSISTANT: a1</s>USER: q2 ASSISTANT:`,
    );
  });

  it("keeps a last question without an answer as masked text, and prompts for the last answer", () => {
    expect(joinSegments(template.render(open), "</s>")).toBe(
      `${system} USER: q1 ASSISTANT: a1</s>USER: q2 ASSISTANT: a2</s>USER: q3 ASSISTANT:`,
    );
    expect(joinSegments(template.renderPrompt(open), "</s>")).toBe(
      `${system} USER: q1 ASSISTANT: a1</s>USER: q2 ASSISTANT:`,
    );
    expect(lastAnswerOf(open)).toBe("a2");
  });
});

describe("every frame", () => {
  it.each(["alpaca", "vicuna_v1.1"] as const)("learns each answer with its end and nothing else: %s", (name) => {
    const template = createTemplate(name);
    expect(learned(template.render(single))).toEqual([" 3", "</s>"]);
    expect(learned(template.render(multi))).toEqual([" a1", "</s>", " a2", "</s>"]);
    expect(learned(template.render(open))).toEqual([" a1", "</s>", " a2", "</s>"]);
    expect(learned(template.renderPrompt(multi))).toEqual([]);
  });

  it("is made by each name in the list, given a chat template for the last", () => {
    const chatTemplate =
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    expect(TEMPLATE_NAMES.map((name) => createTemplate(name, { chatTemplate }).name)).toEqual([...TEMPLATE_NAMES]);
  });
});
