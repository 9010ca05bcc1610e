/** What the documentation shows as an experiment is one: every key in it exists, where another project's README names one that does not. */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { loadConfig } from "../../../src/config/load.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const FILES = ["README.md", ...readdirSync("docs").map((name) => join("docs", name)), "experiments/preference/README.md", "experiments/methods/README.md"];
const blocks = FILES.flatMap((file) =>
  [...readFileSync(file, "utf8").matchAll(/^```yaml\n(.*?)^```/gmsu)].map(([, text = ""], index) => [file, index + 1, text] as const),
);

test("there are such blocks", () => {
  expect(blocks.length).toBeGreaterThan(3);
});

test.each(blocks)("%s, block %i", async (_file, _index, text) => {
  const folder = makeTemporaryFolder();
  const shown = parse(text) as Record<string, unknown>;
  // A block that is about another section needs data to be an experiment.
  writeFileSync(join(folder, "experiment.yaml"), stringify({ data: { train: "clients.json" }, ...shown }));
  const { config } = await loadConfig({ file: join(folder, "experiment.yaml") });
  expect(config.arms.length).toBeGreaterThan(0);
});

const experiments = readdirSync("experiments", { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".yaml"));

test.each(experiments)("experiments/%s", async (name) => {
  const { config } = await loadConfig({ file: join("experiments", name) });
  expect(config.arms.length).toBeGreaterThan(0);
});
