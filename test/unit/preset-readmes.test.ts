/** Goal: the cost tables in the presets' README files are those that the script computes, and grow with the model. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, expect, test, vi } from "vitest";
import { costTable } from "../../experiments/estimate-costs.js";
import { locateExperiment } from "../../src/config/builtin.js";
import { CATALOGUE } from "../../src/data/catalogue.js";

beforeEach(() => {
  // Data sets that are installed on this machine are not to be found.
  vi.stubEnv("FEDLLM_DATA_DIR", "/nowhere");
});

test.each(CATALOGUE.map(({ name }) => name))("%s", async (name) => {
  const table = await costTable(name);
  const readme = readFileSync(join(dirname(locateExperiment(name).file), "README.md"), "utf8");
  expect(readme).toContain(table.join("\n"));
  expect(table.filter((line) => /^\| (llama-2|alpaca)-7b /u.test(line))).toHaveLength(1);
  for (const variant of ["local", "fedavg", "fedprox", "scaffold", "fedavgm", "fedadagrad", "fedyogi", "fedadam"]) expect(readme).toContain(`\`${variant}\``);
});
