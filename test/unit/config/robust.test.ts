/** What the section `robust` refuses, each with its reason, and what it leaves of fields that a rule does not take. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { loadConfig } from "../../../src/config/load.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

async function load(experiment: object) {
  const file = join(makeTemporaryFolder(), "experiment.yaml");
  writeFileSync(file, stringify({ data: { train: "clients.json" }, ...experiment }));
  return (await loadConfig({ file })).config;
}

test("an arm without a rule has no section, and one with it has the fields that its rule takes", async () => {
  const config = await load({ robust: { assumedHostile: 2, numSelected: 3, maxNorm: 0.5 }, arms: { vary: { "robust.rule": ["none", "median", "multiKrum", "normBound"] } } });
  expect(config.arms.map(({ name }) => name)).toEqual(["source-fedavg-rulenone", "source-fedavg-rulemedian", "source-fedavg-rulemultiKrum", "source-fedavg-rulenormBound"]);
  expect(config.arms[0]).not.toHaveProperty("robust");
  expect(config.arms[1]?.robust).toEqual({ rule: "median", medianFactor: 2, overBound: "clip" });
  expect(config.arms[2]?.robust).toEqual({ rule: "multiKrum", assumedHostile: 2, numSelected: 3, medianFactor: 2, overBound: "clip" });
  expect(config.arms[3]?.robust).toEqual({ rule: "normBound", maxNorm: 0.5, medianFactor: 2, overBound: "clip" });
});

const krum = { rule: "krum", assumedHostile: 2 };

test.each<readonly [string, object, RegExp]>([
  ["a rule that must know how many are hostile", { robust: { rule: "krum" } }, /robust\.assumedHostile of arm .*how many clients of a round may be hostile/u],
  ["Krum with fewer than 2 f + 3", { robust: krum, training: { clientsPerRound: 6 } }, /at least 7 with rule krum and 2 hostile ones, received 6/u],
  ["Bulyan with fewer than 4 f + 3", { robust: { rule: "bulyan", assumedHostile: 2 } }, /at least 11 with rule bulyan and 2 hostile ones, received 10/u],
  ["a trimmed mean of nothing", { robust: { rule: "trimmedMean", assumedHostile: 5 } }, /at least 11 with rule trimmedMean/u],
  ["more selected than are near", { robust: { rule: "multiKrum", assumedHostile: 2, numSelected: 7 } }, /at least 11 with rule multiKrum and 2 hostile ones, 7 of them selected/u],
  ["noise for another sum", { robust: krum, privacy: { dp: "user", epsilon: 4 } }, /whose noise is made for a sum of clipped updates/u],
  ["a second vector", { robust: krum, arms: [{ strategy: "scaffold" }] }, /control variate/u],
  ["products of factors", { robust: krum, arms: [{ strategy: "flexlora" }] }, /products of their factors/u],
  ["no cohorts", { robust: krum, arms: [{ strategy: "fedbuff" }] }, /different versions of the adapter/u],
  ["pooled data", { robust: krum, arms: [{ strategy: "centralized" }] }, /no updates to compare/u],
  ["nothing sent", { robust: krum, arms: [{ strategy: "local" }] }, /nothing to compare/u],
  ["an unknown rule", { robust: { rule: "mean" } }, /robust\.rule/u],
])("%s is refused with the reason", async (_name, experiment, message) => {
  await expect(load(experiment)).rejects.toThrow(message);
});
