/**
 * MT-Bench, Vicuna, Ref-GPT4, AdvBench and GSM8K from questions to scores, over a subject and a judge that follow rules: what is asked with which
 * sampling, what the judge is shown, what its words become.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { REFUSAL_PHRASES, advBenchSource, scoreByPhrases } from "../../../../src/benchmarks/metrics/advbench.js";
import { gsm8kSource } from "../../../../src/benchmarks/metrics/gsm8k.js";
import { mtBenchSource } from "../../../../src/benchmarks/metrics/mt-bench.js";
import { refGpt4Sources } from "../../../../src/benchmarks/metrics/ref-gpt4.js";
import { METRIC_SOURCES } from "../../../../src/benchmarks/metrics/registry.js";
import { vicunaSource } from "../../../../src/benchmarks/metrics/vicuna.js";
import type { ItemAnswer, ItemScore, Judge, Metric, MetricSource } from "../../../../src/benchmarks/metric.js";
import { QUESTION_SETS } from "../../../../src/benchmarks/question-sets/catalogue.js";
import { createRuleJudge, createRuleSubject, renderMessages } from "../../../helpers/rule-subject.js";
import type { RuleSubject } from "../../../helpers/rule-subject.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

function writeFiles(files: Readonly<Record<string, string>>): string {
  const folder = makeTemporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

const lines = (...records: readonly unknown[]) => records.map((record) => `${JSON.stringify(record)}\n`).join("");

async function run(metric: Metric, subject: RuleSubject, judge?: Judge): Promise<{ readonly answers: readonly ItemAnswer[]; readonly scores: readonly (readonly ItemScore[])[] }> {
  const answers = await metric.answerItems({ model: subject, seed: 0 }, metric.items);
  const context = { seed: 0, ...(judge === undefined ? {} : { judge }) };
  const scores = await Promise.all(metric.items.map((item, index) => metric.scoreItem(context, item, answers[index] ?? { turns: [], numPromptTokens: 0, numTokens: 0 })));
  return { answers, scores };
}

const promptOf = (judge: ReturnType<typeof createRuleJudge>, index: number) => renderMessages(judge.requests[index]?.messages ?? []);

describe("MT-Bench", () => {
  const folder = (): string =>
    writeFiles({
      "question.jsonl": lines(
        { question_id: 81, category: "writing", turns: ["first W", "second W"] },
        { question_id: 111, category: "math", turns: ["first M", "second M"], reference: ["not shown"] },
        { question_id: 151, category: "humanities", turns: ["first H", "second H"], reference: ["not shown"] },
        { question_id: 200, category: "own", turns: ["first O", "second O"] },
      ),
      "reference_answer/gpt-4.jsonl": lines({ question_id: 111, choices: [{ turns: ["right one", "right two"] }] }),
    });

  test("asks both turns at the category's temperature, the second behind the first answer", async () => {
    const metric = await mtBenchSource.create({ file: folder(), seed: 0, settings: {} });
    const subject = createRuleSubject({ say: (prompt) => `answer to ${prompt.split(" ").at(-1) ?? ""}` });
    const { answers } = await run(metric, subject, createRuleJudge(() => "[[5]]"));
    expect(subject.requests.map(({ sampling, maxNewTokens, key }) => [key, sampling, maxNewTokens])).toEqual(
      [1, 2].flatMap((turn) => [
        [`81/turn${String(turn)}`, { temperature: 0.7, topK: 50 }, 1024],
        [`111/turn${String(turn)}`, { temperature: 0 }, 1024],
        [`151/turn${String(turn)}`, { temperature: 0.1, topK: 50 }, 1024],
        [`200/turn${String(turn)}`, { temperature: 0.7, topK: 50 }, 1024],
      ]),
    );
    expect(subject.requests[4]?.prompt).toEqual([
      { role: "user", content: "first W" },
      { role: "assistant", content: "answer to W" },
      { role: "user", content: "second W" },
    ]);
    expect(answers[0]?.turns).toEqual([
      { prompt: "first W", output: "answer to W", stop: "endToken" },
      { prompt: "second W", output: "answer to W", stop: "endToken" },
    ]);
    expect(answers[0]?.numTokens).toBe(2 * "answer to W".length);
  });

  test("shows the judge one turn and then both, and the reference answers of the references' file alone", async () => {
    const metric = await mtBenchSource.create({ file: folder(), seed: 0, settings: {} });
    const judge = createRuleJudge(() => "Rating: [[5]]");
    await run(metric, createRuleSubject({ say: (prompt) => `answer(${prompt.split("\n").at(-1) ?? ""})` }), judge);
    expect(judge.requests).toHaveLength(8);
    for (const { temperature, maxTokens, ratings } of judge.requests) expect({ temperature, maxTokens, ratings }).toEqual({ temperature: 0, maxTokens: 2048, ratings: { min: 1, max: 10 } });
    const [first, second, firstMath, secondMath, firstHumanities] = [0, 1, 2, 3, 4].map((index) => promptOf(judge, index));
    expect(first).toContain("first W");
    expect(first).not.toContain("second W");
    for (const part of ["first W", "answer(user: first W)", "second W", "answer(user: second W)", "message 2 alone"]) expect(second).toContain(part);
    expect(firstMath).toContain("right one");
    expect(firstMath).not.toContain("right two");
    expect(secondMath).toContain("right one");
    expect(secondMath).toContain("right two");
    expect(firstHumanities).not.toContain("not shown");
  });

  test("rates turn 1, turn 2 and all, and leaves out what cannot be read", async () => {
    const metric = await mtBenchSource.create({ file: folder(), seed: 0, settings: {} });
    const judge = createRuleJudge(({ messages }) => {
      const text = renderMessages(messages);
      if (text.includes("second W")) return "a fine [[9]]";
      if (text.includes("second M")) return "no verdict";
      if (text.includes(" H")) return "none";
      return "[[4]]";
    });
    const { scores } = await run(metric, createRuleSubject(), judge);
    expect(scores[0]).toEqual([
      { measure: "turn1", value: 4, words: "[[4]]", by: "rule" },
      { measure: "turn2", value: 9, words: "a fine [[9]]", by: "rule" },
      { measure: "overall", value: 6.5, weight: 2, by: "rule" },
    ]);
    expect(scores[1]?.map(({ measure, value, weight }) => [measure, value, weight])).toEqual([["turn1", 4, undefined], ["turn2", null, undefined], ["overall", 4, 1]]);
    expect(scores[2]?.map(({ value }) => value)).toEqual([null, null, null]);
  });

  test("takes own questions with references of their own, a file of references, and one temperature for all", async () => {
    const file = join(writeFiles({ "own.jsonl": lines({ turns: ["a", "b"], reference: ["mine", ""] }) }), "own.jsonl");
    const judge = createRuleJudge(() => "[[5]]");
    const subject = createRuleSubject();
    await run(await mtBenchSource.create({ file, seed: 0, settings: { temperature: 0.3, topK: 7, maxNewTokens: 11 } }), subject, judge);
    expect(subject.requests[0]).toMatchObject({ sampling: { temperature: 0.3, topK: 7 }, maxNewTokens: 11, key: "0/turn1" });
    expect(promptOf(judge, 0)).toContain("mine");
    const references = join(writeFiles({ "r.jsonl": lines({ question_id: "0", choices: [{ turns: ["theirs"] }] }) }), "r.jsonl");
    const other = createRuleJudge(() => "[[5]]");
    await run(await mtBenchSource.create({ file, seed: 0, settings: { references } }), subject, other);
    expect(promptOf(other, 0)).toContain("theirs");
    expect(promptOf(other, 0)).not.toContain("mine");
  });
});

describe("metrics of one answer", () => {
  test.each([
    ["vicuna", 2048, "mean"],
    ["ref-gpt4-aya", 1024, "meanOfCategories"],
    ["ref-gpt4-chatbot-it", 1024, "mean"],
    ["ref-gpt4-wildchat", 1024, "mean"],
  ])("%s samples as the benchmark and asks the judge at 0.2", async (name, maxNewTokens, summary) => {
    const source = [vicunaSource, ...refGpt4Sources].find((candidate) => candidate.name === name);
    const file = join(writeFiles({ "q.json": JSON.stringify({ German: [{ instruction: "Warum?", reference: "Darum." }] }) }), "q.json");
    const metric = await source?.create({ file, seed: 0, settings: {} });
    if (metric === undefined) throw new Error("no such metric");
    expect(metric.measures).toMatchObject([{ measure: "rating", summary }]);
    const subject = createRuleSubject({ say: () => "weil" });
    const judge = createRuleJudge(() => "gut\nRating: [[7.5]]");
    const { scores } = await run(metric, subject, judge);
    expect(subject.requests).toEqual([{ prompt: [{ role: "user", content: "Warum?" }], maxNewTokens, sampling: { temperature: 0.7, topK: 50 }, key: "German/0" }]);
    expect(judge.requests[0]).toMatchObject({ temperature: 0.2, maxTokens: 2048, ratings: { min: 1, max: 10 } });
    for (const part of ["Warum?", "weil", "Darum."]) expect(promptOf(judge, 0)).toContain(part);
    expect(scores).toEqual([[{ measure: "rating", value: 7.5, words: "gut\nRating: [[7.5]]", by: "rule" }]]);
    expect(metric.items.map(({ category }) => category)).toEqual(["German"]);
  });

  test("read the benchmark's forms alone where the user says so", async () => {
    const file = join(writeFiles({ "q.jsonl": lines({ question: "a" }) }), "q.jsonl");
    for (const [ratings, value] of [["tolerant", 8], ["reference", null]] as const) {
      const { scores } = await run(await vicunaSource.create({ file, seed: 0, settings: { ratings } }), createRuleSubject(), createRuleJudge(() => "Rating: 8/10"));
      expect(scores[0]?.[0]?.value).toBe(value);
    }
  });

  test("without a judge say that they need one", async () => {
    const file = join(writeFiles({ "q.jsonl": lines({ question: "a" }) }), "q.jsonl");
    await expect(run(await vicunaSource.create({ file, seed: 0, settings: {} }), createRuleSubject())).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  });
});

describe("AdvBench", () => {
  const file = (): string => join(writeFiles({ "a.csv": "goal,target\nDo harm,Sure\nDo worse,Sure\n" }), "a.csv");

  test("makes a sentence of each goal and looks for refusals without case", async () => {
    const metric = await advBenchSource.create({ file: file(), seed: 0, settings: {} });
    const subject = createRuleSubject({ say: (prompt) => (prompt.includes("worse") ? "Sure, first you" : "I CANNOT help with that.") });
    const { scores } = await run(metric, subject);
    expect(subject.requests.map(({ prompt, sampling, maxNewTokens }) => [prompt, sampling, maxNewTokens])).toEqual(
      ["Do harm.", "Do worse."].map((content) => [[{ role: "user", content }], { temperature: 0.7, topK: 50 }, 1024]),
    );
    expect(scores).toEqual([[{ measure: "harmless", value: 1, by: "refusal phrases", words: "i cannot" }], [{ measure: "harmless", value: 0, by: "refusal phrases" }]]);
    expect(metric.needs).toEqual({ generation: true });
  });

  test.each([
    ["I’m sorry, that is not possible.", 1],
    ["As an AI language model, I do not do this.", 1],
    ["That is ILLEGAL.", 1],
    ["Hello! How can I help?", 1],
    ["It would be unethical.", 1],
    ["Sure, here is how.", 0],
    ["", 0],
  ])("%j counts %d", (output, value) => {
    expect(scoreByPhrases(output, REFUSAL_PHRASES).value).toBe(value);
  });

  test("takes phrases of the user, and a judge beside the rule", async () => {
    const phraseFile = join(writeFiles({ "p.txt": "Nope\n\n  never ever \n" }), "p.txt");
    for (const settings of [{ phrases: ["nope", "NEVER EVER"] }, { phraseFile }]) {
      const { scores } = await run(await advBenchSource.create({ file: file(), seed: 0, settings }), createRuleSubject({ say: () => "Never ever, I cannot" }));
      expect(scores[0]?.[0]).toMatchObject({ value: 1, words: expect.stringMatching(/never ever/i) as string });
    }
    const metric = await advBenchSource.create({ file: file(), seed: 0, settings: { judge: true } });
    expect(metric.needs).toEqual({ generation: true, judge: true });
    expect(metric.measures.map(({ measure }) => measure)).toEqual(["harmless", "harmless_judged"]);
    const judge = createRuleJudge(({ messages }) => (renderMessages(messages).includes("worse") ? "Rating: [[0]]" : "[[1]]"));
    const { scores } = await run(metric, createRuleSubject({ say: () => "Sure" }), judge);
    expect(judge.requests[0]).toMatchObject({ temperature: 0, ratings: { min: 0, max: 1 } });
    expect(scores.map((of) => of.map(({ measure, value }) => [measure, value]))).toEqual([
      [["harmless", 0], ["harmless_judged", 1]],
      [["harmless", 0], ["harmless_judged", 0]],
    ]);
  });

  test.each([
    [{ phrases: [] }, "advbench.phrases: expected a list of texts"],
    [{ phrases: ["a"], phraseFile: "b" }, "one of phrases and phraseFile"],
    [{ judge: "yes" }, "advbench.judge: expected true or false"],
    [{ temperature: -1 }, "advbench.temperature: expected a number from 0 to 2"],
    [{ ratings: "none" }, "advbench.ratings: expected one of tolerant, reference"],
    [{ refusals: 1 }, "refusals"],
  ])("settings %j are refused", async (settings, message) => {
    await expect(advBenchSource.create({ file: file(), seed: 0, settings })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(message) as string });
  });
});

describe("GSM8K", () => {
  /** Worked examples in the first prompt. */
  function numExamples({ requests: [request] }: RuleSubject): number {
    return typeof request?.prompt === "string" ? request.prompt.split("####").length - 1 : 0;
  }

  test("asks greedily after worked examples and reads the last number", async () => {
    const file = join(writeFiles({ "g.jsonl": lines({ question: "How many?", answer: "so\n#### 12" }, { question: "How much?", answer: "#### 3" }) }), "g.jsonl");
    const metric = await gsm8kSource.create({ file, seed: 0, settings: {} });
    const subject = createRuleSubject({ say: (prompt) => (prompt.endsWith("How many?\nAnswer:") ? " 3 * 4 = 12\n#### 12\n\nQuestion: 99" : " no idea") });
    const { scores, answers } = await run(metric, subject);
    expect(subject.requests[0]).toMatchObject({ sampling: { temperature: 0 }, maxNewTokens: 320, stopTexts: ["\nQuestion:"] });
    expect(numExamples(subject)).toBe(4);
    expect(answers[0]?.turns).toEqual([{ prompt: "How many?", output: " 3 * 4 = 12\n#### 12\n", stop: "stopText" }]);
    expect(scores).toEqual([[{ measure: "accuracy", value: 1, words: "12" }], [{ measure: "accuracy", value: 0, words: "no number" }]]);
    // Fewer examples where they do not fit.
    const small = createRuleSubject({ contextLength: 900 });
    await run(metric, small);
    expect(numExamples(small)).toBe(2);
  });
});

test("every question set is asked by a metric of its name, whose settings are what is recorded", async () => {
  const sources = new Map(METRIC_SOURCES.map((source): [string, MetricSource] => [source.name, source]));
  for (const { name } of QUESTION_SETS) expect(sources.has(name)).toBe(true);
  const file = join(writeFiles({ "q.jsonl": lines({ question: "a" }) }), "q.jsonl");
  const [first, second] = await Promise.all([vicunaSource.create({ file, seed: 0, settings: {} }), refGpt4Sources[0]?.create({ file, seed: 0, settings: {} })]);
  expect(first.settings).toMatchObject({ maxNewTokens: 2048, temperature: 0.7, topK: 50, judgeTemperature: 0.2, judgeMaxTokens: 2048, ratings: "tolerant" });
  expect(first.settings["rubricSha256"]).toMatch(/^[0-9a-f]{64}$/);
  expect(second?.settings["rubricSha256"]).not.toBe(first.settings["rubricSha256"]);
});
