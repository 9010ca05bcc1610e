/** Runs with an adapter on upper layers: cached hidden states change nothing but the time, and every round says what they saved. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { measuresByArm } from "../../src/metrics/queries.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

const ARM = "f16-fedavg";

async function runWith(...settings: string[]) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [F16], strategies: [fedavg]}", "evaluation: {every: 1}"], { numLayers: 4 });
  const out = join(folder, "out");
  await runExperiment(await configOf(file, ...settings), out);
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const measures = measuresByArm(database, ARM);
  database.close();
  const valuesOf = (name: string) => measures.filter(({ measure }) => measure === name).map(({ value }) => value ?? 0);
  return { contents: readRunContents(out), reused: valuesOf("hidden_state_tokens_reused"), computed: valuesOf("hidden_state_tokens_computed") };
}

test("a run with cached hidden states equals one without, and reuses more from round to round", async () => {
  const cached = await runWith("lora.layers=[3]");
  const plain = await runWith("lora.layers=[3]", "hiddenStateCache=off");
  expect(cached.contents.adapters).toEqual(plain.contents.adapters);
  expect(cached.contents.rows["evaluations"]).toEqual(plain.contents.rows["evaluations"]);
  expect(plain.reused).toEqual([]);
  // Round 0 is the evaluation of the start; in the last round all held-out samples and many of training are there.
  expect(cached.reused).toHaveLength(4);
  expect(cached.reused.at(-1)).toBeGreaterThan(cached.computed.at(-1) ?? 0);
  expect(cached.computed.at(-1)).toBeLessThan(cached.computed[0] ?? 0);
});

test("an adapter on all layers has no such figures", async () => {
  const { reused, computed } = await runWith("training.numRounds=1");
  expect([reused, computed]).toEqual([[], []]);
});
