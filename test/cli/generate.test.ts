/** Goal: the command makes the files it names, and says what is wrong with a field that it does not know. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

test("data generate writes data and truth, which data inspect reads", async () => {
  const cwd = makeTemporaryFolder();
  const made = await runCli(["data", "generate", "demo", "--seed", "0", "--set", "numClients=3", "--set", "languages={ru: 1}", "--out", "a.json", "--json"], { cwd });
  expect(JSON.parse(made.stdout)).toMatchObject({ synthetic: true, profile: "demo", seed: 0, numClients: 3, numSamples: 150 });
  expect(existsSync(join(cwd, "a.truth.jsonl"))).toBe(true);
  const inspected = await runCli(["data", "inspect", "a.json"], { cwd });
  expect(inspected.stdout).toContain("150 samples of 3 clients");
  expect(inspected.stdout).toContain("0 problems");
  const wrong = await runCli(["data", "generate", "demo", "--set", "numClient=3"], { cwd });
  expect(wrong.exitCode).toBe(2);
});
