/** Problems in HumanEval's form: what is read, and how a mistake is told. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { checkOf, readProgrammingProblems } from "../../../../src/benchmarks/question-sets/programming-problems.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const PROBLEM = { task_id: "a/1", prompt: "def f(x):\n", entry_point: "f", canonical_solution: "    return x\n", test: "def check(candidate):\n    assert candidate(1) == 1\n" };
const OTHER = { ...PROBLEM, task_id: "a/2" };

function write(name: string, ...problems: readonly Record<string, unknown>[]): string {
  const file = join(makeTemporaryFolder(), name);
  const text = problems.map((problem) => JSON.stringify(problem)).join("\n");
  writeFileSync(file, name.endsWith(".gz") ? gzipSync(text) : text);
  return file;
}

test("JSON Lines and gzipped ones give the same problems; the right body may be left out", async () => {
  const plain = await readProgrammingProblems(write("p.jsonl", PROBLEM));
  expect(plain).toEqual([{ id: "a/1", prompt: "def f(x):\n", entryPoint: "f", test: PROBLEM.test, canonicalSolution: "    return x\n" }]);
  expect(await readProgrammingProblems(write("p.jsonl.gz", PROBLEM))).toEqual(plain);
  const { canonical_solution, ...unsolved } = PROBLEM;
  expect((await readProgrammingProblems(write("p.jsonl", unsolved)))[0]).not.toHaveProperty("canonicalSolution");
  expect(plain.map(checkOf)).toEqual([`${PROBLEM.test}\n\ncheck(f)\n`]);
});

test.each([
  ["task_id", { ...PROBLEM, task_id: 3 }],
  ["prompt", { ...OTHER, prompt: " " }],
  ["entry_point", { ...OTHER, entry_point: "g" }],
  ["entry_point", { ...OTHER, entry_point: "f); import os; (f" }],
  ["test", { ...OTHER, test: "assert f(1) == 1" }],
  ["task_id", PROBLEM],
])("a wrong %s is told with its line", async (field, wrong) => {
  await expect(readProgrammingProblems(write("p.jsonl", PROBLEM, wrong))).rejects.toMatchObject({
    code: "DATASET_INVALID",
    message: expect.stringContaining(`line 2, ${field}`) as string,
  });
});
