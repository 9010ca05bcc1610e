/** Whole imports: users, filters, what is written, and what is read again. */
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { readFederatedDataset } from "../../../../src/data/dataset.js";
import { parseFieldMap } from "../../../../src/data/import/field-map.js";
import { importData } from "../../../../src/data/import/import.js";
import type { ImportOptions } from "../../../../src/data/import/import.js";
import { UserSpool } from "../../../../src/data/import/user-spool.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const sample = (text: string, more: object = {}) => ({ instruction: text, response: `${text}!`, ...more });

/** Writes the records as lines and imports them. */
async function importLines(records: readonly object[], options: Partial<ImportOptions> & { outName?: string } = {}) {
  const folder = makeTemporaryFolder();
  const file = join(folder, "in.jsonl");
  writeFileSync(file, records.map((record) => JSON.stringify(record)).join("\n"));
  const out = join(folder, options.outName ?? "out.json");
  const result = await importData({ files: [file], map: new Map(), keep: [], out, ...options });
  return { result, out, folder };
}

async function clientsOf(path: string): Promise<readonly (readonly [string, readonly string[]])[]> {
  const { clients } = await readFederatedDataset(path);
  return clients.map(({ id, samples }) => [id, samples.map((each) => (each.kind === "single-turn" ? each.instruction : each.kind))]);
}

describe("users", () => {
  test("are found by a key, in the order in which they appear, also those that look like numbers", async () => {
    const records = [sample("a", { by: { id: "u" } }), sample("b", { by: { id: 10 } }), sample("c", { by: { id: 2 } }), sample("d", { by: { id: "u" } })];
    const { out, result } = await importLines(records, { userKey: "by.id" });
    expect(await clientsOf(out)).toEqual([["u", ["a", "d"]], ["10", ["b"]], ["2", ["c"]]]);
    expect(result).toMatchObject({ numRecords: 4, numSamples: 4, numProblems: 0, kind: "single-turn", form: "alpaca" });
  });

  test("that are missing, empty, blank or no text lose their samples, with the reason", async () => {
    const records = [sample("a", { u: "x" }), sample("b"), sample("c", { u: "" }), sample("d", { u: " " }), sample("e", { u: 1.5 }), sample("f", { u: "x".repeat(2000) })];
    const { out, result } = await importLines(records, { userKey: "u" });
    expect(await clientsOf(out)).toEqual([["x", ["a"]]]);
    expect(result.numProblems).toBe(5);
    expect(result.problems[0]).toMatchObject({ reason: "u: expected a user id (a string or an integer), received nothing" });
  });

  test("of the same name in several files are one client; a file that names none is a client", async () => {
    const folder = makeTemporaryFolder();
    const files = ["a.json", "b.json", "c.json"].map((name) => join(folder, name));
    const contents = [{ u: [sample("1")], v: [sample("2")] }, { u: [sample("3")], empty: [] }, [sample("4")]];
    for (const [index, file] of files.entries()) writeFileSync(file, JSON.stringify(contents[index]));
    const out = join(folder, "out.jsonl");
    const { numProblems, problems, sources } = await importData({ files, map: new Map(), keep: [], out });
    expect(await clientsOf(out)).toEqual([["u", ["1", "3"]], ["v", ["2"]], ["c", ["4"]]]);
    expect({ numProblems, problems }).toMatchObject({ numProblems: 1, problems: [{ user: "empty", reason: expect.stringContaining("no samples") as string }] });
    expect(sources.map(({ sha256 }) => sha256)).toEqual(files.map((file) => createHash("sha256").update(readFileSync(file)).digest("hex")));
  });
});

describe("output", () => {
  test.each(["out.json", "out.jsonl", "out.json.gz", "out.jsonl.gz"])("%s holds the same clients, and its hash and size are told", async (outName) => {
    const records = [sample("é", { user: 'quo"te' }), sample("b", { user: "v" }), sample("c", { user: 'quo"te' })];
    const { out, result } = await importLines(records, { outName });
    expect(await clientsOf(out)).toEqual([['quo"te', ["é", "c"]], ["v", ["b"]]]);
    const stored = readFileSync(out);
    expect(result.written).toMatchObject({ numClients: 2, numSamples: 3, numBytes: stored.length, sha256: createHash("sha256").update(stored).digest("hex") });
    if (outName === "out.json.gz") expect(() => JSON.parse(gunzipSync(stored).toString()) as unknown).not.toThrow();
  });

  test("a limit of samples keeps all users in a second file", async () => {
    const { out, result, folder } = await importLines(["u", "v", "u", "w", "w"].map((user, index) => sample(String(index), { user })), { minSamples: 2, maxClients: 1 });
    expect(await clientsOf(out)).toEqual([["u", ["0", "2"]]]);
    expect(await clientsOf(join(folder, "out.unfiltered.json"))).toEqual([["u", ["0", "2"]], ["v", ["1"]], ["w", ["3", "4"]]]);
    expect(result.unfiltered).toMatchObject({ numClients: 3, numSamples: 5 });
  });

  test("further fields are kept when they are asked for", async () => {
    const { out } = await importLines([sample("a", { user: "u", language: "fr", meta: { n: 1 }, list: [1] })], { keep: ["language", "meta.n", "list"] });
    expect((await readFederatedDataset(out, { attributeField: "language" })).clients[0]?.attribute).toBe("fr");
    expect(JSON.parse(readFileSync(out, "utf8"))).toEqual({ u: [{ instruction: "a", response: "a!", language: "fr", "meta.n": 1 }] });
  });

  test("nothing is left behind by an import that fails, and nothing is replaced unasked", async () => {
    const folder = makeTemporaryFolder();
    const file = join(folder, "in.jsonl");
    writeFileSync(file, `${JSON.stringify(sample("a"))}\n{broken`);
    const out = join(folder, "out.json");
    await expect(importData({ files: [file], map: new Map(), keep: [], out })).rejects.toMatchObject({ code: "DATASET_INVALID" });
    expect(readdirSync(folder)).toEqual(["in.jsonl"]);
    writeFileSync(out, "precious");
    writeFileSync(file, JSON.stringify(sample("a")));
    await expect(importData({ files: [file], map: new Map(), keep: [], out })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    expect(readFileSync(out, "utf8")).toBe("precious");
    await importData({ files: [file], map: new Map(), keep: [], out, overwrite: true });
    expect(await clientsOf(out)).toEqual([["in", ["a"]]]);
  });
});

describe("samples", () => {
  test("of a megabyte pass whole, of more than the limit are refused", async () => {
    const long = "x€".repeat(2 ** 18);
    const { out } = await importLines([{ user: "u", instruction: long, response: "y" }]);
    expect(await clientsOf(out)).toEqual([["u", [long]]]);
    await expect(importLines([{ user: "u", instruction: long, response: "y" }], { maxRecordBytes: 2 ** 19 })).rejects.toMatchObject({ code: "DATASET_INVALID" });
  });

  test("of different kinds are refused together", async () => {
    await expect(importLines([sample("a"), { prompt: "x", chosen: "y", rejected: "z" }])).rejects.toMatchObject({ code: "DATASET_INVALID" });
    const turns = [{ messages: [{ role: "user", content: "x" }, { role: "assistant", content: "y" }] }, { conversations: [{ from: "human", value: "x" }, { from: "gpt", value: "z" }] }];
    expect((await importLines(turns)).result).toMatchObject({ kind: "multi-turn", numSamples: 2, numProblems: 0 });
  });

  test("of no known form name the fields and how to map them", async () => {
    const failure = importLines([{ question: "x", answer: "y" }]);
    await expect(failure).rejects.toThrow("received the fields question, answer");
    await expect(failure).rejects.toThrow("--map");
    const { out } = await importLines([{ question: "x", answer: "y" }], { map: parseFieldMap(["instruction=question", "response=answer"]) });
    expect(await clientsOf(out)).toEqual([["in", ["x"]]]);
  });

  test.each([
    [{ minSamples: 0 }, "--min-samples"],
    [{ minSamples: Number.NaN }, "--min-samples"],
    [{ maxClients: 0 }, "--max-clients"],
    [{ minSamples: 5 }, "the largest of 1 users has 1 samples"],
    [{ keep: ["response"] }, "--keep"],
    [{ outName: "out.csv" }, "--out"],
  ])("%j is refused", async (options, message) => {
    await expect(importLines([sample("a")], options)).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(message) as string });
  });
});

describe("spool", () => {
  test("gives many lines of many users back as a map of lists would, and leaves no file", () => {
    const folder = makeTemporaryFolder();
    const spool = new UserSpool(folder);
    const expected = new Map<string, string[]>();
    for (let line = 0; line < 20_000; line++) {
      const user = `user ${String((line * 7919) % 61)}`;
      const text = `${String(line)} ${"é".repeat(line % 200)}`;
      spool.add(user, text);
      expected.set(user, [...(expected.get(user) ?? []), text]);
    }
    const read = new Map<string, string[]>();
    for (const { user, lines } of spool.linesByUser(() => true)) read.set(user.id, [...lines].map((line) => line.toString("utf8")));
    expect([...read]).toEqual([...expected]);
    spool.dispose();
    expect(existsSync(folder) && readdirSync(folder)).toEqual([]);
  });
});
