/** `privacy calibrate` and `privacy audit` as commands. */
import { expect, test } from "vitest";
import { runCli } from "../helpers/run-cli.js";

const COHORT = ["--clients", "100", "--clients-per-round", "5", "--rounds", "100", "--delta", "1e-5"];

test("calibrate prints a multiplier, what it costs, and the section to copy", async () => {
  const { stdout, exitCode } = await runCli(["privacy", "calibrate", "--epsilon", "3.51", ...COHORT]);
  expect(exitCode).toBe(0);
  // Noise 1 costs 3.5021.
  expect(stdout).toMatch(/^noise multiplier 0\.99\d+: 100 rounds with sample rate 0\.05000 cost epsilon 3\.51 for delta 0\.0000100$/mu);
  expect(stdout).toMatch(/privacy: \{ dp: user, noiseMultiplier: 0\.99\d+/u);
});

test("audit ends with 0 for the mechanism and with 1 without its noise, and refuses what is no federation", async () => {
  const flags = ["--clients", "10", "--clients-per-round", "5", "--rounds", "1", "--delta", "1e-3", "--noise", "2", "--trials", "400"];
  expect(await runCli(["privacy", "audit", ...flags])).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("the claim stands") as string });
  expect(await runCli(["privacy", "audit", ...flags, "--no-noise"])).toMatchObject({ exitCode: 1, stdout: expect.stringContaining("THE CLAIM IS WRONG") as string });
  const { exitCode, stderr } = await runCli(["privacy", "audit", ...flags, "--clients", "0"]);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining("--clients")]);
});
