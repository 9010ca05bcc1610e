/** What a user prefers, counted by hand. */
import { expect, test } from "vitest";
import { PREFERENCE_PROPERTIES, comparePair, summarizePreferences, wilsonInterval } from "../../../src/analysis/preferences.js";

const pair = (chosen: string, rejected: string) => comparePair({ kind: "preference", prompt: "p", chosen, rejected });
const compare = (chosen: string, rejected: string) => Object.fromEntries(pair(chosen, rejected).map((sign, index) => [PREFERENCE_PROPERTIES[index], sign])) as Record<string, number>;

test("a pair says which answer has what the other one lacks", () => {
  expect(compare("Sure!\n- one\n- two", "No **way**, would you?")).toEqual({
    longer: -1,
    list: 1,
    emphasis: -1,
    code: 0,
    exclamation: 1,
    "closing question": -1,
  });
  expect(compare("同じ", "同じ。")).toMatchObject({ longer: -1, exclamation: 0 });
  // A code point counts once: two emoji are as long as two letters.
  expect(compare("😀😀", "ab")).toMatchObject({ longer: 0 });
});

test("a user's pairs are counted where they differ", () => {
  const longer = Array.from({ length: 10 }, () => pair("a longer answer", "short"));
  const [first, list] = summarizePreferences([...longer, pair("same", "size")]);
  // Wilson's interval of 10 of 10 begins at 10 / (10 + z^2).
  expect(first).toMatchObject({ property: "longer", numPairs: 10, numChosen: 10, verdict: "preferred" });
  expect(first?.interval?.[0]).toBeCloseTo(10 / (10 + 1.959964 ** 2), 6);
  expect(first?.interval?.[1]).toBeCloseTo(1, 12);
  expect(list).toEqual({ property: "list", numPairs: 0, numChosen: 0, verdict: "undecided" });
  expect(summarizePreferences([pair("a longer answer", "short"), pair("ab", "abc")])[0]).toMatchObject({ numPairs: 2, numChosen: 1, verdict: "undecided" });
  expect(summarizePreferences(Array.from({ length: 10 }, () => pair("s", "longer")))[0]).toMatchObject({ numChosen: 0, verdict: "avoided" });
});

test("the interval of a share is that of the textbooks", () => {
  // Newcombe 1998, table I: 81 of 263.
  const [low, high] = wilsonInterval(81, 263);
  expect([low.toFixed(4), high.toFixed(4)]).toEqual(["0.2553", "0.3662"]);
});
