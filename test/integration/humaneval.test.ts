/**
 * HumanEval from answers to scores, with real programs in a real sandbox: the forms of answers, pass@k of several programs, the published
 * problems where this checkout has them beside it, and a wrapper of the user's own. The first backend that works is taken.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { humanEvalSource } from "../../src/benchmarks/metrics/humaneval.js";
import { programOf as buildProgram } from "../../src/benchmarks/program-text.js";
import { checkOf, readProgrammingProblems } from "../../src/benchmarks/question-sets/programming-problems.js";
import { openSandbox } from "../../src/sandbox/open-sandbox.js";
import type { OpenSandbox } from "../../src/sandbox/open-sandbox.js";
import { ANSWER_FORMS } from "../fixtures/answer-forms.js";
import { PROGRAMMING_PROBLEMS, programOf } from "../fixtures/programming-problems.js";
import { createRuleSubject } from "../helpers/rule-subject.js";
import { openIfUsable } from "../helpers/sandboxes.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const PUBLISHED = resolve(import.meta.dirname, "../../../shared/data/eval/HumanEval.jsonl.gz");

let opened: OpenSandbox | undefined;
beforeAll(async () => {
  // Busy machines are slow, and none of these programs is without end.
  opened = await openIfUsable("auto", { timeLimitMs: 20_000 }, 2);
});
afterAll(async () => {
  await opened?.dispose();
});
const sandbox = (): OpenSandbox => {
  if (opened === undefined) throw new Error("neither bubblewrap nor pyodide can be used");
  return opened;
};

function writeProblems(): string {
  const file = join(makeTemporaryFolder(), "problems.jsonl");
  writeFileSync(file, PROGRAMMING_PROBLEMS.map(({ brokenSolution, ...problem }) => JSON.stringify(problem)).join("\n"));
  return file;
}

test("every form of answer becomes the program that is meant", async () => {
  const failures = await Promise.all(
    Object.entries(ANSWER_FORMS).flatMap(([form, give], formIndex) =>
      // Two problems for each form, so that every problem and form has its turn.
      PROGRAMMING_PROBLEMS.filter((_, index) => index % 5 === formIndex % 5).map(async (problem) => {
        const stub = { prompt: problem.prompt, entryPoint: problem.entry_point };
        const run = async (body: string) => sandbox().run({ source: buildProgram(stub, give(problem, body)), check: programOf(problem, "").check });
        const [right, wrong] = await Promise.all([run(problem.canonical_solution), run(problem.brokenSolution)]);
        return right.outcome === "passed" && wrong.outcome === "failed" ? [] : [`${form}, ${problem.task_id}: ${right.detail ?? right.outcome}, ${wrong.outcome}`];
      }),
    ),
  );
  expect(failures.flat()).toEqual([]);
});

test("pass@k comes from the programs that pass, and words say what went wrong", async () => {
  // Of ten programs for problem number n, the first n are right.
  const subject = createRuleSubject({
    say: (prompt, { key }) => {
      const [id, sample] = key.split("#");
      const problem = PROGRAMMING_PROBLEMS.find(({ task_id }) => task_id === id);
      expect(prompt).toContain(problem?.prompt.trimEnd());
      const numRight = Number(id?.split("/")[1]);
      return (Number(sample) < numRight ? problem?.canonical_solution : problem?.brokenSolution) ?? "";
    },
  });
  const metric = await humanEvalSource.create({ file: writeProblems(), seed: 0, settings: { samples: 10 } });
  expect(metric.measures.map(({ title }) => title)).toEqual(["pass@1", "pass@10"]);
  const answers = await metric.answerItems({ model: subject, seed: 0 }, metric.items);
  const scores = await Promise.all(metric.items.map(async (item, index) => metric.scoreItem({ sandbox: sandbox(), seed: 0 }, item, answers[index] ?? { turns: [], numPromptTokens: 0, numTokens: 0 })));
  for (const [index, [first, tenth]] of scores.entries()) {
    expect(first).toMatchObject({ measure: "pass_at_1", by: sandbox().name });
    // Differences of products of ten quotients.
    expect(first?.value).toBeCloseTo(index / 10, 12);
    expect(tenth?.value).toBe(index === 0 ? 0 : 1);
  }
  expect(scores[0]?.[0]?.words).toBe("failed 10: AssertionError at assert candidate(\"AEIOU\") == 5");
  expect(scores[3]?.[0]?.words).toMatch(/^passed 3, failed 7: /u);
  expect(new Set(subject.requests.map(({ key }) => key)).size).toBe(100);
  expect(subject.requests[0]).toMatchObject({ maxNewTokens: 512, sampling: { temperature: 0.1 } });
});

test("one program is the default; a stop of the evaluation stops the program, and without a sandbox nothing is run", async () => {
  const metric = await humanEvalSource.create({ file: writeProblems(), seed: 0, settings: {}, limit: 1 });
  const item = metric.items[0];
  if (item === undefined) throw new Error("no item");
  const answer = { turns: [{ prompt: "", output: "    while True: pass" }], numPromptTokens: 0, numTokens: 0 };
  const controller = new AbortController();
  const stopped = metric.scoreItem({ sandbox: sandbox(), seed: 0 }, item, answer, controller.signal);
  setTimeout(() => { controller.abort(); }, 200);
  await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(metric.scoreItem({ seed: 0 }, item, answer)).rejects.toMatchObject({ code: "CODE_EXECUTION_REFUSED" });
});

test("a wrapper of the user's own takes the backend's place, and one that runs nothing is refused", async () => {
  const wrapped = await openSandbox({ allowed: true, command: ["/usr/bin/env", "-i", "PATH=/usr/bin:/bin"], numWorkers: 1, limits: { timeLimitMs: 2000 } });
  try {
    const [problem] = PROGRAMMING_PROBLEMS;
    if (problem === undefined) throw new Error("no problem");
    expect(await wrapped.run(programOf(problem, problem.canonical_solution))).toMatchObject({ outcome: "passed" });
    expect(await wrapped.run(programOf(problem, "    while True: pass\n"))).toMatchObject({ outcome: "timeout" });
    expect(await wrapped.run(programOf(problem, "    return [0] * 10 ** 9\n"))).toMatchObject({ outcome: "memory" });
    expect(wrapped.name).toBe("command, 2 s, 512 MiB");
  } finally {
    await wrapped.dispose();
  }
  await expect(openSandbox({ allowed: true, command: ["/usr/bin/true"] })).rejects.toMatchObject({ code: "SANDBOX_UNAVAILABLE" });
  await expect(openSandbox({ allowed: true, command: ["/no/such/program"] })).rejects.toMatchObject({ code: "SANDBOX_UNAVAILABLE" });
});

describe.skipIf(!existsSync(PUBLISHED))("the published problems", () => {
  test("all 164 right bodies pass and all 164 broken ones fail", async () => {
    const problems = await readProgrammingProblems(PUBLISHED);
    expect(problems).toHaveLength(164);
    const outcomes = async (bodyOf: (body: string) => string) =>
      Promise.all(problems.map(async (problem) => {
        const source = buildProgram(problem, bodyOf(problem.canonicalSolution ?? ""));
        const { outcome, detail } = await sandbox().run({ source, check: checkOf(problem) });
        return { id: problem.id, outcome, ...(detail === undefined ? {} : { detail }) };
      }));
    expect((await outcomes((body) => body)).filter(({ outcome }) => outcome !== "passed")).toEqual([]);
    expect((await outcomes(() => "    return None\n")).filter(({ outcome }) => outcome !== "failed")).toEqual([]);
  });
});
