/** Archives: what is unpacked, and the answers to those that would do harm. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { unpackArchive } from "../../../../src/data/catalogue/archive.js";
import type { ExpansionLimits } from "../../../../src/data/stored-bytes.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";
import { makeZip } from "../../../helpers/zip.js";
import type { ZipEntry } from "../../../helpers/zip.js";

/** Unpacks everything under its own name. */
function unpack(bytes: Buffer, limits?: ExpansionLimits) {
  const folder = makeTemporaryFolder();
  const archive = join(folder, "a.zip");
  writeFileSync(archive, bytes);
  const target = join(folder, "inside");
  const result = unpackArchive(archive, target, (entries) => new Map(entries.map(({ path }) => [path, path])), limits);
  return { result, folder, target };
}

async function expectRefused(entries: readonly ZipEntry[], message: string, limits?: ExpansionLimits) {
  const { result, folder, target } = unpack(makeZip(entries), limits);
  await expect(result).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining(message) as string });
  expect(readdirSync(folder).filter((name) => name !== "inside")).toEqual(["a.zip"]);
  return target;
}

describe("archives", () => {
  test("files in folders are unpacked as they are", async () => {
    const { result, target } = unpack(makeZip([{ name: "root/", content: "" }, { name: "root/a.json", content: "é" }, { name: "root/b/c", content: "" }]));
    expect(await result).toEqual(["root/a.json", "root/b/c"]);
    expect(readFileSync(join(target, "root/a.json"), "utf8")).toBe("é");
    expect(existsSync(join(target, "root/b/c"))).toBe(true);
  });

  test.skipIf(spawnSync("python3", ["--version"]).status !== 0)("the archives of these tests are ones that another program reads", () => {
    const file = join(makeTemporaryFolder(), "a.zip");
    writeFileSync(file, makeZip([{ name: "x/a.json", content: "hello" }]));
    const listed = execFileSync("python3", ["-c", "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('x/a.json').decode())", file]);
    expect(listed.toString().trim()).toBe("hello");
  });

  test.each(["../evil", "a/../../evil", "/evil", "C:/evil", "a\\..\\evil"])("an entry %j leaves the folder: nothing is unpacked", async (name) => {
    const target = await expectRefused([{ name: "good", content: "x" }, { name, content: "x" }], "a.zip");
    expect(existsSync(target)).toBe(false);
  });

  test("links, encrypted files and two entries of one name are refused before anything is unpacked", async () => {
    expect(existsSync(await expectRefused([{ name: "l", content: "/etc/passwd", mode: 0o120777 }], "a link"))).toBe(false);
    expect(existsSync(await expectRefused([{ name: "e", content: "x", flags: 0x801 }], "an encrypted file"))).toBe(false);
    expect(existsSync(await expectRefused([{ name: "a", content: "x" }, { name: "A", content: "y" }], "a second entry"))).toBe(false);
  });

  test("bombs are refused by their ratio, by their sum and when they lie about their size", async () => {
    const bomb = Buffer.alloc(40 * 2 ** 20);
    await expectRefused([{ name: "bomb", content: bomb }], "times larger");
    expect(existsSync(await expectRefused([{ name: "bomb", content: bomb }], "after unpacking", { maxBytes: 2 ** 20, maxRatio: Infinity }))).toBe(false);
    // Again and again: the lie may be noticed before or after the first byte is read, and must be an answer both times.
    const small = Buffer.alloc(100_000);
    for (let attempt = 0; attempt < 20; attempt++) await expectRefused([{ name: "bomb", content: small, claimedSize: 10 }], "a whole zip archive");
  });

  test("damaged archives and other files are refused", async () => {
    const whole = makeZip([{ name: "a", content: "hello" }]);
    for (const bytes of [whole.subarray(0, 40), Buffer.from("<html>"), Buffer.alloc(0)]) {
      await expect(unpack(bytes).result).rejects.toMatchObject({ code: "DATASET_INVALID" });
    }
    await expect(unpackArchive("/none.zip", "/none", () => new Map())).rejects.toMatchObject({ code: "IO_FAILED" });
  });
});
