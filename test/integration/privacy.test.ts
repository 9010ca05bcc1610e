/** Differential privacy in whole runs of the command line on the tiny model: killed and resumed, reported, stopped by the budget, and the paper's noise. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { PrivacyLedger } from "../../src/privacy/ledger.js";
import { hasRun } from "../../src/run/run-folder.js";
import { runCli } from "../helpers/run-cli.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const ARMS = "arms: {precisions: [F16], strategies: [fedavg]}";
const ledgerOf = (run: string) => {
  const ledger = new PrivacyLedger(join(run, "privacy.sqlite"), { readonly: true });
  const rows = ledger.releases("f16-fedavg");
  ledger.close();
  return rows;
};

test("a run that is killed and resumed ends like one that was left alone, and nothing is charged twice", async () => {
  const folder = makeTemporaryFolder();
  const privacy = "privacy: {dp: user, noiseMultiplier: 1.1, delta: 0.01, clipNorm: 0.1, insecureSeed: 0, adaptiveClipping: {countNoise: 1}}";
  const { file } = writeTinyExperiment(folder, [ARMS, privacy, "evaluation: {every: 1}"]);
  const whole = join(folder, "whole");
  const reference = await runCli(["run", file, "--out", whole, "--json", "--quiet"]);
  expect(reference.exitCode, reference.stderr).toBe(0);
  expect(reference.stdout).toContain("insecureSeed makes cohorts and noise known");

  const out = join(folder, "killed");
  let exitCode: number | null = null;
  // Between a release and its checkpoint, at a client, and after the end of a round.
  for (const event of ["evaluated", "client_finished", "round_finished", undefined]) {
    const args = hasRun(out) ? ["resume", out] : ["run", file, "--out", out];
    const result = await runCli([...args, "--json", "--quiet"], {
      onLine: (line, child) => {
        const { round } = JSON.parse(line) as { round?: number };
        if (event !== undefined && round !== 0 && line.includes(`"${event}"`)) child.kill("SIGKILL");
      },
    });
    ({ exitCode } = result);
    if (result.signal === null) expect(exitCode, result.stderr).toBe(0);
  }
  expect(exitCode).toBe(0);
  expect(readRunContents(out)).toEqual(readRunContents(whole));
  expect(ledgerOf(out).map(({ round, attempt, clipNorm }) => [round, attempt, clipNorm])).toEqual(ledgerOf(whole).map(({ round, attempt, clipNorm }) => [round, attempt, clipNorm]));
  expect(ledgerOf(out).map(({ attempt }) => attempt)).toEqual([1, 1, 1]);

  const report = await runCli(["privacy", "report", out]);
  expect(report.stdout).toMatch(/INSECURE/u);
  expect(report.stdout).toMatch(/Not protected: metrics\.sqlite/u);
  const { arms } = JSON.parse((await runCli(["privacy", "report", out, "--json"])).stdout) as { arms: { epsilonSpent: number; epsilonWithKnownCohorts: number; isFinished: boolean }[] };
  expect(arms[0]?.isFinished).toBe(true);
  expect(arms[0]?.epsilonWithKnownCohorts).toBeGreaterThan(arms[0]?.epsilonSpent ?? Number.POSITIVE_INFINITY);
});

test("an arm ends with what its budget pays for, another one has the paper's noise, and the report says which is which", async () => {
  const folder = makeTemporaryFolder();
  // Noise 1 at rate 1/2 for delta 0.01 costs 1.46 in one round and 2.11 in two.
  const arms = "arms: [{name: spent, precision: F16, privacy: {dp: user, noiseMultiplier: 1, epsilon: 2, delta: 0.01}}, {name: paper, precision: F16, privacy: {dp: paper, epsilon: 1, delta: 0.01}}, {name: none, precision: F16}]";
  const { file } = writeTinyExperiment(folder, [arms]);
  const out = join(folder, "run");
  const run = await runCli(["run", file, "--out", out, "--json", "--quiet"]);
  expect(run.exitCode, run.stderr).toBe(0);
  expect(run.stdout).toContain("stopped after 1 of 3 rounds");
  expect(run.stdout).toContain("its epsilon is no guarantee");
  const report = JSON.parse((await runCli(["privacy", "report", out, "--json"])).stdout) as {
    arms: { arm: string; numReleases: number; epsilonSpent: number }[];
    unprotected: { arm: string }[];
  };
  expect(report.arms.map(({ arm, numReleases }) => [arm, numReleases])).toEqual([["spent", 1]]);
  expect(report.arms[0]?.epsilonSpent).toBeLessThanOrEqual(2);
  expect(report.unprotected.map(({ arm }) => arm)).toEqual(["paper", "none"]);
});
