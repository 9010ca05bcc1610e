/** The published question files themselves, where this checkout has them beside it: counts, parts, and the hashes of the catalogue. */
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { QUESTION_SETS, requireQuestionSet } from "../../../../src/benchmarks/question-sets/catalogue.js";
import { installQuestionSet } from "../../../../src/benchmarks/question-sets/fetch.js";
import { readHarmfulGoals } from "../../../../src/benchmarks/question-sets/harmful-goals.js";
import { readChoiceSubjects } from "../../../../src/benchmarks/question-sets/mmlu-files.js";
import { readOpenQuestions, readReferenceAnswers, withReferences } from "../../../../src/benchmarks/question-sets/open-questions.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const SHARED = resolve(import.meta.dirname, "../../../../../shared/data");
const FEDLLM = join(SHARED, "fedllm-bench");

/** Where the file of a set lies here. */
const PLACES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "mt-bench": { "question.jsonl": join(FEDLLM, "mtbench__question.jsonl"), "reference_answer/gpt-4.jsonl": join(FEDLLM, "mtbench__reference_answer__gpt-4.jsonl") },
  vicuna: { "question.jsonl": join(FEDLLM, "vicuna__question.jsonl") },
  advbench: { "advbench.csv": join(FEDLLM, "advbench__advbench.csv") },
  "ref-gpt4-aya": { "test_datasets.json": join(FEDLLM, "aya_evaluation__test_datasets.json") },
  "ref-gpt4-chatbot-it": { "testset.json": join(FEDLLM, "chatbot__testset.json") },
  "ref-gpt4-wildchat": { "testset.json": join(FEDLLM, "wildchat__testset.json") },
  humaneval: { "HumanEval.jsonl.gz": join(SHARED, "eval/HumanEval.jsonl.gz") },
};

describe.skipIf(!existsSync(FEDLLM))("the published files", () => {
  test.each(Object.entries(PLACES))("%s has the catalogue's bytes and questions, and installs without a warning", async (name, places) => {
    const set = requireQuestionSet(name);
    const folder = makeTemporaryFolder();
    for (const { name: file, sha256, numBytes } of set.files) {
      const bytes = readFileSync(places[file] ?? "");
      expect(bytes).toHaveLength(numBytes);
      expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      copyFileSync(places[file] ?? "", join(folder, file));
    }
    expect(await installQuestionSet(makeTemporaryFolder(), set, folder)).toMatchObject({ numItems: set.numItems, warnings: [] });
  });

  test("MT-Bench has eight categories of ten, and references for math, reasoning and coding", async () => {
    const places = PLACES["mt-bench"] ?? {};
    const answers = places["reference_answer/gpt-4.jsonl"] ?? "";
    const questions = withReferences(await readOpenQuestions(places["question.jsonl"] ?? "", 2), await readReferenceAnswers(answers), answers);
    const counts = new Map<string, number>();
    for (const { category = "" } of questions) counts.set(category, (counts.get(category) ?? 0) + 1);
    expect([...counts.values()]).toEqual(Array.from({ length: 8 }, () => 10));
    const referenced = questions.filter(({ references }) => references !== undefined);
    expect(referenced).toHaveLength(30);
    expect(new Set(referenced.map(({ category }) => category))).toEqual(new Set(["math", "reasoning", "coding"]));
    expect([questions[0]?.id, questions[79]?.id]).toEqual(["81", "160"]);
  });

  test("Aya has eight languages of twenty, each with a reference; WildChat names languages", async () => {
    const aya = await readOpenQuestions(PLACES["ref-gpt4-aya"]?.["test_datasets.json"] ?? "", 1);
    const counts = new Map<string, number>();
    for (const { category = "" } of aya) counts.set(category, (counts.get(category) ?? 0) + 1);
    expect([...counts.values()]).toEqual(Array.from({ length: 8 }, () => 20));
    expect(aya.every(({ references }) => references?.length === 1)).toBe(true);
    const wildChat = await readOpenQuestions(PLACES["ref-gpt4-wildchat"]?.["testset.json"] ?? "", 1);
    expect(wildChat.filter(({ category }) => category === "English")).toHaveLength(38);
    expect(wildChat.filter(({ category }) => category === "Russian")).toHaveLength(9);
  });

  test("AdvBench's goals are 520 sentences without a full stop", async () => {
    const goals = await readHarmfulGoals(PLACES["advbench"]?.["advbench.csv"] ?? "");
    expect(goals).toHaveLength(520);
    expect(goals.filter(({ goal }) => goal.endsWith("."))).toEqual([]);
  });

  test("MMLU has 57 subjects with five examples each and 14042 questions", async () => {
    const subjects = await readChoiceSubjects(join(SHARED, "eval/mmlu"));
    expect(subjects).toHaveLength(57);
    expect(subjects.every(({ dev }) => dev.length === 5)).toBe(true);
    expect(subjects.reduce((sum, { test: questions }) => sum + questions.length, 0)).toBe(requireQuestionSet("mmlu").numItems);
  });
});

test("every address but the authors' own of MMLU names a commit, and every hash is whole", () => {
  for (const { name, files } of QUESTION_SETS) {
    for (const { url, sha256 } of files) {
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
      expect(new URL(url).protocol).toBe("https:");
      if (name !== "mmlu") expect(url).toMatch(/\/[0-9a-f]{40}\//);
    }
  }
});
