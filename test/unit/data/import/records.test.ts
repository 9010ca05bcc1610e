/** Records out of files of every form, and the answers to damaged and hostile ones. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { describePosition, fileFormOf, readRecords } from "../../../../src/data/import/records.js";
import type { ReadRecordsOptions, RecordProblem, SourceRecord } from "../../../../src/data/import/records.js";
import { newStoredFile, requireUtf8 } from "../../../../src/data/stored-bytes.js";
import { writeParquet } from "../../../helpers/parquet.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

async function readAll(path: string, options: Partial<ReadRecordsOptions> = {}) {
  const records: SourceRecord[] = [];
  const problems: RecordProblem[] = [];
  const file = newStoredFile();
  for await (const batch of readRecords(path, { file, report: (problem) => problems.push(problem), ...options })) records.push(...batch);
  return { records, values: records.map(({ value }) => value), problems, sha256: file.hash.digest("hex") };
}

function write(name: string, content: string | Uint8Array): string {
  const path = join(makeTemporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

describe("JSON", () => {
  test("an object of users, an array and lines, plain and gzipped, give the same values with their bytes", async () => {
    const users = await readAll(write("a.json", '{"u": [{"x": 1}], "7": [{"x": 2}]}'));
    expect(users.records).toEqual([
      { value: { x: 1 }, user: "u", position: 7 },
      { value: { x: 2 }, user: "7", position: 24 },
    ]);
    expect((await readAll(write("a.json.gz", gzipSync('[{"x": 1}, {"x": 2}]')))).records).toEqual([
      { value: { x: 1 }, position: 1 },
      { value: { x: 2 }, position: 11 },
    ]);
    expect((await readAll(write("a.jsonl", '{"x": 1}\n\n{"x": 2}\n'))).values).toEqual([{ x: 1 }, { x: 2 }]);
  });

  test("a user that is there twice, one without samples and one that is no list are reported", async () => {
    const { records, problems } = await readAll(write("a.json", '{"u": [1], "v": [], "w": 5, "u": [2], "z": []}'));
    expect(records.map(({ user, value }) => [user, value])).toEqual([["u", 1], ["u", 2]]);
    expect(problems.map(({ user, reason }) => [user, reason.slice(0, 40)])).toEqual([
      ["v", "the user has no samples and is left out"],
      ["w", "expected an array of samples, received a"],
      ["u", "the user appears again; the samples are "],
      ["z", "the user has no samples and is left out"],
    ]);
  });

  test("text that is not UTF-8 is refused with its byte", async () => {
    const path = write("a.jsonl", Buffer.concat([Buffer.from('{"x": "é"}\n{"x": "'), Buffer.from([0xff]), Buffer.from('"}\n')]));
    await expect(readAll(path)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("byte 19: expected UTF-8") as string });
  });

  test("a record over the limit is refused", async () => {
    const path = write("a.jsonl", `{"x": "${"y".repeat(2000)}"}\n`);
    await expect(readAll(path, { maxRecordBytes: 1000 })).rejects.toMatchObject({ code: "DATASET_INVALID" });
    expect((await readAll(path)).records).toHaveLength(1);
  });
});

describe("UTF-8 in pieces", () => {
  const text = Buffer.from("aé€😀z");

  test.each([1, 2, 3, 4, 5])("is the same in pieces of %d bytes", async (size) => {
    const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, index) => text.subarray(index * size, (index + 1) * size));
    const whole: Uint8Array[] = [];
    for await (const piece of requireUtf8(toAsync(pieces), "x")) {
      expect(Buffer.from(piece).toString("utf8")).not.toContain("\uFFFD");
      whole.push(piece);
    }
    expect(Buffer.concat(whole)).toEqual(text);
  });

  test.each([
    ["a cut character at the end", [0x61, 0xe2, 0x82], 1],
    ["a byte that begins nothing", [0x61, 0x80], 1],
    ["an overlong form", [0xc0, 0xaf], 0],
    ["half of a surrogate pair", [0x61, 0xed, 0xa0, 0x80], 1],
  ])("%s is refused with its byte", async (_title, bytes, offset) => {
    const read = async () => {
      const pieces = requireUtf8(toAsync(bytes.map((byte) => Uint8Array.of(byte))), "x");
      while ((await pieces.next()).done !== true);
    };
    await expect(read()).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining(`x, byte ${String(offset)}:`) as string });
  });
});

async function* toAsync(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    await Promise.resolve();
    yield piece;
  }
}

describe("archives that are made to fill memory or disk", () => {
  const zeros = gzipSync(Buffer.alloc(40 * 2 ** 20, 0x20));

  test("a ratio that no text has is refused", async () => {
    await expect(readAll(write("a.jsonl.gz", zeros))).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("at most 200 times larger") as string });
  });

  test("so is more than the limit in all", async () => {
    const expansion = { maxBytes: 2 ** 20, maxRatio: Infinity };
    await expect(readAll(write("a.jsonl.gz", zeros), { expansion })).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("1048576 bytes after unpacking") as string });
  });

  test("a damaged gzip file is refused", async () => {
    await expect(readAll(write("a.jsonl.gz", zeros.subarray(0, 1000)))).rejects.toMatchObject({ code: "DATASET_INVALID" });
  });
});

describe("CSV", () => {
  test("cells with separators, quotation marks, line breaks and a byte order mark", async () => {
    const { records } = await readAll(write("a.csv", '\uFEFFq,a\n"x, ""y""","two\nlines"\n\nplain,é\n'));
    expect(records).toEqual([
      { value: { q: 'x, "y"', a: "two\nlines" }, position: 3 },
      { value: { q: "plain", a: "é" }, position: 5 },
    ]);
  });

  test("tabs, and names of columns from outside", async () => {
    expect((await readAll(write("a.tsv", "q\ta\nx\ty, z\n"))).values).toEqual([{ q: "x", a: "y, z" }]);
    expect((await readAll(write("a.csv", "x,y\n"), { columns: ["q", "a"] })).values).toEqual([{ q: "x", a: "y" }]);
  });

  test.each([
    ["q,q\nx,y\n", "first line: expected a different name"],
    ["q,a\nx\n", "line 2: expected well-formed CSV"],
    ['q,a\n"x,y\n', "expected well-formed CSV"],
  ])("%j is refused", async (content, message) => {
    await expect(readAll(write("a.csv", content))).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining(message) as string });
  });

  test("bytes that are not UTF-8 are refused, not replaced", async () => {
    await expect(readAll(write("a.csv", Buffer.from([0x71, 0x0a, 0xe9, 0x0a])))).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("byte 2") as string });
  });
});

describe("Parquet", () => {
  test("a row group whose needed columns are above 128 MiB is refused before it is read, and read where they are not needed", async () => {
    const path = join(makeTemporaryFolder(), "large.parquet");
    // Three texts that differ, as equal ones would be stored once.
    const texts = ["a", "b", "c"].map((letter) => letter.repeat(43 * 2 ** 20));
    writeParquet(path, [{ name: "x", data: ["1", "2", "3"] }, { name: "text", data: texts }]);
    await expect(readAll(path)).rejects.toMatchObject({
      code: "DATASET_INVALID",
      message: expect.stringMatching(/row group at row 0: expected at most 134217728 bytes .* received 13\d{7}\. Write the file again with smaller row groups/u) as string,
    });
    expect((await readAll(path, { fields: new Set(["x"]) })).values).toEqual([{ x: "1" }, { x: "2" }, { x: "3" }]);
  });

  test("text, large integers, times, nothing and lists of messages; row groups one after the other", async () => {
    const path = join(makeTemporaryFolder(), "a.parquet");
    const messages = [{ content: "2+2?", role: "user" }, { content: "4", role: "assistant" }];
    writeParquet(
      path,
      [
        { name: "text", data: ["é", null, "c"] },
        { name: "number", data: [5n, 2n ** 60n, -1n], type: "INT64" },
        { name: "time", data: [new Date(0), new Date(1000), new Date(2000)], type: "TIMESTAMP" },
        { name: "messages", data: [messages, [], messages], isConversation: true },
      ],
      2,
    );
    const { records } = await readAll(path);
    expect(records).toEqual([
      { value: { text: "é", number: 5, time: "1970-01-01T00:00:00.000Z", messages }, position: 0 },
      { value: { text: null, number: "1152921504606846976", time: "1970-01-01T00:00:01.000Z", messages: [] }, position: 1 },
      { value: { text: "c", number: -1, time: "1970-01-01T00:00:02.000Z", messages }, position: 2 },
    ]);
    expect((await readAll(path, { fields: new Set(["text", "none"]) })).values).toEqual([{ text: "é" }, { text: null }, { text: "c" }]);
  });

  test("damaged files and text that is not UTF-8 are refused", async () => {
    const path = join(makeTemporaryFolder(), "a.parquet");
    writeFileSync(path, "PAR1 nothing else");
    await expect(readAll(path)).rejects.toMatchObject({ code: "DATASET_INVALID" });
    writeParquet(path, [{ name: "text", data: [Uint8Array.of(0x61, 0xff), Uint8Array.of(0x62)] }]);
    await expect(readAll(path)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("UTF-8") as string });
  });
});

describe("scripts", () => {
  test("every speech answers the one before it", async () => {
    const { records } = await readAll(write("a.txt", "Ann:\nWho?\n\nBen:\nMe,\nyou.\n\n\nAnn:\nOh.\n"));
    expect(records).toEqual([
      { value: { user: "Ben", instruction: "Who?", response: "Me,\nyou." }, position: 4 },
      { value: { user: "Ann", instruction: "Me,\nyou.", response: "Oh." }, position: 8 },
    ]);
  });

  test("other text is refused with its line", async () => {
    await expect(readAll(write("a.txt", "Ann:\nWho?\n\nOnce upon a time\n"))).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("line 4") as string });
  });
});

describe("names", () => {
  test("decide the form", () => {
    expect(["a.json", "a.NDJSON.gz", "a.csv", "a.tsv.gz", "a.parquet", "a.txt"].map(fileFormOf)).toEqual(["json", "lines", "csv", "tsv", "parquet", "script"]);
    expect(describePosition("a.parquet", 3)).toBe("row 3");
    expect(() => fileFormOf("a.zip")).toThrow("Unpack the archive");
    expect(() => fileFormOf("a")).toThrow("another one");
  });

  test("a file that is not there is IO_FAILED", async () => {
    for (const name of ["none.json", "none.csv", "none.parquet", "none.txt"]) {
      await expect(readAll(join(makeTemporaryFolder(), name))).rejects.toMatchObject({ code: "IO_FAILED" });
    }
  });
});
