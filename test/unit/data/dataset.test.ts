/**
 * Goal: files of client data are read in file order, bit-exactly, from any cutting of their bytes, and bad input is named.
 * Method: small texts with answers known by eye, files generated here, and JSON.parse as the independent second reading.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeSampleProblem, parseDatasetText, readFederatedDataset } from "../../../src/data/dataset.js";
import type { FederatedDataset, ReadDatasetOptions } from "../../../src/data/dataset.js";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dataset-test-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

type Parsed = Omit<FederatedDataset, "sha256">;

/** Parses a text in pieces of this many bytes. */
function parse(
  text: string | Uint8Array,
  name = "clients.json",
  options: ReadDatasetOptions = {},
  pieceBytes = 7,
): Promise<Parsed> {
  const bytes = Buffer.from(text as string);
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, index) =>
    bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
  return parseDatasetText(pieces, name, options);
}

const qa = (instruction: string, response: string): object => ({ instruction, response });
const chat = (...turns: [string, string][]): object => ({
  conversations: turns.map(([from, value]) => ({ from, value })),
});
const pair = { prompt: "p", chosen: "c", rejected: "r" };

describe("the forms of files", () => {
  it("keeps users in file order, also when their ids look like integers", async () => {
    const dataset = await parse(
      '{"10": [{"instruction":"a","response":"b"}], "2": [{"instruction":"c","response":"d"}], "__proto__": [], "1": []}',
    );
    expect(dataset.clients.map((client) => client.id)).toEqual(["10", "2", "__proto__", "1"]);
    expect(dataset.clients[1]?.samples).toEqual([{ kind: "single-turn", instruction: "c", response: "d" }]);
    expect(dataset).toMatchObject({ kind: "single-turn", numSamples: 2, numProblems: 0 });
  });

  it("names the one client of a plain array after the file", async () => {
    const dataset = await parse(JSON.stringify([qa("a", "b"), qa("c", "d")]), "data/local_es.json.json");
    expect(dataset.clients.map(({ id, samples }) => [id, samples.length])).toEqual([["local_es", 2]]);
  });

  it("groups a plain array by a user field when one is named", async () => {
    const records = [
      { who: 7, ...qa("a", "b") },
      { who: "x", ...qa("c", "d") },
      { who: 7, ...qa("e", "f") },
      qa("g", "h"),
    ];
    const dataset = await parse(JSON.stringify(records), "all.json", { userField: "who" });
    expect(dataset.clients.map(({ id, samples }) => [id, samples.length])).toEqual([
      ["7", 2],
      ["x", 1],
    ]);
    expect(dataset.problems).toMatchObject([
      { reason: "who: expected a user id (a string or an integer), received nothing" },
    ]);
  });

  it("reads JSON Lines by their user field, with empty lines and both line ends", async () => {
    const lines = [
      { user: "b", ...qa("1", "2") },
      { user: "a", ...qa("3", "4") },
      { user: "b", ...qa("5", "6") },
    ].map((line) => JSON.stringify(line));
    const dataset = await parse(`${lines[0] ?? ""}\r\n\n${lines[1] ?? ""}\n${lines[2] ?? ""}`, "all.jsonl");
    expect(dataset.clients.map(({ id, samples }) => [id, samples.length])).toEqual([
      ["b", 2],
      ["a", 1],
    ]);
  });

  it("takes JSON Lines without users as one client", async () => {
    const dataset = await parse(
      `${JSON.stringify(qa("1", "2"))}\n${JSON.stringify({ ...qa("3", "4"), user: "late" })}\n`,
      "mine.ndjson",
    );
    expect(dataset.clients.map(({ id, samples }) => [id, samples.length])).toEqual([["mine", 2]]);
  });

  it("accepts a byte order mark, an Alpaca input and the answer names of other files", async () => {
    const text = JSON.stringify([
      { instruction: "a", input: "i", output: "o" },
      { instruction: "b", input: "", output: "o" },
      { instruction: "c", reference: "r" },
    ]);
    const dataset = await parse(`\uFEFF${text}`);
    expect(dataset.clients[0]?.samples).toEqual([
      { kind: "single-turn", instruction: "a", input: "i", response: "o" },
      { kind: "single-turn", instruction: "b", response: "o" },
      { kind: "single-turn", instruction: "c", response: "r" },
    ]);
  });

  it("reads preference pairs", async () => {
    const dataset = await parse(JSON.stringify({ arena_user_973: [pair] }));
    expect(dataset.clients[0]?.samples).toEqual([{ kind: "preference", ...pair }]);
  });

  it("reads conversations, drops a first answer and keeps a last question", async () => {
    const dataset = await parse(
      JSON.stringify({ u: [chat(["gpt", "hello"], ["human", "q1"], ["gpt", "a1"], ["human", "q2"])] }),
    );
    expect(dataset.clients[0]?.samples).toEqual([
      {
        kind: "multi-turn",
        turns: [
          { role: "user", text: "q1" },
          { role: "assistant", text: "a1" },
          { role: "user", text: "q2" },
        ],
      },
    ]);
  });

  it("appends the samples of a user id that appears twice and says so", async () => {
    const dataset = await parse(
      '{"u":[{"instruction":"a","response":"b"}],"v":[],"u":[{"instruction":"c","response":"d"},{"instruction":"e"}]}',
    );
    expect(dataset.clients.map(({ id, samples }) => [id, samples.length])).toEqual([
      ["u", 2],
      ["v", 0],
    ]);
    expect(dataset.problems).toMatchObject([
      { user: "u", reason: "the user id appears again; the samples are appended to the earlier ones" },
      { user: "u", index: 2, reason: "response: expected a string, received nothing" },
    ]);
  });
});

describe("bad samples", () => {
  const cases: readonly (readonly [string, unknown, string])[] = [
    ["a missing answer", { instruction: "a" }, "response: expected a string, received nothing"],
    ["a missing instruction", { prompt: "a", response: "b" }, "expected instruction and response"],
    ["an answer of another type", { instruction: "a", response: 3 }, "response: expected a string, received a number"],
    [
      "an instruction of another type",
      { instruction: null, response: "b" },
      "instruction: expected a string, received null",
    ],
    [
      "an input of another type",
      { instruction: "a", input: [], response: "b" },
      "input: expected a string, received an array",
    ],
    ["an empty answer", { instruction: "a", response: " \n" }, "response: the answer is empty"],
    [
      "half of a surrogate pair",
      { instruction: "\ud83d", response: "b" },
      "instruction: holds half of a surrogate pair",
    ],
    ["no object", "text", "received a string"],
    ["null", null, "received null"],
    ["an array", [1], "received an array"],
  ];

  it.each(cases)("reports %s and reads on", async (_, value, reason) => {
    const dataset = await parse(JSON.stringify({ "user 1": [qa("a", "b"), value, qa("c", "d")] }));
    expect(dataset.numSamples).toBe(2);
    expect(dataset.problems).toHaveLength(1);
    expect(dataset.problems[0]).toMatchObject({ user: "user 1", index: 1 });
    expect(dataset.problems[0]?.reason).toContain(reason);
  });

  it.each([
    ["two questions in a row", chat(["human", "q"], ["human", "q"]), "conversations[1]: turns must alternate"],
    [
      "two answers in a row",
      chat(["human", "q"], ["gpt", "a"], ["gpt", "a"]),
      "conversations[2]: turns must alternate",
    ],
    [
      "an unknown speaker",
      chat(["system", "s"], ["human", "q"], ["gpt", "a"]),
      'conversations[0].from: expected "human" or "gpt", received "system"',
    ],
    ["no answer", chat(["human", "q"]), "no user turn with an answer"],
    ["an empty answer", chat(["human", "q"], ["gpt", ""]), "conversations[1].value: the answer is empty"],
    ["no turns", { conversations: "q" }, "conversations: expected an array, received a string"],
    ["a turn that is text", { conversations: ["q"] }, "conversations[0]: expected an object, received a string"],
    [
      "a turn without text",
      { conversations: [{ from: "human" }] },
      "conversations[0].value: expected a string, received nothing",
    ],
  ])("reports a conversation with %s", async (_, value, reason) => {
    const dataset = await parse(JSON.stringify({ u: [chat(["human", "q"], ["gpt", "a"]), value] }));
    expect(dataset.numSamples).toBe(1);
    expect(dataset.problems.map((problem) => problem.reason.includes(reason))).toEqual([true]);
  });

  it("describes a problem in one line with user, position and reason", async () => {
    const dataset = await parse('{"u":[{"instruction":"a","response":"b"},{"instruction":"a"}]}');
    expect(dataset.problems.map(describeSampleProblem)).toEqual([
      'user "u", sample 1, byte 41: response: expected a string, received nothing',
    ]);
  });

  it("reports a user whose value is no array and ids that cannot be stored", async () => {
    const dataset = await parse(
      '{"u":{"a":[1,"]"]},"":[{"instruction":"a","response":"b"}],"\\ud800":[],"v":[{"instruction":"a","response":"b"}]}',
    );
    expect(dataset.clients.map(({ id, samples }) => [id, samples.length])).toEqual([
      ["u", 0],
      ["v", 1],
    ]);
    expect(dataset.problems.map((problem) => problem.reason.slice(0, 27))).toEqual([
      "expected an array of sample",
      "expected a user id of 1 to ",
      "expected a user id of 1 to ",
    ]);
  });

  it("keeps at most 1000 problems and counts the others", async () => {
    const dataset = await parse(JSON.stringify([qa("a", "b"), ...Array.from({ length: 1500 }, () => 0)]));
    expect(dataset.problems).toHaveLength(1000);
    expect(dataset.numProblems).toBe(1500);
  });
});

describe("files on disk", () => {
  it("reads 5 MB of clients as JSON.parse does, plain and compressed, and hashes the stored bytes", async () => {
    const records = Array.from({ length: 40 }, (_, user) => [
      `user-${user}`,
      Array.from({ length: 50 }, (_unused, index) =>
        qa(`${user}:${index} ${"ключ 😀 ".repeat(50)}`, "ответ ".repeat(120 + index)),
      ),
    ]);
    const text = JSON.stringify(Object.fromEntries(records));
    expect(Buffer.byteLength(text)).toBeGreaterThan(4_000_000);
    for (const [name, bytes] of [
      ["big.json", Buffer.from(text)],
      ["big.json.gz", gzipSync(text)],
    ] as const) {
      writeFileSync(join(folder, name), bytes);
      const dataset = await readFederatedDataset(join(folder, name));
      const expected = Object.entries(JSON.parse(text) as Record<string, object[]>);
      expect(dataset.clients).toEqual(
        expected.map(([id, samples]) => ({
          id,
          samples: samples.map((sample) => ({ kind: "single-turn", ...sample })),
        })),
      );
      expect(dataset.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
    }
  });

  it("hashes a compressed file to its end, also the zeros that may follow the data", async () => {
    const bytes = Buffer.concat([gzipSync(JSON.stringify([qa("a", "b")])), Buffer.alloc(1_000_000)]);
    writeFileSync(join(folder, "padded.json.gz"), bytes);
    const dataset = await readFederatedDataset(join(folder, "padded.json.gz"));
    expect(dataset.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
  });

  it("tells a missing file from a damaged one", async () => {
    await expect(readFederatedDataset(join(folder, "absent.json"))).rejects.toMatchObject({ code: "IO_FAILED" });
    const whole = gzipSync(JSON.stringify([qa("a".repeat(1000), "b")]));
    writeFileSync(join(folder, "cut.json.gz"), whole.subarray(0, whole.length - 9));
    await expect(readFederatedDataset(join(folder, "cut.json.gz"))).rejects.toMatchObject({ code: "DATASET_INVALID" });
    writeFileSync(join(folder, "plain.json.gz"), "[]");
    await expect(readFederatedDataset(join(folder, "plain.json.gz"))).rejects.toMatchObject({
      code: "DATASET_INVALID",
    });
  });
});

describe("real files", () => {
  const shared = new URL("../../../../shared/data/", import.meta.url).pathname;
  const aya = join(shared, "fedllm-bench/aya_evaluation__test_datasets.json");
  const questions = join(shared, "fedllm-bench/chatbot__testset.json");
  const harmless = join(shared, "preference/hh-rlhf_harmless-base_test.jsonl.gz");
  const missing = [aya, questions, harmless].filter((path) => !existsSync(path));
  if (missing.length > 0) console.log(`skipped: real files are absent: ${missing.join(", ")}`);

  it.skipIf(!existsSync(aya))("reads the eight languages of Fed-Aya's test set as JSON.parse does", async () => {
    const dataset = await readFederatedDataset(aya);
    const expected = JSON.parse(readFileSync(aya, "utf8")) as Record<
      string,
      { instruction: string; reference: string }[]
    >;
    expect(dataset).toMatchObject({ kind: "single-turn", numSamples: 160, numProblems: 0 });
    expect(dataset.clients).toEqual(
      Object.entries(expected).map(([id, samples]) => ({
        id,
        samples: samples.map(({ instruction, reference }) => ({
          kind: "single-turn",
          instruction,
          response: reference,
        })),
      })),
    );
  });

  it.skipIf(!existsSync(questions))("refuses a file of questions without answers", async () => {
    await expect(readFederatedDataset(questions)).rejects.toMatchObject({
      code: "DATASET_INVALID",
      message: expect.stringContaining("50 problems") as string,
    });
  });

  it.skipIf(!existsSync(harmless))("splits the conversations of hh-rlhf into prompt and answers", async () => {
    const dataset = await readFederatedDataset(harmless);
    const lines = gunzipSync(readFileSync(harmless)).toString("utf8").trim().split("\n");
    const records = lines.map((line) => JSON.parse(line) as { chosen: string; rejected: string });
    const samples = dataset.clients[0]?.samples ?? [];
    expect(samples).toHaveLength(records.length - dataset.numProblems);
    const whole = samples.map((sample) => {
      if (sample.kind !== "preference" || typeof sample.prompt !== "string") throw new Error("not a pair of texts");
      expect(sample.prompt.endsWith("\n\nAssistant:")).toBe(true);
      return { chosen: sample.prompt + sample.chosen, rejected: sample.prompt + sample.rejected };
    });
    const bad = new Set(dataset.problems.map(({ index }) => index));
    expect(whole).toEqual(records.filter((_, index) => !bad.has(index)));
    // Both answers the same, an empty answer, or a conversation that differs before its last answer.
    expect(dataset.numProblems).toBe(9);
  });
});
