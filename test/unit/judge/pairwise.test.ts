/** Pairs of answers in both orders: what the verdicts of the orders come to, and that a judge who looks at the place alone gives ties. */
import { describe, expect, test } from "vitest";
import { openJudge } from "../../../src/judge/judge.js";
import { comparePair, pairwiseRequest, readVerdict, verdictOfOrders, verdictOfRatings, winRateOf } from "../../../src/judge/pairwise.js";
import type { Verdict } from "../../../src/judge/pairwise.js";
import { createRemoteAnswerer } from "../../../src/judge/remote.js";
import { say, startJudgeEndpoint } from "../../helpers/judge-endpoint.js";
import type { ChatAnswer } from "../../helpers/judge-endpoint.js";

const ITEM = { question: "Name a colour.", left: "Blue.", right: "A dog." };

async function compareWith(answer: ChatAnswer) {
  const endpoint = await startJudgeEndpoint(answer);
  return comparePair(openJudge(createRemoteAnswerer({ baseUrl: endpoint.baseUrl, model: "m" }), {}), ITEM);
}

/** What stands under answer A in a request. */
const answerA = (body: string) => /=== Answer A ===\n(.*)\n/u.exec((JSON.parse(body) as { messages: { content: string }[] }).messages[1]?.content ?? "")?.[1];

describe("both orders", () => {
  test("a judge who reads gives its verdict in both", async () => {
    const result = await compareWith((request, response) => {
      say(answerA(request.body) === "Blue." ? "A names one. [[A]]" : "B names one. [[B]]")(request, response);
    });
    expect(result).toEqual({ verdict: "left", orders: ["left", "left"], words: ["A names one. [[A]]", "B names one. [[B]]"] });
  });

  test("one who always prefers the first gives a tie, one who cannot be read gives nothing", async () => {
    expect(await compareWith(say("[[A]]"))).toMatchObject({ verdict: "tie", orders: ["left", "right"] });
    expect(await compareWith(say("hard to say"))).toMatchObject({ verdict: null, orders: [null, null] });
  });

  test.each<[Verdict, Verdict, Verdict]>([
    ["left", "left", "left"],
    ["right", "right", "right"],
    ["tie", "tie", "tie"],
    ["left", "right", "tie"],
    ["left", "tie", "tie"],
    [null, "left", null],
    ["tie", null, null],
  ])("%s and %s come to %s", (first, second, verdict) => {
    expect(verdictOfOrders(first, second)).toBe(verdict);
  });

  test("the request names both answers, the reference and the words a decision may have", () => {
    const request = pairwiseRequest({ ...ITEM, reference: "Green." });
    expect(request.choices).toEqual(["A", "B", "C"]);
    for (const text of ["Name a colour.", "Blue.", "A dog.", "Green."]) expect(request.messages[1]?.content).toContain(text);
  });
});

test("the last decision of a reply counts, with blanks in it or not", () => {
  expect(readVerdict("At first [[A]] seems right, but no: [[ B ]]")).toBe("right");
  expect(readVerdict("[[C]]")).toBe("tie");
  expect(readVerdict("[A] or [[D]]")).toBeNull();
});

test("ratings at most 0.1 apart are a tie", () => {
  expect([verdictOfRatings(7, 7), verdictOfRatings(7.1, 7), verdictOfRatings(7, 7.1)]).toEqual(["tie", "tie", "tie"]);
  expect([verdictOfRatings(7.2, 7), verdictOfRatings(7, 8)]).toEqual(["left", "right"]);
  expect([verdictOfRatings(null, 7), verdictOfRatings(7, null)]).toEqual([null, null]);
});

test("a tie counts as half a win, what cannot be read not at all", () => {
  const verdicts: Verdict[] = ["left", "left", "right", "tie", "tie", null];
  expect(winRateOf(verdicts)).toEqual({ numWins: 2, numLosses: 1, numTies: 2, numUnreadable: 1, winRate: 0.4, adjustedWinRate: 0.6 });
  expect(winRateOf([null]).adjustedWinRate).toBeNaN();
});
