/** One run after another on the real addon and a tiny model: the second begins at the adapter of the first. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.js";
import { runExperiment } from "../../src/experiment.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { readRunContents } from "../helpers/run-contents.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

function makeFolder(): string {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  return folder;
}

/** The first run: one federated arm. */
async function runFirst(folder: string) {
  const { file } = writeTinyExperiment(folder, ["arms: {strategies: [fedavg]}"]);
  const out = join(folder, "first");
  const { summary } = await runExperiment(await configOf(file), out);
  return { file, out, summary };
}

describe("a start adapter", () => {
  test("is where the second run begins: its first measurement is the last of the first run", async () => {
    const folder = makeFolder();
    const first = await runFirst(folder);
    const config = await configOf(first.file, `training.startAdapter=${first.out}`, "arms={strategies: [local, fedavg]}");
    const out = join(folder, "second");
    const { summary, record } = await runExperiment(config, out);
    expect(summary.rows.map((row) => row.adapter)).toEqual(["start", "local", "fedavg"]);
    expect(summary.rows[0]?.heldOutLoss).toBe(first.summary.rows.find((row) => row.adapter === "fedavg")?.heldOutLoss);
    // Both arms begin with the only common adapter of the first run.
    expect(record.hashes["startAdapter.source-fedavg"]).toBe(readRunContents(first.out).adapters["source-fedavg.gguf"]);
    expect(record.hashes["startAdapter.source-local"]).toBe(record.hashes["startAdapter.source-fedavg"]);
    expect((await loadConfig({ file: join(out, "config.resolved.yaml") })).config).toEqual(config);
  });

  test("of another shape, or a run that is none, stops before anything is trained", async () => {
    const folder = makeFolder();
    const first = await runFirst(folder);
    const start = `training.startAdapter=${first.out}#source-fedavg`;
    await expect(runExperiment(await configOf(first.file, start, "lora.rank=3"), join(folder, "a"))).rejects.toThrow(/start adapter .*expected the shape .*rank 3.*received rank 2/);
    await expect(runExperiment(await configOf(first.file, "training.startAdapter=nothing"), join(folder, "b"))).rejects.toThrow("training.startAdapter: expected a GGUF adapter");
  });
});
