/** Whole splits of files: no sample is lost, the seed decides, and settings that do not fit are refused. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { splitData } from "../../../../src/data/split/split.js";
import type { SplitOptions } from "../../../../src/data/split/split.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const TEXTS = {
  en: "Which of the rivers of this country is the longest one, and where does it begin?",
  fr: "Quelle est la plus longue rivière de ce pays, et où prend-elle sa source ?",
  ru: "Какая река в этой стране самая длинная и где она начинается?",
  te: "ఈ దేశంలో అతి పొడవైన నది ఏది, అది ఎక్కడ మొదలవుతుంది?",
};

/** Forty samples in four languages, of four topics, each of another length. */
const RECORDS = Array.from({ length: 40 }, (_, index) => {
  const [language, text] = Object.entries(TEXTS)[index % 4] ?? ["", ""];
  return { instruction: text, response: `${"word ".repeat(index + 1)}${String(index)}`, language, topic: index % 2, who: "ignored" };
});

async function split(options: Partial<SplitOptions>) {
  const folder = makeTemporaryFolder();
  const file = join(folder, "in.jsonl");
  writeFileSync(file, RECORDS.map((record) => JSON.stringify(record)).join("\n"));
  const out = join(folder, "out.json");
  const result = await splitData({ files: [file], map: new Map(), keep: [], out, method: "iid", numClients: 4, seed: 0, ...options });
  const clients = JSON.parse(readFileSync(out, "utf8")) as Record<string, { instruction: string; response: string; topic?: number }[]>;
  return { result, clients };
}

const endings = (clients: Record<string, { response: string }[]>) => Object.values(clients).flatMap((samples) => samples.map(({ response }) => Number(response.split(" ").at(-1))));

describe("splits", () => {
  test.each([
    [{ method: "iid" }],
    [{ method: "quantity", alpha: 1 }],
    [{ method: "dirichlet", by: "language", alpha: 1 }],
    [{ method: "dirichlet", by: "length", bins: 4, alpha: 1 }],
    [{ method: "pathological", by: "field", field: "topic" }],
  ] as const)("%j keeps every sample once, and the seed decides", async (options) => {
    const first = await split(options);
    expect(endings(first.clients).sort((left, right) => left - right)).toEqual(RECORDS.map((_, index) => index));
    expect(Object.keys(first.clients)).toEqual(["client-1", "client-2", "client-3", "client-4"]);
    expect((await split(options)).result.written.sha256).toBe(first.result.written.sha256);
    expect((await split({ ...options, seed: 1 })).result.written.sha256).not.toBe(first.result.written.sha256);
  });

  test("by language, one shard a client: each client has the samples of one language", async () => {
    const { clients, result } = await split({ method: "pathological", by: "language", shardsPerClient: 1 });
    expect(result.classes).toEqual(["en", "fr", "ru", "te"]);
    for (const samples of Object.values(clients)) expect(new Set(samples.map(({ instruction }) => instruction)).size).toBe(1);
    // Each client lacks three of four equal classes.
    expect(result.skew.classDistance).toBeCloseTo(0.75, 12);
  });

  test("by length, one shard a client: lengths of different clients do not overlap", async () => {
    const { clients, result } = await split({ method: "pathological", by: "length", bins: 4, shardsPerClient: 1 });
    const ranges = Object.values(clients)
      .map((samples) => samples.map(({ instruction, response }) => instruction.length + response.length))
      .map((lengths) => [Math.min(...lengths), Math.max(...lengths)] as const)
      .sort(([left], [right]) => left - right);
    for (const [index, [, largest]] of ranges.slice(0, -1).entries()) expect(largest).toBeLessThan(ranges[index + 1]?.[0] ?? 0);
    expect(result.skew.lengthDistance).toBeGreaterThan(0.6);
  });

  test("a program may say what the classes are", async () => {
    const { result } = await split({ method: "pathological", shardsPerClient: 1, numClients: 2, classOf: ({ sample }) => String(sample.kind === "single-turn" && sample.response.length > 100) });
    expect(result.classes).toEqual(["false", "true"]);
  });

  test("the field of the classes is kept only if it was asked for", async () => {
    const options = { method: "dirichlet", by: "field", field: "topic", alpha: 5 } as const;
    expect(Object.values((await split(options)).clients)[0]?.[0]).not.toHaveProperty("topic");
    expect(Object.values((await split({ ...options, keep: ["topic"] })).clients)[0]?.[0]).toHaveProperty("topic");
  });

  test.each([
    [{ numClients: 0 }, "--clients"],
    [{ numClients: 41 }, "no more clients than there are samples for"],
    [{ method: "dirichlet" }, "--by"],
    [{ by: "field" }, "--field"],
    [{ by: "field", field: "none", method: "dirichlet" }, "--field"],
    [{ alpha: 0 }, "--alpha"],
    [{ seed: -1 }, "--seed"],
    [{ method: "dirichlet", by: "field", field: "topic", alpha: 0.001, minSamples: 9 }, "--min-samples"],
  ] as const)("%j is refused", async (options, subject) => {
    await expect(split(options)).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(subject) as string });
  });
});
