/** MMLU over a subject that follows rules: prompts, shots that are dropped, both ways of answering, boundaries of tokens. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { letterContinuations, mmluSource, promptOf } from "../../../../src/benchmarks/metrics/mmlu.js";
import type { Metric, MetricOptions } from "../../../../src/benchmarks/metric.js";
import { createRuleSubject } from "../../../helpers/rule-subject.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

/** Two subjects of different size; in alpha the right letters are A B C D A, in beta D. */
function writeSubjects(): string {
  const folder = makeTemporaryFolder();
  const dev = Array.from({ length: 6 }, (_, index) => `dev ${String(index)},w,x,y,z,${"ABCD"[index % 4] ?? ""}\n`).join("");
  const files = {
    "dev/alpha_beta_dev.csv": dev,
    "test/alpha_beta_test.csv": Array.from({ length: 5 }, (_, index) => `ask ${String(index)},w,x,y,z,${"ABCD"[index % 4] ?? ""}\n`).join(""),
    "dev/law_dev.csv": dev,
    "test/law_test.csv": "the law,p,q,r,s,D\n",
  };
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

const options = (settings: MetricOptions["settings"] = {}, more: Partial<MetricOptions> = {}): MetricOptions => ({ file: writeSubjects(), seed: 0, settings, ...more });

async function run(metric: Metric, subject: ReturnType<typeof createRuleSubject>) {
  const answers = await metric.answerItems({ model: subject, seed: 0 }, metric.items);
  const scores = await Promise.all(metric.items.map(async (item, index) => {
    const answer = answers[index];
    return answer === undefined ? [] : metric.scoreItem({ seed: 0 }, item, answer);
  }));
  const valuesOf = (measure: string) => scores.map((of) => of.find((score) => score.measure === measure)?.value);
  return { answers, scores, valuesOf };
}

describe("MMLU", () => {
  test("asks with five examples of the subject and ends where the letter is to come", async () => {
    const metric = await mmluSource.create(options());
    expect(metric.items.map(({ id, category }) => [id, category])).toEqual([...[0, 1, 2, 3, 4].map((index) => [`alpha_beta/${String(index)}`, "alpha_beta"]), ["law/0", "law"]]);
    const subject = createRuleSubject({ say: () => " B" });
    await run(metric, subject);
    const { prompt, ...request } = subject.requests[1] ?? { prompt: "" };
    const examples = [0, 1, 2, 3, 4].map((index) => `dev ${String(index)}\nA. w\nB. x\nC. y\nD. z\nAnswer: ${"ABCD"[index % 4] ?? ""}\n\n`).join("");
    expect(prompt).toBe(`The following are multiple choice questions (with answers) about alpha beta.\n\n${examples}ask 1\nA. w\nB. x\nC. y\nD. z\nAnswer:`);
    expect(request).toEqual({ maxNewTokens: 2, sampling: { temperature: 0 }, key: "alpha_beta/1" });
  });

  test("counts a written letter that the trimmed text begins with, and the letter that is the most probable", async () => {
    const metric = await mmluSource.create(options());
    // The likeliest letter is C; of the written ones " B" is right for the second question only.
    const subject = createRuleSubject({ say: () => " B.", logProbability: (text) => (text === " C" ? -0.5 : -1) });
    const { answers, valuesOf } = await run(metric, subject);
    expect(valuesOf("accuracy")).toEqual([0, 1, 0, 0, 0, 0]);
    expect(valuesOf("accuracy_by_subject")).toEqual([0, 1, 0, 0, 0, 0]);
    expect(valuesOf("accuracy_logprob")).toEqual([0, 0, 1, 0, 0, 0]);
    expect(valuesOf("accuracy_logprob_by_subject")).toEqual([0, 0, 1, 0, 0, 0]);
    expect(answers[0]).toMatchObject({ turns: [{ prompt: "ask 0\nA. w\nB. x\nC. y\nD. z\nAnswer:", output: " B" }], numTokens: 2, details: { numShots: 5, logProbabilities: [-1, -1, -0.5, -1] } });
    expect(metric.measures.map(({ measure, summary }) => [measure, summary])).toEqual([
      ["accuracy", "mean"],
      ["accuracy_by_subject", "meanOfCategories"],
      ["accuracy_logprob", "mean"],
      ["accuracy_logprob_by_subject", "meanOfCategories"],
    ]);
  });

  test.each([
    ["D", 1],
    ["  D", 1],
    ["\nD", 1],
    ["d", 0],
    ["(D", 0],
    ["", 0],
  ])("the text %j to a question whose answer is D counts %d", async (text, value) => {
    const metric = await mmluSource.create(options({ scoring: "generated" }));
    const [item] = metric.items.slice(-1);
    if (item === undefined) throw new Error("no item");
    const scores = await metric.scoreItem({ seed: 0 }, item, { turns: [{ prompt: "", output: text }], numPromptTokens: 1, numTokens: 1, details: { numShots: 0 } });
    expect(scores).toEqual([{ measure: "accuracy", value }, { measure: "accuracy_by_subject", value }]);
  });

  test("drops examples until the prompt fits, and counts a question that never fits as wrong", async () => {
    const question = { question: "ask 0", choices: ["w", "x", "y", "z"], answer: 0 } as const;
    const lengthWith = (numShots: number) =>
      1 + promptOf({ category: "alpha_beta", question }, Array.from({ length: numShots }, (_, index) => ({ ...question, question: `dev ${String(index)}` }))).length;
    for (const [maxLength, numShots] of [[lengthWith(5), 5], [lengthWith(5) - 1, 4], [lengthWith(1) - 1, 0]] as const) {
      const { answers } = await run(await mmluSource.create(options({ maxLength }, { limit: 5 })), createRuleSubject());
      expect(answers[0]?.details?.["numShots"]).toBe(numShots);
    }
    // The context leaves room for two tokens.
    const small = createRuleSubject({ contextLength: lengthWith(3) + 2 });
    expect((await run(await mmluSource.create(options()), small)).answers[0]?.details?.["numShots"]).toBe(3);
    const subject = createRuleSubject({ contextLength: 20, say: () => "A" });
    const { answers, scores } = await run(await mmluSource.create(options()), subject);
    expect(subject.requests).toEqual([]);
    expect(answers.every(({ turns }) => turns[0]?.stop === "contextFull")).toBe(true);
    expect(scores[0]).toHaveLength(4);
    for (const score of scores.flat()) expect(score).toMatchObject({ value: 0, words: "the question does not fit into the context" });
  });

  test("with log-probabilities alone needs no generation", async () => {
    const metric = await mmluSource.create(options({ scoring: "logprob", shots: 0 }));
    expect(metric.needs).toEqual({});
    const subject = createRuleSubject();
    const { valuesOf } = await run(metric, subject);
    expect(subject.requests).toEqual([]);
    // All letters are equally probable, and the first of them is taken.
    expect(valuesOf("accuracy_logprob")).toEqual([1, 0, 0, 0, 1, 0]);
    expect(valuesOf("accuracy")).toEqual([undefined, undefined, undefined, undefined, undefined, undefined]);
  });

  test("has a hash of the whole set, whatever part of it is asked", async () => {
    const file = writeSubjects();
    const whole = await mmluSource.create({ file, seed: 0, settings: {} });
    const part = await mmluSource.create({ file, seed: 0, settings: {}, limit: 2 });
    expect(part.items).toHaveLength(2);
    expect(part.itemsSha256).toBe(whole.itemsSha256);
  });

  test.each([
    [{ scoring: "neither" }, "mmlu.scoring: expected one of both, generated, logprob"],
    [{ shots: -1 }, "mmlu.shots: expected a whole number of at least 0"],
    [{ temperature: 1 }, "temperature"],
  ])("settings %j are refused", async (settings, message) => {
    await expect(mmluSource.create(options(settings))).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(message) as string });
  });
});

describe("continuations of a prompt", () => {
  /** Tokens are words of a table, the longest first, as a merging tokenizer would have them. */
  function tokenizerOf(words: readonly string[]) {
    const tokenize = (text: string): Int32Array => {
      const ids: number[] = [];
      for (let at = 0; at < text.length; ) {
        const candidates = words.filter((word) => text.startsWith(word, at)).sort((left, right) => right.length - left.length);
        const [word] = candidates;
        if (word === undefined) throw new Error(`no token at ${text.slice(at)}`);
        ids.push(words.indexOf(word));
        at += word.length;
      }
      return Int32Array.from(ids);
    };
    return { tokenize };
  }

  const show = (words: readonly string[], { prompt, continuations }: ReturnType<typeof letterContinuations>) => [
    [...prompt].map((id) => words[id]).join("|"),
    ...continuations.map((tokens) => [...tokens].map((id) => words[id]).join("|")),
  ];

  test.each([
    ["letters with their blank", ["Answer", ":", " A", " B", " C", " D"], ["Answer|:", " A", " B", " C", " D"]],
    ["a blank by itself, which belongs to what follows", ["Answer", ":", " ", "A", "B", "C", "D"], ["Answer|:", " |A", " |B", " |C", " |D"]],
    ["an end of the prompt that merges with each letter", ["Answer", ":", ": A", ": B", ": C", ": D"], ["Answer", ": A", ": B", ": C", ": D"]],
    ["one that merges with some letters", ["Answer", ":", ": A", " B", " C", " D"], ["Answer", ": A", ":| B", ":| C", ":| D"]],
    ["one that merges with the blank", ["Answer", ":", ": ", "A", "B", "C", "D"], ["Answer", ": |A", ": |B", ": |C", ": |D"]],
  ])("%s", (_, words, expected) => {
    const model = tokenizerOf(words);
    expect(show(words, letterContinuations(model, { text: "Answer:", tokens: model.tokenize("Answer:") }))).toEqual(expected);
  });
});
