/** `data analyze` in a process of its own: what it prints and writes, and what it refuses. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const DATA = {
  anna: [{ instruction: "Write a poem about the sea.", response: "The sea is wide." }],
  boris: [{ instruction: "Какая река в этой стране самая длинная и где она начинается?", response: "Волга." }],
};

test("data analyze takes a data file or an experiment, prints a summary and writes the results", async () => {
  const folder = makeTemporaryFolder();
  const data = join(folder, "in.json");
  writeFileSync(data, JSON.stringify(DATA));
  const out = join(folder, "found");
  const { stdout, stderr, exitCode } = await runCli(["data", "analyze", data, "--out", out]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  expect(stdout).toContain("in: 2 single-turn samples of 2 clients");
  expect(stdout).toContain("languages: en 50.0%, ru 50.0%");
  expect(stdout).toMatch(/^anna +en +1 +27 +16 +0\.500 /m);
  expect(["analysis.json", "analysis.sqlite"].map((name) => existsSync(join(out, name)))).toEqual([true, true]);
  const experiment = join(folder, "mine.yaml");
  writeFileSync(experiment, "name: mine\nmodel: builtin:fedllm-tiny\ndata: {train: in.json}\n");
  const other = await runCli(["data", "analyze", experiment, "--out", out, "--json"]);
  expect(JSON.parse(other.stdout)).toMatchObject({ dataset: { name: "mine", numClients: 2 }, overall: { numSamples: 2 } });
  const preset = await runCli(["data", "analyze", "preference/dpo.yaml", "--synthetic", "--out", out]);
  expect(preset.stderr).toContain("data.synthetic");
  const missing = await runCli(["data", "analyze", join(folder, "none.json")]);
  expect(missing.exitCode).not.toBe(0);
  expect(missing.stderr).toContain("none.json, which does not exist");
});
