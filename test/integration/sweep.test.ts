/** Sweeps: cells as runs, interruption, later additions, the table, and what is refused. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { runExperiment } from "../../src/experiment.js";
import { sweepLines } from "../../src/report/sweep-table.js";
import { parseGridOption, runSweep, sweepCells } from "../../src/sweep.js";
import { readRunContents } from "../helpers/run-contents.js";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

test("a sweep goes on after an interruption, adds cells later, and orders them by held-out loss", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [F16], strategies: [fedavg]}"]);
  const out = join(folder, "sweep");
  const cellsOf = async (rates: string, seeds: readonly number[]) => {
    const cells = sweepCells([parseGridOption("training.numRounds=2"), parseGridOption(`training.initialLearningRate=${rates}`)], seeds);
    return Promise.all(cells.map(async (cell) => ({ cell, ...(await loadConfig({ file, overrides: cell.overrides })) })));
  };
  const small = await cellsOf("1e-5,1e-2", [0]);
  const interrupt = new AbortController();
  let numRounds = 0;
  const stopped = runSweep(out, small, {
    signal: interrupt.signal,
    onEvent: ({ event }) => {
      numRounds += event === "round_finished" ? 1 : 0;
      if (numRounds === 3) interrupt.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });

  const states: string[] = [];
  const large = await cellsOf("1e-5,1e-2", [0, 1]);
  await runSweep(out, large, { onCell: (cell, state) => states.push(`${cell.name} ${state}`) });
  const name = (rate: string, seed: number) => `training.numRounds=2,training.initialLearningRate=${rate},seed=${String(seed)}`;
  expect(states).toEqual([`${name("0.00001", 0)} finished`, `${name("0.00001", 1)} new`, `${name("0.01", 0)} resumed`, `${name("0.01", 1)} new`]);
  expect(readdirSync(out).sort()).toEqual(large.map(({ cell }) => cell.name).sort());

  const whole = join(folder, "whole");
  const [, , interrupted] = large;
  if (interrupted === undefined) throw new Error("four cells");
  await runExperiment(interrupted.config, whole);
  expect(readRunContents(join(out, interrupted.cell.name))).toEqual(readRunContents(whole));

  const lines = sweepLines(out, large.map(({ cell }) => cell));
  expect(lines.map(({ values, loss }) => [values["training.initialLearningRate"], loss.count])).toEqual([[1e-2, 2], [1e-5, 2]]);
  expect(lines[0]?.loss.mean).toBeLessThan(lines[1]?.loss.mean ?? 0);

  // Everything is finished: the command line only prints.
  const shown = await runCli(["sweep", file, "--grid", "training.numRounds=2", "--grid", "training.initialLearningRate=1e-5,1e-2", "--seeds", "0,1", "--out", out]);
  expect(shown.stderr.match(/\(finished\)/g)).toHaveLength(4);
  expect(shown.stdout.split("\n")[1]).toMatch(/^2 +0\.01 +2 +\d\.\d{4} +\d\.\d{4} to \d\.\d{4}/);

  const others = await Promise.all(small.map(async ({ cell }) => ({ cell, ...(await loadConfig({ file, overrides: [...cell.overrides, { path: ["lora", "rank"], value: 3, origin: "--set" }] })) })));
  await expect(runSweep(out, others)).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("one of other settings") as string });
});
