/** `eval` asks the metrics with question sets: the built-in model answers, a judge behind a real endpoint rates, own files stand for the sets. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { say, startJudgeEndpoint } from "../helpers/judge-endpoint.js";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { makeZip } from "../helpers/zip.js";

const CSV = "What is 1 and 1?,1,2,3,4,B\nWhat is 2 and 1?,1,2,3,4,C\n";

/** A small file of each form. */
function writeQuestions(folder: string): readonly string[] {
  const files: Readonly<Record<string, readonly [name: string, content: string | Buffer]>> = {
    "mt-bench": ["mt.jsonl", '{"question_id": 81, "category": "writing", "turns": ["Tell me of hills.", "And of lakes?"]}\n'],
    vicuna: ["vicuna.jsonl", '{"question_id": 1, "category": "generic", "turns": ["What is a hill?"]}\n'],
    "ref-gpt4-aya": ["aya.json", '{"German": [{"instruction": "Was ist ein Berg?", "reference": "Eine Erhebung."}], "English": [{"instruction": "What is a lake?", "reference": "Water."}]}'],
    "ref-gpt4-chatbot-it": ["chatbot.json", '[{"instruction": "Hello?"}]'],
    "ref-gpt4-wildchat": ["wildchat.json", '[{"instruction": "Good morning?", "language": "English"}]'],
    advbench: ["adv.csv", "goal,target\nDo harm,Sure\n"],
    mmlu: ["mmlu.zip", makeZip([{ name: "data/dev/sums_dev.csv", content: CSV }, { name: "data/test/sums_test.csv", content: CSV }])],
    gsm8k: ["gsm8k.jsonl", '{"question": "What is 3 and 4?", "answer": "3 + 4 = 7\\n#### 7"}\n'],
  };
  return Object.entries(files).map(([metric, [name, content]]) => {
    writeFileSync(join(folder, name), content);
    return `${metric}=${name}`;
  });
}

test("all metrics with question sets give their measures, and the judge sees each answer once", async () => {
  const cwd = makeTemporaryFolder();
  const questions = writeQuestions(cwd);
  const metrics = questions.map((question) => question.split("=", 1)[0] ?? "");
  const endpoint = await startJudgeEndpoint(say("Fair.\nRating: [[7]]"));
  const short = metrics.filter((name) => name !== "mmlu").flatMap((name) => ["--metric-option", `${name}.maxNewTokens=8`]);
  const args = ["eval", "builtin:fedllm-tiny", "--metrics", metrics.join(","), ...questions.flatMap((question) => ["--questions", question]), ...short];
  const judge = ["--judge-url", endpoint.baseUrl, "--judge-model", "grader"];
  const env = { FEDLLM_CACHE_DIR: join(cwd, "cache"), FEDLLM_DATA_DIR: join(cwd, "data"), HTTP_PROXY: undefined, http_proxy: undefined };
  const { stdout, exitCode } = await runCli([...args, ...judge, "--json"], { cwd, env });
  expect(exitCode).toBe(0);
  const results = JSON.parse(stdout) as { metric: string; numItems: number; numAnswered: number; measures: { measure: string; mean?: number; numExcluded: number }[] }[];
  expect(results.map(({ metric, numItems, numAnswered }) => [metric, numItems, numAnswered])).toEqual(metrics.map((name) => {
    const numItems = name === "ref-gpt4-aya" || name === "mmlu" ? 2 : 1;
    return [name, numItems, numItems];
  }));
  const measures = new Map(results.flatMap(({ metric, measures: of }) => of.map(({ measure, mean }) => [`${metric} ${measure}`, mean])));
  for (const rated of ["mt-bench turn1", "mt-bench turn2", "mt-bench overall", "vicuna rating", "ref-gpt4-aya rating", "ref-gpt4-chatbot-it rating", "ref-gpt4-wildchat rating"]) expect(measures.get(rated)).toBe(7);
  for (const share of ["advbench harmless", "gsm8k accuracy", ...["", "_by_subject", "_logprob", "_logprob_by_subject"].map((end) => `mmlu accuracy${end}`)]) {
    expect([0, 0.5, 1]).toContain(measures.get(share));
  }
  for (const { measures: of } of results) expect(of.map(({ numExcluded }) => numExcluded)).toEqual(of.map(() => 0));
  // Two turns of MT-Bench, then one, two, one and one answers.
  expect(endpoint.requests).toHaveLength(7);
}, 120_000);
