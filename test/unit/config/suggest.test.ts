import { describe, expect, test } from "vitest";
import { editDistance, suggest } from "../../../src/config/suggest.js";

describe("the distance of two words", () => {
  test.each([
    ["", "", 0],
    ["", "abc", 3],
    ["rank", "rank", 0],
    ["rnak", "rank", 1],
    ["run", "rune", 1],
    ["kitten", "sitting", 3],
  ])("from %j to %j is %i", (left, right, expected) => {
    expect(editDistance(left, right)).toBe(expected);
    expect(editDistance(right, left)).toBe(expected);
  });
});

describe("a suggestion", () => {
  const words = ["numRounds", "localSteps", "batchSize"];

  test("ignores case, dashes and underscores", () => {
    expect(suggest("NUM_ROUNDS", words)).toBe("numRounds");
    expect(suggest("local-step", words)).toBe("localSteps");
  });

  test("is not made for a word that is near to none", () => {
    expect(suggest("temperature", words)).toBeUndefined();
    expect(suggest("x", [])).toBeUndefined();
  });
});
