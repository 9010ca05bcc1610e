/** The readers of question files over small files of every form, and over files with one mistake each. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { readMathProblems } from "../../../../src/benchmarks/question-sets/gsm8k-questions.js";
import { readHarmfulGoals } from "../../../../src/benchmarks/question-sets/harmful-goals.js";
import { readOpenQuestions, readReferenceAnswers, withReferences } from "../../../../src/benchmarks/question-sets/open-questions.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

function write(name: string, content: string | Buffer): string {
  const path = join(makeTemporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

const lines = (...records: readonly unknown[]) => records.map((record) => `${JSON.stringify(record)}\n`).join("");

describe("open questions", () => {
  test("of MT-Bench's form have ids, categories, turns and, unless they are empty, references", async () => {
    const path = write(
      "question.jsonl",
      lines(
        { question_id: 81, category: "writing", turns: ["a", "b"] },
        { question_id: 101, category: "math", turns: ["c", "d"], reference: ["1", ""] },
        { question_id: 102, category: "math", turns: ["e", "f"], reference: ["", ""] },
      ),
    );
    expect(await readOpenQuestions(path, 2)).toEqual([
      { id: "81", category: "writing", turns: ["a", "b"] },
      { id: "101", category: "math", turns: ["c", "d"], references: ["1", undefined] },
      { id: "102", category: "math", turns: ["e", "f"] },
    ]);
  });

  test("of the benchmark's forms: a list, an object by language, gzipped lines with a byte order mark", async () => {
    expect(await readOpenQuestions(write("t.json", JSON.stringify([{ instruction: "q", language: "English" }, { instruction: "r" }])), 1)).toEqual([
      { id: "0", category: "English", turns: ["q"] },
      { id: "1", turns: ["r"] },
    ]);
    // Keys like numbers keep the file's order.
    const byLanguage = '{"b": [{"instruction": "q", "reference": "a"}], "1": [{"instruction": "r", "reference": "s"}, {"instruction": "t", "reference": "u"}]}';
    expect(await readOpenQuestions(write("t.json", byLanguage), 1)).toEqual([
      { id: "b/0", category: "b", turns: ["q"], references: ["a"] },
      { id: "1/0", category: "1", turns: ["r"], references: ["s"] },
      { id: "1/1", category: "1", turns: ["t"], references: ["u"] },
    ]);
    expect(await readOpenQuestions(write("t.jsonl.gz", gzipSync(`\ufeff\n${lines({ prompt: "q", id: "x" })}`)), 1)).toEqual([{ id: "x", turns: ["q"] }]);
  });

  test.each([
    ["q.jsonl", '{"question": "a"}\nnot json\n', "line 2: expected one JSON object, received not json"],
    ["q.jsonl", '{"question": "a"}\n\n[1]\n', "line 3: expected an object, received an array"],
    ["q.jsonl", '{"text": "a"}\n', "line 1, question: expected one of the fields turns, instruction, prompt, question, received nothing"],
    ["q.jsonl", '{"turns": "a"}\n', "line 1, turns: expected an array of texts, received \"a\""],
    ["q.jsonl", '{"turns": ["a", 5]}\n', "line 1, turns[1]: expected a text, received 5"],
    ["q.jsonl", '{"turns": ["a", "b"]}\n', "line 1, turns: expected 1 of them, received 2"],
    ["q.jsonl", '{"question": " "}\n', 'line 1, question: expected a text, received " "'],
    ["q.jsonl", '{"question": "\\ud800"}\n', "text of whole characters"],
    ["q.jsonl", '{"question": "a", "category": 7}\n', "line 1, category: expected a text, received 7"],
    ["q.jsonl", '{"question": "a", "reference": ["b", "c"]}\n', "line 1, reference: expected at most 1 texts"],
    ["q.jsonl", '{"question": "a", "id": 1}\n{"question": "b", "id": 1}\n', "line 2, question_id: expected another one than in line 1"],
    ["q.jsonl", '{"question": "a", "id": 1.5}\n', "line 1, id: expected a text, received 1.5"],
    ["q.jsonl", "", "expected at least one question, received none"],
    ["q.json", '[{"question": "a"},\n\n{"question": ""}]', "line 3, question: expected a text"],
    ["q.json", '{"en": [{"question": "a"}],\n"ru": 3}', "line 2: expected an array of questions, received a number"],
    ["q.json", '[{"question": "a"}', "DATASET_INVALID"],
  ])("%s with %j is refused", async (name, content, message) => {
    const path = write(name, content);
    const failure = await readOpenQuestions(path, 1).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "DATASET_INVALID" });
    expect((failure as Error).message).toContain(path);
    if (message !== "DATASET_INVALID") expect((failure as Error).message).toContain(message);
  });

  test("reference answers take the place of those in the questions, and fit them", async () => {
    const questions = await readOpenQuestions(write("q.jsonl", lines({ question_id: 1, turns: ["a", "b"], reference: ["x"] }, { question_id: 2, turns: ["c", "d"], reference: ["y"] })), 2);
    const answers = write("r.jsonl", lines({ question_id: 2, choices: [{ turns: ["right", "also"] }] }));
    expect(withReferences(questions, await readReferenceAnswers(answers), answers)).toEqual([
      { id: "1", turns: ["a", "b"] },
      { id: "2", turns: ["c", "d"], references: ["right", "also"] },
    ]);
    for (const [record, message] of [
      [{ question_id: 3, choices: [{ turns: ["x"] }] }, "one to question 3"],
      [{ question_id: 2, choices: [{ turns: ["x", "y", "z"] }] }, "at most 2 answers to question 2"],
      [{ question_id: 2, choices: [] }, "choices[0].turns: expected an array of texts"],
      [{ choices: [{ turns: ["x"] }] }, "the id of a question"],
    ] as const) {
      const path = write("r.jsonl", lines(record));
      const read = async () => withReferences(questions, await readReferenceAnswers(path), path);
      await expect(read()).rejects.toThrow(message);
    }
  });
});

describe("harmful goals", () => {
  test("are a column of a CSV file, or a field of records", async () => {
    expect(await readHarmfulGoals(write("a.csv", 'goal,target\n"Do this, then\nthat",Sure\nDo it,"Sure, ""now"""\n'))).toEqual([
      { id: "0", goal: "Do this, then\nthat" },
      { id: "1", goal: "Do it" },
    ]);
    expect(await readHarmfulGoals(write("a.jsonl", lines({ goal: "g", category: "theft" })))).toEqual([{ id: "0", category: "theft", goal: "g" }]);
  });

  test.each([
    ["a.csv", "goal,target\na,b\nc\n", "line 3: expected well-formed CSV"],
    ["a.csv", "goal,target\na,b\n  ,c\n", 'line 3, goal: expected a text, received "  "'],
    ["a.csv", "text,target\na,b\n", "line 2, goal: expected a text, received nothing"],
    ["a.csv", "goal,target\n", "received none"],
    ["a.jsonl", '{"text": "a"}\n', "line 1, goal: expected a text, received nothing"],
  ])("%s with %j is refused", async (name, content, message) => {
    const path = write(name, content);
    await expect(readHarmfulGoals(path)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining(message) as string });
  });
});

describe("problems with numbers", () => {
  test("end with the answer", async () => {
    const path = write("g.jsonl", lines({ question: "q", answer: "6 * 7 = <<6*7=42>>42\n#### 42" }, { question: "r", answer: "#### 1,234" }, { question: "s", answer: "so\n#### -5 " }));
    expect((await readMathProblems(path)).map(({ answer }) => answer)).toEqual([42, 1234, -5]);
  });

  test.each([
    [{ question: "q", answer: "42" }, "line 1, answer: expected a text that ends with #### and a number"],
    [{ question: "q", answer: "#### many" }, "ends with #### and a number"],
    [{ question: "q", answer: "#### 5\nmore" }, "ends with #### and a number"],
    [{ question: "", answer: "#### 5" }, "line 1, question: expected a text"],
    [{ answer: "#### 5" }, "line 1, question: expected a text, received nothing"],
  ])("%j is refused", async (record, message) => {
    await expect(readMathProblems(write("g.jsonl", lines(record)))).rejects.toThrow(message);
  });
});
