/** A run with a strategy from a file: what it leaves, and that it goes on with the same file only. */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { readRunContents } from "../helpers/run-contents.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

/** The server moves half as far as FedAvg's. */
const SOURCE = `
export default {
  create: (_, { createFedAvg, weightedMeanUpdate, addUpdate, stateArray }) => ({
    ...createFedAvg(),
    name: "half",
    aggregate: (state, updates) => ({
      arrays: { adapter: addUpdate(stateArray(state, "adapter"), weightedMeanUpdate(updates).map((d) => d / 2)) },
      numbers: {},
    }),
  }),
};
`;

async function loadHalf(strategies: string) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const strategy = join(folder, "half.mjs");
  writeFileSync(strategy, SOURCE);
  const { file } = writeTinyExperiment(folder, [`arms: {precisions: [F16], strategies: [${strategies}]}`]);
  return { config: (await loadConfig({ file })).config, strategy, out: join(folder, "out") };
}

test("trains with it, beside a built-in one, and records its hash", async () => {
  const { config, out } = await loadHalf("./half.mjs, fedavg");
  const { record, summary } = await runExperiment(config, out);
  expect(record.hashes["strategy.f16-half"]).toMatch(/^[0-9a-f]{64}$/);
  expect(Object.keys(record.hashes).filter((role) => role.startsWith("strategy."))).toEqual(["strategy.f16-half"]);
  expect(summary.rows.map(({ adapter }) => adapter)).toEqual(["base", "half", "fedavg"]);
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const norms = database
    .prepare<[], { strategy: string; norm: number }>(
      "SELECT a.strategy, r.global_update_norm AS norm FROM rounds r JOIN arms a ON a.name = r.arm WHERE r.round = 1 ORDER BY arm_index",
    )
    .all();
  database.close();
  expect(norms.map(({ strategy }) => strategy)).toEqual(["half", "fedavg"]);
  // Both start alike; the sums are rounded to single precision at weights of about 1, thousands of them.
  expect((norms[0]?.norm ?? 0) / (norms[1]?.norm ?? 1)).toBeCloseTo(0.5, 5);
});

test("interrupted, it goes on as if it had not been, and not with another file", async () => {
  const { config, out, strategy } = await loadHalf("./half.mjs");
  const other = join(makeTemporaryFolder(), "undisturbed");
  await runExperiment(config, other);

  const interrupt = new AbortController();
  const stopped = runExperiment(config, out, {
    signal: interrupt.signal,
    onEvent: (event) => {
      if (event.event === "round_finished" && event.round === 2) interrupt.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });

  appendFileSync(strategy, "// changed\n");
  await expect(resumeExperiment(out)).rejects.toThrow(
    /^strategy.f16-half of the run: expected the file the run began with .* Put the file back to resume, or start a new run$/,
  );
  writeFileSync(strategy, SOURCE);
  await resumeExperiment(out);
  expect(readRunContents(out)).toEqual(readRunContents(other));
  expect(readFileSync(join(out, "summary.md"), "utf8")).toContain("| F16 | half |");
});
