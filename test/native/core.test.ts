/**
 * Builds the C++ test program of native/core and reports each of its tests as one of ours. The program runs once; a
 * crash shows as a missing verdict of every test that did not come to its turn.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";

const PROJECT_ROOT = resolve(import.meta.dirname, "..", "..");
const SHARED_DATA = resolve(PROJECT_ROOT, "..", "shared", "data");
const PROGRAM = join(PROJECT_ROOT, "native", "build", "Release", "core_test");

execFileSync(process.execPath, [join(PROJECT_ROOT, "scripts", "build-native.cjs"), "--target", "core_test"], {
  stdio: ["ignore", "pipe", "inherit"],
});
const titles = execFileSync(PROGRAM, ["--list"], { encoding: "utf8" }).trim().split("\n");

describe("native core", () => {
  let lines: string[] = [];
  let standardError = "";

  beforeAll(() => {
    const shared = existsSync(SHARED_DATA) ? ["--shared", SHARED_DATA] : [];
    const result = spawnSync(PROGRAM, shared, { encoding: "utf8", maxBuffer: 1 << 26 });
    lines = result.stdout.split("\n");
    standardError = `${result.stderr}${result.signal === null ? "" : `core_test ended by ${result.signal}`}`;
  });

  // A loop rather than test.each, which would read percent signs in a title as placeholders.
  for (const title of titles) test(title, (context) => {
    const line = lines.find((candidate) => isVerdictOn(candidate, title));
    expect(line, `core_test said nothing about this test; ${standardError}`).toBeDefined();
    if (line?.startsWith("skipped ") === true) context.skip(line);
    expect(line).toMatch(/^ok /u);
    console.log(line);
  });
});

/** A verdict is "ok TITLE (details)", "skipped TITLE: reason" or "FAIL TITLE: reason". */
function isVerdictOn(line: string, title: string): boolean {
  return [`ok ${title} (`, `skipped ${title}: `, `FAIL ${title}: `].some((start) => line.startsWith(start));
}
