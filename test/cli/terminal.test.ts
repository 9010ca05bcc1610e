/** The command line inside a pseudo-terminal, which `script` of util-linux provides. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { displayWidth } from "../../src/report/format.js";
import { CLI_COMMAND, runProgram } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const hasScript = process.platform === "linux" && spawnSync("script", ["--version"]).status === 0;
if (!hasScript) console.warn("skipped: no `script` of util-linux, so there is no pseudo-terminal to test in");

/** Runs a shell line with a terminal of the given size; what it shows comes back as standard output. */
async function runInTerminal(line: string, size: { columns: number; rows: number }, env: Record<string, string | undefined>) {
  const sized = `stty cols ${String(size.columns)} rows ${String(size.rows)}; ${line}`;
  return runProgram(["script", "-qec", sized, "/dev/null"], { env: { TERM: "xterm-256color", ...env } });
}

function commandLine(...args: readonly string[]): string {
  return [...CLI_COMMAND, ...args].map((part) => `'${part}'`).join(" ");
}

test.skipIf(!hasScript)("a terminal shows a table that redraws, gives the cursor back and ends with the result", async () => {
  const { file, folder } = writeTinyExperiment(makeTemporaryFolder());
  const { exitCode, stdout } = await runInTerminal(
    commandLine("run", file, "--out", join(folder, "out"), "--num-rounds", "10"),
    { columns: 100, rows: 30 },
    { NO_COLOR: undefined },
  );
  expect(exitCode).toBe(0);
  const frames = stdout.split("\u001b[0J");
  expect(frames.length).toBeGreaterThan(3);
  expect(stdout).toContain("\u001b[?25l");
  expect(stdout.lastIndexOf("\u001b[?25h")).toBeGreaterThan(stdout.lastIndexOf("\u001b[?25l"));
  const last = frames.at(-1) ?? "";
  expect(last).toContain("10/10");
  expect(last).toContain("precision  adapter");
  // Colours are on, as nothing forbids them.
  expect(stdout).toMatch(/\u001b\[\d+m/);
});

test.skipIf(!hasScript)("NO_COLOR leaves only cursor moves, and a narrow terminal never gets a wider line", async () => {
  const { file, folder } = writeTinyExperiment(makeTemporaryFolder());
  const { stdout } = await runInTerminal(
    commandLine("run", file, "--out", join(folder, "out")),
    { columns: 50, rows: 12 },
    { NO_COLOR: "1" },
  );
  expect(stdout).not.toMatch(/\u001b\[\d+m/);
  const frames = stdout.slice(0, stdout.lastIndexOf("\u001b[?25h")).split("\u001b[0J").slice(1);
  const lines = frames.flatMap((frame) => frame.replaceAll(/\u001b\[\??\d*[A-Za-z]/g, "").split(/\r*\n\r*/));
  expect(lines.length).toBeGreaterThan(10);
  expect(Math.max(...lines.map((line) => displayWidth(line)))).toBeLessThanOrEqual(50);
});

test.skipIf(!hasScript)("in CI the same terminal gets plain lines", async () => {
  const { file, folder } = writeTinyExperiment(makeTemporaryFolder());
  const { stdout } = await runInTerminal(
    commandLine("run", file, "--out", join(folder, "out"), "--num-rounds", "1"),
    { columns: 100, rows: 30 },
    { CI: "true" },
  );
  expect(stdout).not.toContain("\u001b");
  expect(stdout).toContain("f16-fedavg round 1: 3 updates");
});

test.skipIf(!hasScript)("data get shows the terms and asks once; only a yes is one", async () => {
  const dataDir = join(makeTemporaryFolder(), "data");
  const from = join(makeTemporaryFolder(), "clients.json");
  writeFileSync(from, JSON.stringify({ ann: [{ instruction: "q", response: "a" }] }));
  const answer = (typed: string) => {
    const line = commandLine("data", "get", "fed-chatbot-it", "--from", from);
    return runProgram(["sh", "-c", `printf '${typed}\\n' | script -qec "${line}" /dev/null`], { env: { FEDLLM_DATA_DIR: dataDir } });
  };
  for (const typed of ["", "yesterday"]) {
    const refused = await answer(typed);
    expect(refused.stdout).toContain("Licence: CC BY-NC 4.0 (no commercial use");
    expect(refused.stdout).toContain("Do you accept these terms? [y/N]");
    expect(refused.stdout).toContain("expected acceptance of CC BY-NC 4.0");
    expect(refused.exitCode).toBe(2);
    expect(existsSync(dataDir)).toBe(false);
  }
  const accepted = await answer("Yes");
  expect(accepted.stdout).toContain("fed-chatbot-it: 1 clients, 1 samples");
  expect(accepted.exitCode).toBe(0);
  expect(JSON.parse(readFileSync(join(dataDir, "licences.json"), "utf8"))).toMatchObject({ "fed-chatbot-it": { licence: "CC BY-NC 4.0" } });
  const again = await answer("n");
  expect(again.stdout).not.toContain("Licence");
  expect(again.exitCode).toBe(0);
});
