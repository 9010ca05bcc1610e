/** ROUGE-L against values worked out by hand. */
import { expect, test } from "vitest";
import { rougeL, rougeTokens } from "../../../src/benchmarks/rouge.js";

test("tokens are words without case and punctuation, and characters where words have no blanks between them", () => {
  expect(rougeTokens("Hello, world: it's 3.5!")).toEqual(["hello", "world", "it", "s", "3", "5"]);
  expect(rougeTokens("Straße À ﬁn")).toEqual(["straße", "à", "fin"]);
  expect(rougeTokens("Привет, мир")).toEqual(["привет", "мир"]);
  expect(rougeTokens("नमस्ते दुनिया")).toEqual(["नमस्ते", "दुनिया"]);
  expect(rougeTokens("你好，世界 GPT4です。")).toEqual(["你", "好", "世", "界", "gpt4", "で", "す"]);
  expect(rougeTokens("กิน น้ำ")).toHaveLength(4);
  expect(rougeTokens("한국어 문장")).toEqual(["한국어", "문장"].map((text) => text.normalize("NFKC")));
  expect(rougeTokens(" …!? ")).toEqual([]);
});

test.each([
  ["police killed the gunman", "police kill the gunman", 3 / 4],
  // Common: police, the, gunman; 4 and 4 tokens. Lin's second candidate keeps only "the gunman".
  ["the gunman kill police", "police kill the gunman", 2 / 4],
  ["a b c d e", "b d f", (2 * 2) / (5 + 3)],
  ["the cat sat on the mat", "the cat sat on the mat", 1],
  ["the cat", "", 0],
  ["", "the cat", 0],
  ["!", "?", 1],
  ["我喜欢猫", "我不喜欢狗", (2 * 3) / (4 + 5)],
])("%j beside %j", (candidate, reference, expected) => {
  expect(rougeL(candidate, reference)).toBeCloseTo(expected, 12);
  expect(rougeL(reference, candidate)).toBeCloseTo(expected, 12);
});

test("the longest common subsequence agrees with trying all subsequences", () => {
  const letters = ["a", "b", "c"];
  const words = Array.from({ length: 60 }, (_, seed) => Array.from({ length: 2 + (seed % 5) }, (_, place) => letters[(seed * 7 + place * place * (1 + (seed % 3))) % 3] ?? "a"));
  const isWithin = (part: readonly string[], whole: readonly string[]) => {
    let next = 0;
    for (const token of whole) if (token === part[next]) next += 1;
    return next === part.length;
  };
  const naive = (left: readonly string[], right: readonly string[]) => {
    let best = 0;
    for (let mask = 0; mask < 2 ** left.length; mask++) {
      const part = left.filter((_, index) => (mask >> index) & 1);
      if (part.length > best && isWithin(part, right)) best = part.length;
    }
    return best;
  };
  for (const [index, left] of words.entries()) {
    const right = words[(index * 11 + 5) % words.length] ?? [];
    expect(rougeL(left.join(" "), right.join(" "))).toBeCloseTo((2 * naive(left, right)) / (left.length + right.length), 12);
  }
});
