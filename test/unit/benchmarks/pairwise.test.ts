/** A judge on two subjects' stored answers: a rule that prefers the longer answer, so that every verdict is known beforehand. */
import { setMaxListeners } from "node:events";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { storedVerdicts } from "../../../src/benchmarks/queries.js";
import { EVALUATION_DATABASE } from "../../../src/benchmarks/schema.js";
import { EvaluationStore, openEvaluationDatabase } from "../../../src/benchmarks/store.js";
import { FedllmError } from "../../../src/errors.js";
import type { AskRequest } from "../../../src/judge/answerer.js";
import { openJudge } from "../../../src/judge/judge.js";
import { openRunDatabase } from "../../../src/metrics/database.js";
import { compareAnswers } from "../../../src/run/compare-answers.js";
import { pairwiseTable } from "../../../src/report/pairwise.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";
import { LEFT_ANSWERS, RIGHT_ANSWERS, keepEvaluation } from "../../helpers/stored-answers.js";
import type { AnswersBySide } from "../../helpers/stored-answers.js";

/** Both answers as the judge is shown them. */
function shownTo({ messages }: AskRequest): readonly [string, string] {
  const text = messages[1]?.content ?? "";
  const of = (name: string) => text.split(`=== Answer ${name} ===\n`)[1]?.split("\n=== end ===")[0] ?? "";
  return [of("A"), of("B")];
}

/** Prefers the longer one; an answer with "?" cannot be compared, one with "first" makes the first place win. */
function decide(request: AskRequest): string {
  const [a, b] = shownTo(request);
  if (`${a}${b}`.includes("?")) return "hard to say";
  if (`${a}${b}`.includes("first")) return "[[A]]";
  if (a.length === b.length) return "[[C]]";
  return a.length > b.length ? "[[A]]" : "[[B]]";
}

function lengthJudge({ name = "rule", rule = decide, onAsk = () => undefined }: { readonly name?: string; readonly rule?: (request: AskRequest) => string; readonly onAsk?: (request: AskRequest) => void } = {}) {
  const asked: AskRequest[] = [];
  const answerer = {
    name,
    identity: {},
    answer: (request: AskRequest) => {
      asked.push(request);
      onAsk(request);
      return Promise.resolve({ text: rule(request), usage: { numPromptTokens: 10, numCompletionTokens: 2 } });
    },
    dispose: () => Promise.resolve(),
  };
  return { asked, openJudge: () => Promise.resolve(openJudge(answerer, { concurrency: 1 })) };
}

function writeSides(changes: AnswersBySide = {}): { readonly path: string; readonly left: string; readonly right: string; readonly metric: string; readonly seed: number } {
  const path = join(makeTemporaryFolder(), "evaluation.sqlite");
  const store = new EvaluationStore(path);
  keepEvaluation(store, "a", { answers: LEFT_ANSWERS, ...changes.left });
  keepEvaluation(store, "b", { answers: RIGHT_ANSWERS, ...changes.right });
  store.close();
  return { path, left: `${path}#a`, right: `${path}#b`, metric: "vicuna", seed: 0 };
}

describe("verdicts", () => {
  test("both orders of every pair are asked, kept and counted, by category too", async () => {
    const sides = writeSides();
    const judge = lengthJudge();
    const result = await compareAnswers(sides, judge);
    expect(judge.asked.length).toBe(12);
    // Longer, longer, shorter, equal, the first place, unreadable.
    expect(result.overall).toMatchObject({ numItems: 6, numWins: 2, numTies: 2, numLosses: 1, numUnreadable: 1, numDisagreements: 1, disagreement: 0.2, winRate: 0.4, adjustedWinRate: 0.6 });
    expect(result.categories.map(({ category, numItems, adjustedWinRate }) => [category, numItems, adjustedWinRate])).toEqual([["odd", 3, expect.closeTo(0.5, 12)], ["even", 3, 0.75]]);
    expect(result).toMatchObject({ left: "a", right: "b", judge: "rule", numUnjudged: 0, numUnpaired: 0, numPromptTokens: 120, numCompletionTokens: 24, failures: [], usage: { numReplies: 12, numPromptTokens: 120 } });
    const database = openEvaluationDatabase(sides.path);
    const verdicts = storedVerdicts(database, 1);
    database.close();
    expect(verdicts.map(({ seq, shownFirst, verdict, words }) => [seq, shownFirst, verdict, words]).slice(0, 4)).toEqual([[0, "left", "left", "[[A]]"], [0, "right", "left", "[[B]]"], [1, "left", "left", "[[A]]"], [1, "right", "left", "[[B]]"]]);
    expect(pairwiseTable("title", result).rows.map((row) => row.slice(0, -1).join(" "))).toEqual(["all 6 2 2 1 1 20.0% 40.0%", "odd 3 1 1 1 0 33.3% 33.3%", "even 3 1 1 0 1 0.0% 50.0%"]);
  });

  test("the sides swapped give the mirrored rates, and a judge of another name is asked for himself", async () => {
    const sides = writeSides();
    await compareAnswers(sides, lengthJudge());
    const mirrored = await compareAnswers({ ...sides, left: sides.right, right: sides.left }, lengthJudge());
    expect(mirrored.overall).toMatchObject({ numWins: 1, numTies: 2, numLosses: 2, adjustedWinRate: expect.closeTo(0.4, 12) as number });
    const other = lengthJudge({ name: "another" });
    await compareAnswers(sides, other);
    expect(other.asked.length).toBe(12);
  });

  test("the interval is the percentile bootstrap's of wins, ties and losses, of a seed", async () => {
    const longer = (length: number) => Array.from({ length }, (_, index) => ["x".repeat(index % 4 === 0 ? 1 : 3)]);
    const equal = (length: number) => Array.from({ length }, () => ["xx"]);
    const sides = writeSides({ left: { answers: longer(100) }, right: { answers: equal(100) } });
    const { overall } = await compareAnswers(sides, lengthJudge());
    // Three of four are won: the normal approximation of a share p has the half width 1.96 * sqrt(p (1 - p) / n); 0.02, two items, is an eighth of the interval's width.
    expect(overall.adjustedWinRate).toBe(0.75);
    const half = 1.96 * Math.sqrt((0.75 * 0.25) / 100);
    expect(Math.abs((overall.interval?.low ?? 0) - (0.75 - half))).toBeLessThan(0.02);
    expect(Math.abs((overall.interval?.high ?? 0) - (0.75 + half))).toBeLessThan(0.02);
    expect((await compareAnswers(sides, lengthJudge())).overall).toEqual(overall);
  });

  test("both turns of a conversation are shown", async () => {
    const turns = { left: { answers: [["one", "two"]] }, right: { answers: [["three", "four"]] } };
    const judge = lengthJudge();
    await compareAnswers(writeSides(turns), judge);
    expect(judge.asked.map(shownTo)).toEqual([
      ["[Answer to message 1]\none\n\n[Answer to message 2]\ntwo", "[Answer to message 1]\nthree\n\n[Answer to message 2]\nfour"],
      ["[Answer to message 1]\nthree\n\n[Answer to message 2]\nfour", "[Answer to message 1]\none\n\n[Answer to message 2]\ntwo"],
    ]);
    expect(judge.asked[0]?.messages[1]?.content).toContain("[Message 1]\nquestion 0.0\n\n[Message 2]\nquestion 0.1");
  });
});

describe("another call", () => {
  test("asks nothing when all is there, and only what failed when something did", async () => {
    const sides = writeSides();
    // One order of one pair fails.
    const failing = lengthJudge({
      rule: (request) => {
        if (shownTo(request)[1] === "first") throw new FedllmError("JUDGE_FAILED", "away");
        return decide(request);
      },
    });
    const partial = await compareAnswers(sides, failing);
    expect(partial).toMatchObject({ numUnjudged: 1, overall: { numItems: 5 }, failures: [{ code: "JUDGE_FAILED", reason: "away", count: 1 }] });
    const judge = lengthJudge();
    const whole = await compareAnswers(sides, judge);
    expect(judge.asked.length).toBe(1);
    expect(whole).toMatchObject({ numUnjudged: 0, failures: [] });
    const idle = lengthJudge();
    const again = await compareAnswers(sides, idle);
    expect(idle.asked).toEqual([]);
    expect(again.overall).toEqual(whole.overall);
    expect(again.overall).toEqual((await compareAnswers(writeSides(), lengthJudge())).overall);
  });

  test("goes on after a stop at any verdict", async () => {
    const sides = writeSides();
    let numStops = 0;
    let numAsked = 0;
    for (;;) {
      const controller = new AbortController();
      setMaxListeners(0, controller.signal);
      const judge = lengthJudge({
        onAsk: () => {
          if (++numAsked % 3 === 0) controller.abort();
        },
      });
      try {
        const { overall } = await compareAnswers(sides, { ...judge, signal: controller.signal });
        expect(overall).toEqual((await compareAnswers(writeSides(), lengthJudge())).overall);
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: "CANCELLED" });
        numStops += 1;
      }
    }
    expect(numStops).toBeGreaterThan(2);
    expect(numAsked).toBe(12);
  });
});

describe("refused, before a judge is opened", () => {
  const refused = (changes: AnswersBySide, request: { readonly metric?: string } = {}) => {
    const openNone = () => Promise.reject(new Error("no judge is needed"));
    return compareAnswers({ ...writeSides(changes), ...request }, { openJudge: openNone });
  };

  test("question sets and settings that differ, by what differs", async () => {
    await expect(refused({ right: { itemsSha256: "e".repeat(64) } })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(`question sets ${"f".repeat(12)} and ${"e".repeat(12)}`) as string });
    await expect(refused({ right: { settings: { maxNewTokens: 9, model: { device: "cpu" } } } })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("maxNewTokens 8 on the left and 9 on the right") as string });
  });

  test("a metric that was not asked, one without written answers, no item in common, the same model on both sides", async () => {
    await expect(refused({}, { metric: "mt-bench" })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("expected one of vicuna, received mt-bench") as string });
    await expect(refused({ left: { answers: [[]] }, right: { answers: [[]] } })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("a metric with written answers") as string });
    await expect(refused({ right: { answers: [] } })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("items that both answered") as string });
    await expect(refused({ right: { adapterSha256: "a" } })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("the same one") as string });
  });

  test("how a model is run and which items were drawn may differ: items of both count", async () => {
    const sides = writeSides({ right: { answers: RIGHT_ANSWERS.slice(0, 2), settings: { maxNewTokens: 8, limit: 2, model: { device: "vulkan" } } } });
    expect(await compareAnswers(sides, lengthJudge())).toMatchObject({ overall: { numItems: 2, numWins: 2 }, numUnpaired: 4 });
  });
});

test("a file of the release before has no verdicts, is readable, and gets their tables when it is written", () => {
  const path = join(makeTemporaryFolder(), "evaluation.sqlite");
  openRunDatabase(path, { ...EVALUATION_DATABASE, migrations: EVALUATION_DATABASE.migrations.slice(0, 1) }).close();
  const old = openEvaluationDatabase(path);
  expect(storedVerdicts(old, 1)).toEqual([]);
  old.close();
  new EvaluationStore(path).close();
  const database = openRunDatabase(path, EVALUATION_DATABASE, { readonly: true });
  expect(storedVerdicts(database, 1)).toEqual([]);
  database.close();
});
