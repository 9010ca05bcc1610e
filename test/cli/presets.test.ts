/** Goal: a preset is planned by its name from any folder, and says what is missing; validation does the same. */
import { expect, test } from "vitest";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

test("run fed-aya/fedavg --dry-run works at once", async () => {
  const cwd = makeTemporaryFolder();
  // Data sets that are installed on this machine are not to be found.
  const env = { FEDLLM_DATA_DIR: cwd };
  const planned = await runCli(["run", "fed-aya/fedavg", "--dry-run"], { cwd, env });
  expect(planned).toMatchObject({ exitCode: 0, stderr: "" });
  expect(planned.stdout).toContain("38 clients");
  expect(planned.stdout).toMatch(/q8_0-fedavg +200 +4 +8\.4M +8000/u);
  expect(planned.stdout).toMatch(/note: the data file .*aya_38c_25k\.json is not there/u);
  expect(planned.stdout).toMatch(/note: the model file .*llama-2-7b-q8_0\.gguf is not there/u);
  const valid = await runCli(["config", "validate", "fed-aya/fedavg"], { cwd, env });
  expect(valid.exitCode).toBe(0);
  expect(valid.stderr).toContain("is not there");
  const unknown = await runCli(["run", "fed-aya/fedavgg", "--dry-run"], { cwd, env });
  expect(unknown).toMatchObject({ exitCode: 2 });
  expect(unknown.stderr).toContain("Did you mean fedavg?");
});
