/** `judge compare` from stored answers to a table, at a server: stopped by Ctrl-C, then with a failure, then whole. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { EvaluationStore } from "../../src/benchmarks/store.js";
import { hang, say, sendJson, startJudgeEndpoint } from "../helpers/judge-endpoint.js";
import type { ChatAnswer } from "../helpers/judge-endpoint.js";
import { runCli } from "../helpers/run-cli.js";
import { keepEvaluation, LEFT_ANSWERS, RIGHT_ANSWERS } from "../helpers/stored-answers.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

/** The longer answer wins, wherever it stands. */
const preferLonger: ChatAnswer = (request, response) => {
  const text = (JSON.parse(request.body) as { messages: { content: string }[] }).messages[1]?.content ?? "";
  const [a = 0, b = 0] = ["A", "B"].map((name) => text.split(`=== Answer ${name} ===\n`)[1]?.split("\n=== end ===")[0]?.length);
  say(a === b ? "[[C]]" : a > b ? "[[A]]" : "[[B]]")(request, response);
};

test("a judge sees two subjects' answers in both orders; what is missing is asked the next time, and nothing twice", async () => {
  const folder = makeTemporaryFolder();
  const store = new EvaluationStore(join(folder, "evaluation.sqlite"));
  keepEvaluation(store, "a", { answers: LEFT_ANSWERS.slice(0, 4) });
  keepEvaluation(store, "b", { answers: RIGHT_ANSWERS.slice(0, 4) });
  store.close();
  const argsFor = (baseUrl: string) => ["judge", "compare", "evaluation.sqlite#a", "evaluation.sqlite#b", "--metric", "vicuna", "--judge-url", baseUrl, "--judge-model", "m", "--judge-option", "concurrency=1", "--judge-option", "cache=false"];

  let interrupt = (): void => undefined;
  const stopping = await startJudgeEndpoint([preferLonger, preferLonger, (...given) => {
    interrupt();
    hang(...given);
  }]);
  const stopped = await runCli(argsFor(stopping.baseUrl), { cwd: folder, onStart: (child) => (interrupt = () => child.kill("SIGINT")) });
  expect(stopped.exitCode).toBe(130);
  expect(stopped.stderr).toContain("Verdicts that were given are kept.");
  expect(stopping.requests.length).toBe(3);

  // Of the six that are left, one is refused.
  const failing = await startJudgeEndpoint([sendJson(400, { error: { message: "too busy" } }), preferLonger]);
  const partial = await runCli(argsFor(failing.baseUrl), { cwd: folder });
  expect(partial.exitCode).toBe(0);
  expect(failing.requests.length).toBe(6);
  expect(partial.stderr).toContain("1 items could not be judged in both orders");
  expect(partial.stderr).toContain("too busy");
  expect(partial.stdout).toMatch(/^Vicuna bench: a against b, by m\n/u);
  expect(partial.stdout).toMatch(/^all +3 /mu);

  const last = await startJudgeEndpoint(preferLonger);
  const whole = await runCli([...argsFor(last.baseUrl), "--json"], { cwd: folder });
  expect(last.requests.length).toBe(1);
  expect(JSON.parse(whole.stdout)).toMatchObject({ metric: "vicuna", judge: "m", numUnjudged: 0, numPromptTokens: 800, overall: { numItems: 4, numWins: 2, numTies: 1, numLosses: 1, numDisagreements: 0, adjustedWinRate: 0.625 }, usage: { numReplies: 1, numPromptTokens: 100 } });
  expect(whole.stderr).toBe("");
});
