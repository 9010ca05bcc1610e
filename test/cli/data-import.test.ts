/** `data import` in processes of its own: what it prints, its exit codes, and how little memory it takes. */
import { closeSync, openSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runCli, runProgram, sourceCommand } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

describe("data import", () => {
  test("writes clients out of a table, says what was left out, and data inspect reads it", async () => {
    const folder = makeTemporaryFolder();
    const table = join(folder, "in.csv");
    writeFileSync(table, "who,question,answer\nann,1+1?,2\nben,2+2?,\nann,3+3?,6\n");
    const out = join(folder, "clients.json");
    const args = ["data", "import", table, "--out", out, "--user-key", "who", "--map", "instruction=question", "--map", "response=answer"];
    const { stdout, stderr, exitCode } = await runCli(args);
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toContain("clients.json: 1 clients, 2 samples");
    expect(stdout).toContain('in.csv, line 3, user "ben": response: the answer is empty');
    expect((await runCli(["data", "inspect", out])).stdout).toContain("2 samples of 1 clients");
    const again = await runCli(args);
    expect(again).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--overwrite") as string });
    const json = JSON.parse((await runCli([...args, "--overwrite", "--json"])).stdout) as { numProblems: number; written: { sha256: string } };
    expect(json.numProblems).toBe(1);
  });

  test.each([
    [["data", "import"], 2, "data import: expected more than its name"],
    [["data", "import", "none.json", "--out", "o.json"], 1, "IO_FAILED"],
    [["data", "import", "a.zip", "--out", "o.json"], 2, "Unpack the archive"],
    [["data", "imprt"], 2, "Did you mean import?"],
  ])("%j ends with %d", async (args, code, message) => {
    const { exitCode, stderr } = await runCli(args, { cwd: makeTemporaryFolder() });
    expect(stderr).toContain(message);
    expect(exitCode).toBe(code);
  });
});

describe("memory", () => {
  // 200 MB of text in a process whose heap may have 150 MB: a program that kept the samples could not end well.
  test("an import of 200 MB keeps within a heap of 150 MB and 500 MB in all", async () => {
    const folder = makeTemporaryFolder();
    const file = join(folder, "large.jsonl");
    const numLines = writeLargeFile(file, 200_000_000);
    const [node = "", ...args] = sourceCommand("test/helpers/import-program.ts");
    const { stdout, stderr, exitCode } = await runProgram([node, "--max-old-space-size=150", ...args, join(folder, "out.json"), file]);
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    const [numSamples, maxBytes = Infinity] = stdout.trim().split(" ").map(Number);
    expect(numSamples).toBe(numLines);
    expect(maxBytes).toBeLessThan(500_000_000);
    expect(statSync(join(folder, "out.json")).size).toBeGreaterThan(190_000_000);
  });
});

/** Lines of a thousand users; returns their number. */
function writeLargeFile(path: string, numBytes: number): number {
  const descriptor = openSync(path, "w");
  const text = "The quick brown fox jumps over the lazy dog. ".repeat(20);
  let written = 0;
  let numLines = 0;
  while (written < numBytes) {
    const lines = Array.from({ length: 1000 }, (_, index) =>
      JSON.stringify({ user: `user-${String((index * 389) % 1000)}`, instruction: `question ${String(numLines + index)}`, response: text }),
    );
    written += writeSync(descriptor, `${lines.join("\n")}\n`);
    numLines += lines.length;
  }
  closeSync(descriptor);
  return numLines;
}
