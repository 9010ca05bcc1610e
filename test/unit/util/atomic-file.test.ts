/** Goal: a file is the old one or the new one, never half; readers are bounded. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readFileWithin, removeTemporaryFiles, writeFileAtomic } from "../../../src/util/atomic-file.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

test("parts are written in order and replace an older file, leaving nothing beside it", async () => {
  const folder = makeTemporaryFolder();
  const path = join(folder, "a.bin");
  await writeFileAtomic(path, "an older and longer content");
  await writeFileAtomic(path, [Uint8Array.of(1, 2), Uint8Array.of(), Uint8Array.of(3)]);
  expect([...readFileSync(path)]).toEqual([1, 2, 3]);
  expect(readdirSync(folder)).toEqual(["a.bin"]);
});

test("a write that fails half-way leaves the older file and no temporary one", async () => {
  const folder = makeTemporaryFolder();
  const path = join(folder, "a.bin");
  await writeFileAtomic(path, "old");
  function* parts(): Generator<Uint8Array> {
    yield Uint8Array.of(1);
    throw new Error("the source broke");
  }
  await expect(writeFileAtomic(path, parts())).rejects.toMatchObject({
    code: "IO_FAILED",
    message: expect.stringContaining("the source broke") as string,
  });
  expect(readFileSync(path, "utf8")).toBe("old");
  expect(readdirSync(folder)).toEqual(["a.bin"]);
});

test("a target that cannot be replaced is an IO_FAILED that names it", async () => {
  const folder = makeTemporaryFolder();
  const path = join(folder, "taken");
  mkdirSync(path);
  await expect(writeFileAtomic(path, "x")).rejects.toMatchObject({
    code: "IO_FAILED",
    message: expect.stringContaining(path) as string,
  });
  expect(readdirSync(folder)).toEqual(["taken"]);
});

test("the reader gives the bytes, undefined for no file, and refuses a file above its limit", async () => {
  const path = join(makeTemporaryFolder(), "a.txt");
  expect(await readFileWithin(path, 3)).toBeUndefined();
  writeFileSync(path, "abc");
  expect((await readFileWithin(path, 3))?.toString("utf8")).toBe("abc");
  await expect(readFileWithin(path, 2)).rejects.toMatchObject({ code: "IO_FAILED" });
});

test("clearing removes what killed writers left and nothing else", async () => {
  const folder = makeTemporaryFolder();
  for (const name of [".a.bin.123-abc.partial", "a.bin", ".hidden", "b.partial"]) writeFileSync(join(folder, name), "");
  await removeTemporaryFiles(folder);
  expect(readdirSync(folder).sort()).toEqual([".hidden", "a.bin", "b.partial"]);
});
