/** What the section `privacy` refuses, each with its reason, and what it leaves of an experiment without it. */
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

test("an arm without privacy has no section, and one with it has all of it", async () => {
  const config = await load({ privacy: { epsilon: 4 }, arms: [{ name: "plain" }, { name: "dp", privacy: { dp: "user", clipNorm: 0.5 } }] });
  expect(config.arms[0]).not.toHaveProperty("privacy");
  expect(config.arms[1]?.privacy).toEqual({ dp: "user", epsilon: 4, clipNorm: 0.5, weighting: "uniform", sampling: "poisson" });
});

const user = { dp: "user", epsilon: 4 };

test.each<readonly [string, object, RegExp]>([
  ["no goal", { privacy: { dp: "user" } }, /epsilon or noiseMultiplier with dp: user/u],
  ["example weights without a cap", { privacy: { ...user, weighting: "examples" } }, /Without a cap a large client moves the mean by more/u],
  ["a cap without example weights", { privacy: { ...user, exampleCap: 5 } }, /nothing with weighting: uniform/u],
  ["a fixed cohort counted as Poisson", { privacy: { ...user, sampling: "fixedSize", accountant: "pld" } }, /counted as one, it would claim too little/u],
  ["a second vector", { privacy: user, arms: [{ strategy: "scaffold" }] }, /control variate/u],
  ["products of factors", { privacy: user, arms: [{ strategy: "flora" }] }, /products of their factors/u],
  ["no cohorts", { privacy: user, arms: [{ strategy: "fedbuff" }] }, /how fast clients are/u],
  ["pooled data", { privacy: user, arms: [{ strategy: "centralized" }] }, /no clients to protect/u],
  ["nothing sent", { privacy: user, arms: [{ strategy: "local" }] }, /nothing is sent/u],
  ["a small cohort that ends the run", { privacy: user, training: { minClients: 2 } }, /tells who was in it/u],
  [
    "over-selection",
    { privacy: user, federation: { overSelection: 2, devices: { profiles: { a: { tokensPerSecond: 1 } } } } },
    /a client can push another one out/u,
  ],
  ["groups with adapters", { privacy: user, data: { train: "clients.json", groups: { by: "field" } }, federation: { adapterPerGroup: true } }, /who is in a group is not hidden/u],
  ["a count that costs everything", { privacy: { dp: "user", noiseMultiplier: 1, adaptiveClipping: { countNoise: 0.4 } } }, /more than half of the noise multiplier/u],
  ["the paper's noise without a goal", { privacy: { dp: "paper" } }, /epsilon or noiseStd with dp: paper/u],
  ["the paper's formula with another's fields", { privacy: { dp: "paper", epsilon: 1, noiseMultiplier: 1 } }, /nothing with dp: paper/u],
  ["the paper's formula without its clipping", { privacy: { dp: "paper", epsilon: 1 }, training: { optimizer: { maxGradientNorm: null } } }, /whose formula has it/u],
  ["no noise at all", { privacy: { dp: "user", noiseMultiplier: 0 } }, /noiseMultiplier/u],
])("%s is refused with the reason", async (_name, experiment, message) => {
  await expect(load(experiment)).rejects.toThrow(message);
});
