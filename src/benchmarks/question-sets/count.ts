/** Reads a question set as its metric does, so that what cannot be used is refused when it is installed and not when it is needed. */
import { join } from "node:path";
import { readHarmfulGoals } from "./harmful-goals.js";
import { readMathProblems } from "./gsm8k-questions.js";
import { readChoiceSubjects } from "./mmlu-files.js";
import { readOpenQuestions, readReferenceAnswers, withReferences } from "./open-questions.js";
import { readProgrammingProblems } from "./programming-problems.js";

const READERS: Readonly<Record<string, (folder: string) => Promise<readonly unknown[]>>> = {
  "mt-bench": async (folder) => {
    const answers = join(folder, "reference_answer", "gpt-4.jsonl");
    return withReferences(await readOpenQuestions(join(folder, "question.jsonl"), 2), await readReferenceAnswers(answers), answers);
  },
  vicuna: (folder) => readOpenQuestions(join(folder, "question.jsonl"), 1),
  advbench: (folder) => readHarmfulGoals(join(folder, "advbench.csv")),
  "ref-gpt4-aya": (folder) => readOpenQuestions(join(folder, "test_datasets.json"), 1),
  "ref-gpt4-chatbot-it": (folder) => readOpenQuestions(join(folder, "testset.json"), 1),
  "ref-gpt4-wildchat": (folder) => readOpenQuestions(join(folder, "testset.json"), 1),
  mmlu: async (folder) => (await readChoiceSubjects(folder)).flatMap(({ test }) => test),
  humaneval: (folder) => readProgrammingProblems(join(folder, "HumanEval.jsonl.gz")),
  gsm8k: (folder) => readMathProblems(join(folder, "test.jsonl")),
};

/** Questions of a set in its folder. Throws DATASET_INVALID, IO_FAILED. */
export async function countQuestions(name: string, folder: string): Promise<number> {
  return (await READERS[name]?.(folder))?.length ?? 0;
}
