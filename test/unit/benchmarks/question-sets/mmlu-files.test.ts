/** MMLU's files in both published forms, in folders and archives, and tar archives of several kinds. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { readChoiceFile, readChoiceSubjects } from "../../../../src/benchmarks/question-sets/mmlu-files.js";
import { unpackTar } from "../../../../src/benchmarks/question-sets/tar.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";
import { makeZip } from "../../../helpers/zip.js";

const LETTERS = 'What is 1+1?,1,2,3,4,B\n"Which, of\nthese?",a,"b, ""c""",,d,D\n';
const NUMBERS = 'question,choice0,choice1,choice2,choice3,answer\nWhat is 1+1?,1,2,3,4,1\n"Which, of\nthese?",a,"b, ""c""",,d,3\n';
const QUESTIONS = [
  { question: "What is 1+1?", choices: ["1", "2", "3", "4"], answer: 1 },
  { question: "Which, of\nthese?", choices: ["a", 'b, "c"', "", "d"], answer: 3 },
];
/** The tree of the authors' archive, with what must be left out. */
const FILES: Readonly<Record<string, string>> = {
  "data/dev/anatomy_dev.csv": LETTERS,
  "data/test/anatomy_test.csv": LETTERS,
  "data/val/anatomy_val.csv": "broken",
  "data/auxiliary_train/arc_easy.csv": "broken",
  "data/test/._anatomy_test.csv": "broken",
  "data/README.txt": "text",
  "data/dev/world_religions_dev.csv": NUMBERS,
  "data/test/world_religions_test.csv": NUMBERS,
};
const SUBJECTS = ["anatomy", "world_religions"].map((name) => ({ name, dev: QUESTIONS, test: QUESTIONS }));

function writeTree(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
}

/** An entry of a tar archive by hand: header, data, padding. */
function tarEntry(name: string, content: string, { type = "0", checksum }: { readonly type?: string; readonly checksum?: number } = {}): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write(`${Buffer.byteLength(content).toString(8).padStart(11, "0")}\0`, 124);
  header.write(type, 156);
  header.write("ustar\0" + "00", 257);
  header.fill(0x20, 148, 156);
  const sum = checksum ?? header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const data = Buffer.alloc(Math.ceil(Buffer.byteLength(content) / 512) * 512);
  data.write(content);
  return Buffer.concat([header, data]);
}

const END = Buffer.alloc(1024);

describe("a file of questions", () => {
  test.each([
    ["letters", LETTERS],
    ["numbers", NUMBERS],
    ["a line of names and letters", `question,A,B,C,D,answer\n${LETTERS}`],
    ["numbers without names", NUMBERS.split("\n").slice(1).join("\n")],
  ])("with %s", async (_, content) => {
    const path = join(makeTemporaryFolder(), "x.csv");
    writeFileSync(path, content);
    expect(await readChoiceFile(path)).toEqual(QUESTIONS);
  });

  test.each([
    ["q,1,2,3,4,B\nq,1,2,3,4,E\n", 'line 2, answer: expected a letter from A to D, or a number from 0 to 3, received "E"'],
    ["q,1,2,3,4,4\n", "line 1, answer: expected a letter from A to D, or a number from 0 to 3"],
    ["q,1,2,3,4,B\nq,1,2,3,4,1\n", "line 2, answer: expected a letter as before"],
    ["q,1,2,3,4,1\nq,1,2,3,4,B\n", "line 2, answer: expected a number as before"],
    ["q,1,2,3,B\n", "line 1: expected well-formed CSV"],
    [",1,2,3,4,B\n", "line 1, question: expected a text"],
    ["question,A,B,C,D,answer\n", "expected at least one question, received none"],
    ["", "expected at least one question, received none"],
  ])("%j is refused", async (content, message) => {
    const path = join(makeTemporaryFolder(), "x.csv");
    writeFileSync(path, content);
    await expect(readChoiceFile(path)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining(message) as string });
  });
});

describe("all subjects", () => {
  test("of a folder, by name or by its folders' names", async () => {
    const folder = makeTemporaryFolder();
    writeTree(folder, FILES);
    expect(await readChoiceSubjects(folder)).toEqual(SUBJECTS);
    const plain = makeTemporaryFolder();
    writeTree(plain, { "dev/anatomy.csv": LETTERS, "test/anatomy.csv": NUMBERS });
    expect(await readChoiceSubjects(plain)).toEqual(SUBJECTS.slice(0, 1));
  });

  test("of a zip and of tar archives that other programs made", async () => {
    const folder = makeTemporaryFolder();
    const zip = join(folder, "data.zip");
    writeFileSync(zip, makeZip(Object.entries(FILES).map(([name, content]) => ({ name, content }))));
    expect(await readChoiceSubjects(zip)).toEqual(SUBJECTS);
    writeTree(folder, FILES);
    for (const format of ["ustar", "pax"]) {
      const tar = join(folder, `${format}.tar`);
      execFileSync("tar", [`--format=${format}`, "-cf", tar, "-C", folder, "data"]);
      expect(await readChoiceSubjects(tar)).toEqual(SUBJECTS);
      writeFileSync(`${tar}.gz`, gzipSync(readFileSync(tar)));
      expect(await readChoiceSubjects(`${tar}.gz`)).toEqual(SUBJECTS);
    }
  });

  test.each([
    [{ "dev/anatomy_dev.csv": LETTERS }, "a dev and a test file of anatomy, received dev alone"],
    [{ "test/anatomy_test.csv": LETTERS }, "received test alone"],
    [{ "a/anatomy_dev.csv": LETTERS, "b/anatomy_dev.csv": LETTERS }, "one dev file of anatomy, received a/anatomy_dev.csv and b/anatomy_dev.csv"],
    [{ "readme.txt": "x" }, "1 other files"],
    [{ "dev/anatomy_dev.csv": LETTERS, "test/anatomy_test.csv": "q,1,2,3,4,X\n" }, "anatomy_test.csv, line 1, answer"],
  ])("%o are refused", async (files, message) => {
    const folder = makeTemporaryFolder();
    writeTree(folder, files);
    await expect(readChoiceSubjects(folder)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining(message) as string });
  });

  test("of a folder that is not there is an error of the disk", async () => {
    await expect(readChoiceSubjects(join(makeTemporaryFolder(), "none"))).rejects.toMatchObject({ code: "IO_FAILED" });
  });
});

describe("a tar archive", () => {
  async function unpack(bytes: Buffer, nameFor: (entry: string) => string | undefined = (entry) => entry): Promise<{ readonly folder: string; readonly names: readonly string[] }> {
    const folder = makeTemporaryFolder();
    const path = join(folder, "a.tar");
    writeFileSync(path, bytes);
    await unpackTar(path, join(folder, "out"), nameFor);
    return { folder, names: readdirSync(join(folder, "out"), { recursive: true }).map(String).sort() };
  }

  test("with a long name by GNU's or pax's way gives the long name", async () => {
    const long = `${"n".repeat(150)}.csv`;
    const record = (length: number) => `${String(length)} path=${long}\n`;
    const pax = tarEntry("pax", record(record(100).length), { type: "x" });
    for (const before of [tarEntry("././@LongLink", `${long}\0`, { type: "L" }), pax]) {
      const { folder, names } = await unpack(Buffer.concat([before, tarEntry("short", "content"), tarEntry("next", "2"), END]));
      expect(names).toEqual(["next", long]);
      expect(readFileSync(join(folder, "out", long), "utf8")).toBe("content");
    }
  });

  test("gives files of any size whole, and neither links nor folders", async () => {
    const sizes = [0, 1, 511, 512, 513, 100_000];
    const entries = sizes.map((size) => tarEntry(`f${String(size)}`, "x".repeat(size)));
    const { folder, names } = await unpack(Buffer.concat([tarEntry("dir/", "", { type: "5" }), tarEntry("link", "", { type: "2" }), ...entries, END]));
    expect(names).toEqual(sizes.map((size) => `f${String(size)}`).sort());
    for (const size of sizes) expect(readFileSync(join(folder, "out", `f${String(size)}`), "utf8")).toHaveLength(size);
  });

  test.each([
    ["cut off in a header", tarEntry("a", "x").subarray(0, 300), "an end in the middle"],
    ["cut off in a file", tarEntry("a", "x".repeat(600)).subarray(0, 1100), "an end in the middle"],
    ["without its end", tarEntry("a", "x"), "an end in the middle"],
    ["with a wrong sum", Buffer.concat([tarEntry("a", "x", { checksum: 5 }), END]), "a header with a wrong sum"],
    ["with a file twice", Buffer.concat([tarEntry("a", "x"), tarEntry("a", "y"), END]), "two files for"],
    ["that is text", Buffer.from("text ".repeat(300)), "a header with a wrong sum"],
  ])("%s is refused", async (_, bytes, message) => {
    await expect(unpack(bytes)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining(message) as string });
  });
});
