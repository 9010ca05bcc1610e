/** Predictions and what happened. Counts do not depend on the machine; times on a shared machine do, and are only looked at for being there. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runExperiment } from "../../src/experiment.js";
import { exceeded, forecastExperiment, measureDevice, predictionRows, proposeChanges, totalOf } from "../../src/run/forecast.js";
import { createNativeEngine } from "../../src/run/native-engine.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

test("tokens, bytes, memory and disk come out as predicted, and what does not fit gets proposals that help", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [source], strategies: [fedavg, ffa-lora]}"]);
  const config = await configOf(file, "training.numRounds=6", "lora.rank=16");
  const engine = await createNativeEngine({ numThreads: 1 });
  const forecast = await forecastExperiment(config, engine, await measureDevice(config, engine, folder));
  const [arm] = forecast.arms;
  if (arm === undefined) throw new Error("one arm");
  expect(arm.timeMs.low).toBeLessThan(arm.timeMs.value);
  expect(arm.timeMs.high).toBeGreaterThan(arm.timeMs.value);
  expect(readdirSync(folder).some((name) => name.includes("probe"))).toBe(false);

  const out = join(folder, "out");
  const { summary } = await runExperiment(config, out, { predictions: predictionRows(forecast.arms) });
  const happened = new Map(summary.predicted?.filter((line) => line.arm === arm.arm).map(({ quantity, value, actual }) => [quantity, (actual ?? Number.NaN) / value]));
  expect(happened.get("upload_bytes")).toBe(1);
  expect(happened.get("download_bytes")).toBe(1);
  // Tokens are estimated by the mean length of a sample, of which clients draw some.
  expect(happened.get("tokens")).toBeGreaterThan(0.9);
  expect(happened.get("tokens")).toBeLessThan(1.1);
  // The plan's memory is that of this process as it was then and what training adds; Node's own heap grows and shrinks by itself.
  expect(happened.get("peak_memory_bytes")).toBeGreaterThan(0.5);
  expect(happened.get("peak_memory_bytes")).toBeLessThan(1.5);
  expect(happened.get("duration_ms")).toBeGreaterThan(0);
  const bytesOf = (place: string) => readdirSync(place, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
  const disk = bytesOf(join(out, "adapters")) + bytesOf(join(out, "checkpoints"));
  expect(disk / totalOf(forecast.arms).diskBytes).toBeGreaterThan(0.9);
  expect(disk / totalOf(forecast.arms).diskBytes).toBeLessThan(1.1);

  const total = totalOf(forecast.arms);
  expect(await proposeChanges(config, engine, forecast, { timeMs: 2 * total.timeMs })).toEqual([]);
  const limits = { diskBytes: 0.6 * total.diskBytes };
  expect(exceeded(total, limits)).toEqual(["diskBytes"]);
  const proposals = await proposeChanges(config, engine, forecast, limits);
  expect(proposals.map(({ change, fits }) => [change.split(" (")[0], fits])).toContainEqual(["half of the adapter's rank", true]);
  expect(proposals.every((proposal) => proposal.total.diskBytes < total.diskBytes)).toBe(true);
});
