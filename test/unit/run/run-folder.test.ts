import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  checkNewFolder,
  clientFileNames,
  defaultRunFolder,
  findRun,
  hasRun,
  listRunFolders,
  removeRun,
  runPaths,
} from "../../../src/run/run-folder.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

function makeRun(parent: string, name: string): string {
  const folder = join(parent, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.resolved.yaml"), "");
  return folder;
}

describe("a folder for a new run", () => {
  test("may be absent, empty, or hold what a killed beginning left", async () => {
    const folder = makeTemporaryFolder();
    await expect(checkNewFolder(runPaths(join(folder, "none")))).resolves.toBeUndefined();
    await expect(checkNewFolder(runPaths(folder))).resolves.toBeUndefined();
    for (const name of ["run.lock", "run.lock.json", "run.json", ".run.json.12-ab.partial"]) writeFileSync(join(folder, name), "");
    await expect(checkNewFolder(runPaths(folder))).resolves.toBeUndefined();
  });

  test("may not hold a run or other files", async () => {
    const folder = makeTemporaryFolder();
    writeFileSync(join(folder, "thesis.docx"), "");
    await expect(checkNewFolder(runPaths(folder))).rejects.toMatchObject({ code: "RUN_EXISTS" });
    await expect(checkNewFolder(runPaths(makeRun(folder, "run")))).rejects.toThrow("a folder with a run");
  });

  test("is named by name and time, and by a number when that exists", () => {
    const working = makeTemporaryFolder();
    const now = new Date(2026, 0, 2, 3, 4, 5);
    const first = defaultRunFolder("demo", now, working);
    expect(first).toBe(join(working, "runs", "demo-20260102-030405"));
    mkdirSync(first, { recursive: true });
    expect(defaultRunFolder("demo", now, working)).toBe(`${first}-2`);
  });
});

describe("finding runs", () => {
  test("by path and by name below runs", () => {
    const working = makeTemporaryFolder();
    const folder = makeRun(join(working, "runs"), "one");
    expect(findRun("one", working).folder).toBe(folder);
    expect(findRun("runs/one", working).folder).toBe(folder);
    expect(findRun(folder, "/").folder).toBe(folder);
  });

  test("a folder without a configuration is no run", () => {
    const working = makeTemporaryFolder();
    mkdirSync(join(working, "runs", "half"), { recursive: true });
    expect(() => findRun("half", working)).toThrow(expect.objectContaining({ code: "RUN_NOT_FOUND" }));
  });

  test("lists only runs, by name", async () => {
    const working = makeTemporaryFolder();
    makeRun(working, "b");
    makeRun(working, "a");
    mkdirSync(join(working, "c"));
    expect(await listRunFolders(working)).toEqual([join(working, "a"), join(working, "b")]);
    expect(await listRunFolders(join(working, "none"))).toEqual([]);
  });

  test("a removed run is gone", async () => {
    const folder = makeRun(makeTemporaryFolder(), "a");
    await removeRun(runPaths(folder));
    expect(hasRun(folder)).toBe(false);
  });
});

describe("file names of clients", () => {
  test("cannot leave the folder or hide in it, and keep letters, digits, dashes and underscores", () => {
    const names = clientFileNames(["a-1_B", "../up", ".hidden", "con/nul", "Zoë"]);
    expect([...names.values()]).toEqual(["a-1_B", "%2E%2E%2Fup", "%2Ehidden", "con%2Fnul", "Zo%C3%AB"]);
  });

  test("stay different where upper and lower case are the same, and short", () => {
    const long = "x".repeat(500);
    const names = [...clientFileNames(["Ana", "ana", long, `${long}y`]).values()];
    expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(4);
    expect(Math.max(...names.map((name) => name.length))).toBeLessThan(200);
  });
});
