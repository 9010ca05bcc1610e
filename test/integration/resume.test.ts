/**
 * A run survives being killed: the command line is started in a process of its own, killed with SIGKILL at moments drawn
 * from a seed, and resumed until it is done. The result must equal that of a run that was left alone, byte for byte.
 * A moment is a number of printed events plus a few milliseconds, so the kills spread over all phases of a run
 * (loading, training, between record and checkpoint, evaluating, saving) however fast the machine is.
 */
import { join } from "node:path";
import { expect, test } from "vitest";
import { hasRun } from "../../src/run/run-folder.js";
import { PythonRandom } from "../../src/data/python-random.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { runCli } from "../helpers/run-cli.js";
import { readRunContents } from "../helpers/run-contents.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const NUM_KILLS = 12;
const SEED = 20;
/** An event and the write that follows it are at most a few milliseconds apart. */
const DELAY_MS_MAX = 8;

test(`a run killed ${String(NUM_KILLS)} times at random moments ends like one that was left alone`, async () => {
  const folder = makeTemporaryFolder();
  const { file } = writeTinyExperiment(folder, ["evaluation: {every: 2}", "checkpoint: {every: 1}"]);
  const whole = join(folder, "whole");
  const reference = await runCli(["run", file, "--out", whole, "--json", "--quiet"]);
  expect(reference.exitCode).toBe(0);
  const numEvents = reference.stdout.trimEnd().split("\n").length;

  const random = new PythonRandom(SEED);
  const out = join(folder, "killed");
  /** The last events before the kills, to see that they hit different phases. */
  const moments = new Set<string>();
  let numKilled = 0;
  let numStarts = 0;
  let exitCode: number | null = null;
  while (exitCode !== 0) {
    numStarts += 1;
    // Each start gets at most a sixth of the run further, so that it cannot end before all kills have happened.
    const killAfter = numKilled < NUM_KILLS ? random.randbelow(Math.ceil(numEvents / 6)) : Number.POSITIVE_INFINITY;
    const delayMs = random.randbelow(DELAY_MS_MAX);
    const begun = hasRun(out);
    let numLines = 0;
    const args = begun ? ["resume", out] : ["run", file, "--out", out];
    const result = await runCli([...args, "--json", "--quiet"], {
      onLine: (_line, child) => {
        if (numLines === killAfter) setTimeout(() => child.kill("SIGKILL"), delayMs);
        numLines += 1;
      },
    });
    if (result.signal === "SIGKILL") {
      numKilled += 1;
      moments.add(eventNameOf(result.stdout));
    }
    else expect(result, result.stderr).toMatchObject({ exitCode: 0 });
    exitCode = result.exitCode;
  }

  expect(numKilled).toBeGreaterThanOrEqual(10);
  expect(moments.size).toBeGreaterThanOrEqual(3);
  expect(numStarts).toBe(numKilled + 1);
  expect(readRunContents(out)).toEqual(readRunContents(whole));
});

/** Name of the last whole event line. */
function eventNameOf(stdout: string): string {
  const line = stdout.split("\n").at(-2);
  return line === undefined ? "none" : (JSON.parse(line) as { event: string }).event;
}
