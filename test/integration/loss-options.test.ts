/** Options of the loss from the experiment file to the adapter, in whole runs. What each computes is tested in the core. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { runExperiment } from "../../src/experiment.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

/** One arm per option, all else equal. */
const OPTIONS = ["labelSmoothing: 0.2", "neftuneAlpha: 5", "loraPlusRatio: 4", "lossScale: 256"];

test("label smoothing, NEFTune and LoRA+ change the adapter, a scaled loss does not", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const arms = ["{name: plain}", ...OPTIONS.map((option, index) => `{name: arm${String(index)}, training: {${option}}}`)];
  const { file } = writeTinyExperiment(folder, [`arms: [${arms.join(", ")}]`, "evaluation: {maxSamples: 1, maxSamplesPerClient: 1}"]);
  const { config } = await loadConfig({ file });
  await runExperiment(config, join(folder, "run"));
  const { adapters } = readRunContents(join(folder, "run"));
  const hashOf = (arm: string): string => {
    const [path, ...others] = Object.keys(adapters).filter((name) => name.includes(arm));
    expect(others).toEqual([]);
    return adapters[path ?? ""] ?? "no adapter";
  };
  const hashes = ["plain", "arm0", "arm1", "arm2"].map(hashOf);
  expect(new Set(hashes).size).toBe(hashes.length);
  expect(hashOf("arm3")).toBe(hashOf("plain"));
});
