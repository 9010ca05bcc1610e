/** Verbs and objects of instructions, as a reader would name them. */
import { describe, expect, test } from "vitest";
import { instructionTypeOf } from "../../../src/analysis/instruction-type.js";

describe("instruction types", () => {
  test.each([
    ["Write a short story about a dragon.", "write", "story", false],
    ["Give me three tips for staying healthy.", "give", "tips", false],
    ["Hello! Could you please list the planets of our solar system?", "list", "planets", false],
    ["I have a long text here. Summarize it in one sentence:\n\nOnce upon a time", "summarize", undefined, false],
    ["Explain how photosynthesis works", "explain", undefined, false],
    ["Translate the following sentence into French: Good morning", "translate", "sentence", false],
    ["What is the capital of France?", "what", "capital", true],
    ["Which countries speak Spanish?", "which", "spanish", true],
    ["I'd like you to create Python code, please.", "create", "code", false],
  ])("%s", (instruction, verb, object, isQuestion) => {
    expect(instructionTypeOf(instruction)).toEqual({ verb, isQuestion, ...(object === undefined ? {} : { object }) });
  });

  test.each(["", "   ", "The weather is nice.", "Quelle est la capitale de la France ?", "Напиши рассказ о драконе", "写一个故事"])("none in %j", (instruction) => {
    expect(instructionTypeOf(instruction)).toBeUndefined();
  });
});
