/** Text that is handed on while it grows: no piece is taken back, no part of a stop text is ever shown, and no half character. */
import { expect, test } from "vitest";
import { AnswerText } from "../../../src/generation/generate.js";

/** Lets an answer grow by the given texts of all tokens so far. */
function grow(texts: readonly string[], stopTexts: readonly string[] = []) {
  const pieces: string[] = [];
  const answer = new AnswerText(stopTexts, (piece) => pieces.push(piece));
  for (const text of texts) {
    answer.grow(text);
    if (answer.stopText !== undefined) return { pieces, text: answer.whole, stopText: answer.stopText };
  }
  return { pieces, text: answer.end(), stopText: undefined };
}

/** The text after each of its characters. */
const byCharacter = (text: string) => Array.from({ length: text.length }, (_, index) => text.slice(0, index + 1));

test("without stop texts every token is handed on at once", () => {
  expect(grow(["a", "ab", "abc"]).pieces).toEqual(["a", "b", "c"]);
});

test("a character of several tokens waits until it is whole", () => {
  expect(grow(["a\uFFFD", "a\uFFFD\uFFFD", "a🙂", "a🙂b"]).pieces).toEqual(["a", "🙂", "b"]);
  // What stays half is shown as it is at the end.
  expect(grow(["a\uFFFD"]).text).toBe("a\uFFFD");
});

test("an answer ends before the first stop text, of which nothing is shown", () => {
  const { pieces, text, stopText } = grow(byCharacter("one ##END two"), ["##END", "two"]);
  expect([text, stopText, pieces.join("")]).toEqual(["one ", "##END", "one "]);
});

test("what only begins like a stop text is shown as soon as it is none", () => {
  expect(grow(["x", "x#", "x#y"], ["##"]).pieces).toEqual(["x", "#y"]);
  expect(grow(["x", "x#"], ["##"]).text).toBe("x#");
});

test("a stop text in one token, and of two the earlier one", () => {
  expect(grow(["a STOP b"], ["STOP"]).text).toBe("a ");
  expect(grow(["a b c"], ["c", "b"])).toMatchObject({ text: "a ", stopText: "b" });
});

test("for any text and stop text the pieces are the text before the stop text", () => {
  const letters = ["a", "b"];
  const words = Array.from({ length: 64 }, (_, number) => Array.from({ length: 6 }, (_unused, bit) => letters[(number >> bit) & 1] ?? "").join(""));
  for (const word of words) {
    for (const stop of ["ab", "aab", "bb", "aba"]) {
      const { pieces, text } = grow(byCharacter(word), [stop]);
      const index = word.indexOf(stop);
      expect(text).toBe(index < 0 ? word : word.slice(0, index));
      expect(pieces.join("")).toBe(text);
    }
  }
});
