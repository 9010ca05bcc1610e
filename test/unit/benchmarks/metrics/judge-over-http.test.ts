/** Judged metrics with the real judge over HTTP: what goes over the wire, what its words become, and what happens when it fails. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { mtBenchSource } from "../../../../src/benchmarks/metrics/mt-bench.js";
import { judgeSchema } from "../../../../src/config/judge.js";
import { createJudge } from "../../../../src/judge/create-judge.js";
import { say, sendJson, startJudgeEndpoint } from "../../../helpers/judge-endpoint.js";
import type { ChatAnswer } from "../../../helpers/judge-endpoint.js";
import { createRuleSubject } from "../../../helpers/rule-subject.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

/** Too busy at first; then first answers get 8, second ones 6 in words, and whatever asks about the sea is refused for good. */
function byContent(): ChatAnswer {
  let numAsked = 0;
  return (request, response) => {
    numAsked++;
    const answer = numAsked === 1 ? sendJson(503, { error: { message: "busy" } }, { "retry-after": "0" }) : request.body.includes("the sea") ? sendJson(400, { error: { message: "no" } }) : say(request.body.includes("message 2 alone") ? "Weaker.\nOverall rating: 6/10" : "Good.\nRating: [[8]]");
    answer(request, response);
  };
}

test("MT-Bench's answers are rated over HTTP, each once in spite of a busy server, and a refusal is an error of its item alone", async () => {
  const file = join(makeTemporaryFolder(), "q.jsonl");
  writeFileSync(file, ['{"question_id": 1, "turns": ["Tell me of hills.", "And of more?"]}', '{"question_id": 2, "turns": ["Tell me of the sea.", "And of more?"]}'].join("\n"));
  const metric = await mtBenchSource.create({ file, seed: 0, settings: {} });
  const endpoint = await startJudgeEndpoint(byContent());
  const judge = await createJudge(judgeSchema.parse({ baseUrl: endpoint.baseUrl, model: "grader", cache: false }), { variables: {} });
  const answers = await metric.answerItems({ model: createRuleSubject({ say: () => "They are high." }), seed: 0 }, metric.items);
  const [hills, sea] = metric.items.map((item, index) => metric.scoreItem({ seed: 0, judge }, item, answers[index] ?? { turns: [], numPromptTokens: 0, numTokens: 0 }));
  const outcomes = await Promise.allSettled([hills, sea]);
  await judge.dispose();
  expect(outcomes[0]).toMatchObject({
    status: "fulfilled",
    value: [
      { measure: "turn1", value: 8, words: "Good.\nRating: [[8]]", by: "grader" },
      { measure: "turn2", value: 6, words: "Weaker.\nOverall rating: 6/10", by: "grader" },
      { measure: "overall", value: 7, weight: 2, by: "grader" },
    ],
  });
  expect(outcomes[1]).toMatchObject({ status: "rejected", reason: { code: "JUDGE_FAILED" } });
  const bodies = endpoint.requests.map(({ body }) => JSON.parse(body) as { model: string; temperature: number; max_tokens: number; messages: { role: string }[] });
  for (const { model, temperature, max_tokens: maxTokens, messages } of bodies) {
    expect({ model, temperature, maxTokens, roles: messages.map(({ role }) => role) }).toEqual({ model: "grader", temperature: 0, maxTokens: 2048, roles: ["system", "user"] });
  }
  // Two turns of two items, and the one that was asked again.
  expect(bodies.length).toBeGreaterThanOrEqual(4);
  expect(bodies.length).toBeLessThanOrEqual(5);
});
