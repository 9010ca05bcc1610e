/** The methods made for LoRA through the library with the real addon and a tiny model: they learn, and say how exact they were. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AGGREGATION_ERROR } from "../../src/adapter/aggregation-error.js";
import { loadConfig } from "../../src/config/load.js";
import { runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { meanMeasure, measuresByArm } from "../../src/metrics/queries.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const EXACT = ["ffa-lora", "rolora", "fedsvd"];
const OTHERS = ["fedavg", "flexlora", "florist", "hetlora", "lora-fair"];

test("every method learns; exact ones have no aggregation error, and the bytes are those of what is sent", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const names = [...EXACT, ...OTHERS, "fedsa-lora"];
  const { file } = writeTinyExperiment(folder, [
    `arms: {precisions: [F16], strategies: [${names.join(", ")}], byStrategy: {hetlora: {strategyOptions: {clientRanks: [1, 2]}}}}`,
  ]);
  const { config } = await loadConfig({ file });
  const out = join(folder, "out");
  const { summary } = await runExperiment(config, out);

  const base = summary.rows.find(({ adapter }) => adapter === "base")?.heldOutLoss ?? Number.NaN;
  for (const name of names) expect([name, summary.rows.find(({ adapter }) => adapter === name)?.heldOutLoss]).toEqual([name, expect.any(Number)]);
  for (const { adapter, heldOutLoss } of summary.rows) if (adapter !== "base") expect([adapter, (heldOutLoss ?? 0) < base]).toEqual([adapter, true]);

  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const errorOf = (name: string) => meanMeasure(database, `f16-${name}`, AGGREGATION_ERROR) ?? Number.NaN;
  // Weights are rounded to single precision, and a root of a difference of squares keeps half of double's digits.
  for (const name of EXACT) expect([name, errorOf(name) < 1e-6]).toEqual([name, true]);
  for (const name of OTHERS) expect([name, errorOf(name) > 1e-4]).toEqual([name, true]);
  // In the first round all train alike, and the nearest product of the rank is nearer than any other adapter of it.
  const [first, ofFedAvg] = ["flexlora", "fedavg"].map((name) => measuresByArm(database, `f16-${name}`)[0]?.value ?? Number.NaN);
  expect(first).toBeLessThan(ofFedAvg ?? Number.NaN);
  expect(errorOf("fedsa-lora")).toBeNaN();
  const rows = measuresByArm(database, "f16-fedavg").filter(({ measure }) => measure === AGGREGATION_ERROR);
  expect(rows.map(({ round, layer }) => [round, layer])).toEqual([1, 2, 3].flatMap((round) => [null, 0, 1].map((layer) => [round, layer])));

  const bytes = database
    .prepare<[], { arm: string; up: number; down: number }>("SELECT arm, upload_bytes AS up, download_bytes AS down FROM client_rounds WHERE round = 1")
    .all();
  database.close();
  // rank 2 on attn_q [256 -> 256] and attn_v [256 -> 128] of two layers.
  const [numA, numB] = [2 * 2 * (256 + 256), 2 * 2 * (256 + 128)];
  const bytesOf = (name: string) => bytes.find(({ arm }) => arm === `f16-${name}`);
  expect(bytesOf("ffa-lora")).toMatchObject({ up: 4 * numB, down: 4 * numB });
  expect(bytesOf("rolora")).toMatchObject({ up: 4 * numB, down: 4 * (numA + numB) });
  expect(bytesOf("fedsa-lora")).toMatchObject({ up: 4 * numA, down: 4 * numA });
  // Each client has an adapter of its own: the ones of the rounds' cohorts together.
  expect(readdirSync(join(out, "adapters", "f16-fedsa-lora")).length).toBeGreaterThan(2);
});
