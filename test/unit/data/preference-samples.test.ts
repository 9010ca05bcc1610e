/** The forms in which files hold preference pairs, and the reasons why a value is none. */
import { describe, expect, it } from "vitest";
import { checkPreference } from "../../../src/data/preference-samples.js";
import { parseDatasetText } from "../../../src/data/dataset.js";

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });
const sampleOf = (record: Record<string, unknown>) => {
  const check = checkPreference(record);
  return "sample" in check ? check.sample : check.reason;
};

describe("forms", () => {
  it("strings, as in FedLLM-Bench", () => {
    const pair = { prompt: "q", chosen: "good", rejected: "bad" };
    expect(sampleOf(pair)).toEqual({ kind: "preference", ...pair });
  });

  it("message lists with a prompt", () => {
    const record = { prompt: [user("q1"), assistant("a1"), user("q2")], chosen: [assistant("good")], rejected: "bad" };
    expect(sampleOf(record)).toEqual({
      kind: "preference",
      prompt: [
        { role: "user", text: "q1" },
        { role: "assistant", text: "a1" },
        { role: "user", text: "q2" },
      ],
      chosen: "good",
      rejected: "bad",
    });
  });

  it("whole conversations that share all but the last answer", () => {
    const record = { chosen: [user("q"), assistant("good")], rejected: [user("q"), assistant("bad")] };
    expect(sampleOf(record)).toEqual({ kind: "preference", prompt: [{ role: "user", text: "q" }], chosen: "good", rejected: "bad" });
    const text = (answer: string) => `\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant: ${answer}`;
    expect(sampleOf({ chosen: text("good"), rejected: text("bad") })).toEqual({
      kind: "preference",
      prompt: "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant:",
      chosen: " good",
      rejected: " bad",
    });
  });
});

describe("reasons", () => {
  const good = { prompt: "q", chosen: "good", rejected: "bad" };
  it.each([
    [{ ...good, rejected: "good" }, "chosen and rejected: both are the same answer"],
    [{ ...good, chosen: " \n" }, "chosen: the answer is empty"],
    [{ ...good, rejected: undefined }, "rejected: expected a string, received nothing"],
    [{ ...good, prompt: " " }, "prompt: is empty"],
    [{ ...good, prompt: 3 }, "prompt: expected a string, received a number"],
    [{ ...good, prompt: "\ud800" }, "prompt: holds half of a surrogate pair, which is no text"],
    [{ ...good, prompt: [] }, "prompt: no messages"],
    [{ ...good, prompt: [user("q"), assistant("a")] }, "prompt: the last message must be the user's"],
    [{ ...good, prompt: [{ role: "system", content: "s" }] }, 'prompt[0].role: expected "user" or "assistant", received "system"'],
    [{ ...good, prompt: [user("q"), user("r")] }, 'prompt[1].role: expected "assistant", since turns alternate, received "user"'],
    [{ ...good, chosen: [assistant("a"), user("b")] }, "chosen: expected one message of the assistant beside a prompt, received 2"],
    [{ ...good, chosen: [user("a")] }, 'chosen[0].role: expected "assistant", since turns alternate, received "user"'],
    [{ ...good, chosen: [{ role: "assistant" }] }, "chosen[0].content: expected a string, received nothing"],
    [{ chosen: "good", rejected: "bad" }, 'prompt: expected a prompt beside chosen, or a conversation with "\\n\\nAssistant:" in it'],
    [{ chosen: [assistant("a")], rejected: [assistant("b")] }, 'chosen[0].role: expected "user", since turns alternate, received "assistant"'],
    [
      { chosen: [user("q"), assistant("a")], rejected: [user("r"), assistant("b")] },
      "chosen and rejected: the conversations differ before their last answer, so they have no common prompt",
    ],
    [{ chosen: "\n\nHuman: q\n\nAssistant: a", rejected: "\n\nHuman: q\n\nAssistant:" }, "rejected: the answer is empty"],
  ])("%j", (record, reason) => {
    expect(sampleOf(record)).toBe(reason);
  });
});

it("a pair that a user has twice counts once; another user may have it too", async () => {
  const pair = { prompt: "q", chosen: "good", rejected: "bad" };
  const turned = { prompt: "q", chosen: "bad", rejected: "good" };
  const text = JSON.stringify({ a: [pair, turned, pair], b: [pair] });
  const dataset = await parseDatasetText([Buffer.from(text)], "pairs.json");
  expect(dataset.clients.map(({ samples }) => samples.length)).toEqual([2, 1]);
  expect(dataset.problems).toMatchObject([{ user: "a", index: 2, reason: "the same pair as sample 0 of this user, which counts once" }]);
});
