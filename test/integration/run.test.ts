/** Whole runs through the library with the real addon and a tiny model: what they leave, how they stop, what they refuse. */
import { appendFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig, parseSetOption } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { clientRounds, events } from "../../src/metrics/queries.js";
import { evaluateGlobal } from "../../src/evaluation/held-out.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import type { RunEvent } from "../../src/run/events.js";
import { loadTrainingData } from "../../src/run/training-data.js";
import { acquireRunLock } from "../../src/util/lock-file.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { readRunContents } from "../helpers/run-contents.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

async function loadTiny(changes: readonly string[] = [], settings: readonly string[] = []) {
  const folder = makeTemporaryFolder();
  // Variants go into a cache of the test's own.
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, changes);
  const { config } = await loadConfig({ file, overrides: settings.map((text) => parseSetOption(text)) });
  return { folder, config, out: join(folder, "out") };
}

describe("a run of two strategies on two precisions", () => {
  test("leaves configuration, record, measurements, adapters and a table, and learns", async () => {
    const { config, out, folder } = await loadTiny(["arms: {precisions: [F16, Q8_0], strategies: [local, fedavg]}"]);
    const seen: RunEvent[] = [];
    const { summary, record } = await runExperiment(config, out, { onEvent: (event) => seen.push(event) });

    expect(readdirSync(join(out, "adapters")).sort()).toEqual(["f16-fedavg.gguf", "f16-local", "q8_0-fedavg.gguf", "q8_0-local"]);
    // The cohort of Python's random.seed(0), sample(range(6), 3): positions 3, 0 and 5.
    expect(readdirSync(join(out, "adapters", "f16-local")).sort()).toEqual(["%2E%2E%2Fup.gguf", "42.gguf", "b.gguf"]);
    const rows = summary.rows.map((row) => `${row.precision} ${row.adapter}`);
    expect(rows).toEqual(["F16 base", "F16 local", "F16 fedavg", "Q8_0 base", "Q8_0 local", "Q8_0 fedavg"]);
    const lossOf = (name: string) => summary.rows.find((row) => `${row.precision} ${row.adapter}` === name)?.heldOutLoss ?? Number.NaN;
    expect(lossOf("F16 local")).toBeLessThan(lossOf("F16 base"));
    expect(lossOf("F16 fedavg")).toBeLessThan(lossOf("F16 base"));
    // Quantizing to 8 bits moves the loss of a random model by far less than training does.
    expect(Math.abs(lossOf("Q8_0 base") - lossOf("F16 base"))).toBeLessThan(0.05);
    const weights = (precision: string) => summary.rows.find((row) => row.precision === precision)?.weightBytes ?? 0;
    // 8.5 bits per weight instead of 16; the norms stay as they are.
    expect(weights("Q8_0") / weights("F16")).toBeCloseTo(8.5 / 16, 1);

    expect(record.hashes["model.F16"]).toBe(record.hashes["model"]);
    expect(record.hashes["model.Q8_0"]).not.toBe(record.hashes["model"]);
    expect(readFileSync(join(out, "summary.md"), "utf8")).toContain("| Q8_0 | fedavg |");
    expect(readdirSync(join(folder, "cache", "models"))).toHaveLength(1);
    const reloaded = await loadConfig({ file: join(out, "config.resolved.yaml") });
    expect(reloaded.config).toEqual(config);
    expect(seen.at(0)?.event).toBe("run_started");
    expect(seen.at(-1)?.event).toBe("run_finished");
    expect(seen.filter(({ event }) => event === "round_finished")).toHaveLength(4 * 3);
  });

  test("sends the adapter once up and once down per client and round with fedavg, and nothing with local", async () => {
    const { config, out } = await loadTiny();
    await runExperiment(config, out);
    const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
    const bytes = database
      .prepare("SELECT DISTINCT arm, upload_bytes AS up, download_bytes AS down FROM client_rounds ORDER BY arm")
      .all();
    const parameters = database.prepare<[], number>("SELECT num_parameters FROM arms LIMIT 1").pluck().get() ?? 0;
    database.close();
    // rank 2 on attn_q [256 -> 256] and attn_v [256 -> 128] of two layers.
    expect(parameters).toBe(2 * 2 * (256 + 256 + 256 + 128));
    expect(bytes).toEqual([
      { arm: "f16-fedavg", up: 4 * parameters, down: 4 * parameters },
      { arm: "f16-local", up: 0, down: 0 },
    ]);
  });

  test("records for each client what its memory was planned to be and what it took", async () => {
    const { config, out } = await loadTiny(["arms: {strategies: [fedavg]}"]);
    await runExperiment(config, out);
    const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
    const rows = clientRounds(database, "source-fedavg");
    database.close();
    expect(rows.length).toBeGreaterThan(0);
    for (const row of rows) {
      expect(row).toMatchObject({ recomputes: 0, streams: 0, fellBack: 0, microBatchTokens: 64 });
      // The bound of every plan.
      expect(row.deviceBytes).toBeGreaterThan(0);
      expect(row.deviceBytes).toBeLessThan(1.1 * (row.plannedDeviceBytes ?? 0));
      // Of this process, which had grown before.
      expect(row.plannedPeakBytes).toBeGreaterThan(row.plannedDeviceBytes ?? 0);
    }
  });

  test("a saved adapter gives the held-out loss that was stored", async () => {
    const { config, out } = await loadTiny(["arms: {strategies: [fedavg]}"]);
    const { summary } = await runExperiment(config, out);
    const { addon } = loadNative();
    const model = await BaseModel.open(addon, config.model, { numThreads: 1 });
    const tokenizer = await Tokenizer.open(addon, config.model);
    const { options, weights } = await model.loadAdapter(join(out, "adapters", "source-fedavg.gguf"));
    const { heldOut } = await loadTrainingData(config, tokenizer);
    const trainer = new NativeTrainer(model, options);
    const [overall] = await evaluateGlobal({ trainer, heldOut, microBatchTokens: 64 }, weights);
    tokenizer.dispose();
    model.dispose();
    expect(options).toMatchObject({ rank: 2, loraAlpha: 4 });
    expect(overall?.metrics.heldout_loss).toBe(summary.rows[1]?.heldOutLoss);
  });

  test("the same seed gives the same bytes, another seed others", async () => {
    const first = await loadTiny();
    await runExperiment(first.config, first.out);
    const again = join(first.folder, "again");
    await runExperiment(first.config, again);
    expect(readRunContents(again)).toEqual(readRunContents(first.out));
    const other = await loadConfig({ file: join(first.folder, "experiment.yaml"), overrides: [parseSetOption("seed=0")] });
    const different = join(first.folder, "different");
    await runExperiment(other.config, different);
    expect(readRunContents(different).adapters["f16-fedavg.gguf"]).not.toBe(readRunContents(first.out).adapters["f16-fedavg.gguf"]);
  });
});

describe("evaluation", () => {
  test("every=1 measures each round; without held-out samples nothing is measured", async () => {
    const each = await loadTiny(["arms: {strategies: [fedavg]}", "evaluation: {every: 1, maxSamplesPerClient: 1}"]);
    await runExperiment(each.config, each.out);
    const database = openMetricsDatabase(join(each.out, "metrics.sqlite"), { readonly: true });
    const rounds = database.prepare("SELECT round, count(*) AS n FROM evaluations GROUP BY round").all();
    database.close();
    // Four metrics for everything and for each of the six clients.
    expect(rounds).toEqual([0, 1, 2, 3].map((round) => ({ round, n: 4 * 7 })));

    const none = await loadTiny(["arms: {strategies: [fedavg]}"], ["data.heldOutFraction=0"]);
    const { summary } = await runExperiment(none.config, none.out);
    expect(summary.rows.map((row) => row.heldOutLoss)).toEqual([undefined]);
  });

  test("centralized trains on all samples and gives one adapter", async () => {
    const { config, out } = await loadTiny(["arms: {strategies: [centralized]}"]);
    const { summary } = await runExperiment(config, out);
    expect(summary.rows.map((row) => row.adapter)).toEqual(["base", "centralized"]);
    expect(existsSync(join(out, "adapters", "source-centralized.gguf"))).toBe(true);
  });
});

describe("kernel variants", () => {
  test("are timed once, recorded, and kept by a resumed run whatever is remembered by then", async () => {
    const { config, out, folder } = await loadTiny(["arms: {strategies: [fedavg]}", "deterministic: false"]);
    const whole = join(folder, "whole");
    const { record } = await runExperiment(config, whole);
    const remembered = join(folder, "cache", "kernel-variants");
    const [file = "", ...more] = readdirSync(remembered);
    expect(more).toEqual([]);
    const content = readFileSync(join(remembered, file), "utf8");
    expect(JSON.parse(content)).toMatchObject({ variants: record.kernelVariants?.["source"] });

    const controller = new AbortController();
    const onEvent = (event: RunEvent) => {
      if (event.event === "client_step" && event.round === 2) controller.abort();
    };
    await expect(runExperiment(config, out, { onEvent, signal: controller.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    const other = record.kernelVariants?.["source"]?.weightProduct === "bf16" ? "f32" : "bf16";
    writeFileSync(join(remembered, file), content.replace(/"weightProduct": "[a-z0-9]+"/u, `"weightProduct": "${other}"`));
    const resumed = await resumeExperiment(out);
    expect(resumed.record.kernelVariants).toEqual(record.kernelVariants);
    expect(readRunContents(out)).toEqual(readRunContents(whole));
  });

  test("deterministic runs time nothing", async () => {
    const { config, out, folder } = await loadTiny(["arms: {strategies: [fedavg]}"]);
    const { record } = await runExperiment(config, out);
    expect(record.kernelVariants).toEqual({ source: { weightProduct: "f32", transposes: "none" } });
    expect(existsSync(join(folder, "cache", "kernel-variants"))).toBe(false);
  });
});

describe("stopping and resuming", () => {
  test("an aborted run rejects with CANCELLED and goes on to the bytes of an undisturbed one", async () => {
    const { config, out, folder } = await loadTiny();
    const whole = join(folder, "whole");
    await runExperiment(config, whole);
    const controller = new AbortController();
    const onEvent = (event: RunEvent) => {
      if (event.event === "client_step" && event.arm === "f16-fedavg" && event.round === 2) controller.abort();
    };
    await expect(runExperiment(config, out, { onEvent, signal: controller.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    const resumed: RunEvent[] = [];
    await resumeExperiment(out, { onEvent: (event) => resumed.push(event) });
    expect(readRunContents(out)).toEqual(readRunContents(whole));
    expect(resumed.find(({ event }) => event === "arm_skipped")).toMatchObject({ arm: "f16-local" });
    expect(resumed.find(({ event }) => event === "arm_started")).toMatchObject({ arm: "f16-fedavg", round: 1 });
  });

  test("resuming a finished run changes nothing", async () => {
    const { config, out } = await loadTiny();
    await runExperiment(config, out);
    const before = readRunContents(out);
    const { summary } = await resumeExperiment(out);
    expect(readRunContents(out)).toEqual(before);
    expect(summary.rows).toHaveLength(3);
  });

  test("a run does not go on with other data or another model", async () => {
    const { config, out, folder } = await loadTiny();
    const controller = new AbortController();
    const onEvent = (event: RunEvent) => {
      if (event.event === "round_finished") controller.abort();
    };
    await expect(runExperiment(config, out, { onEvent, signal: controller.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    appendFileSync(join(folder, "clients.json"), " ");
    await expect(resumeExperiment(out)).rejects.toThrow(/data\.train of the run: expected the file the run began with/);
  });

  test("a folder with a run, or one that another process works in, is refused", async () => {
    const { config, out } = await loadTiny();
    await runExperiment(config, out);
    await expect(runExperiment(config, out)).rejects.toMatchObject({ code: "RUN_EXISTS" });
    const lock = acquireRunLock(out);
    await expect(resumeExperiment(out)).rejects.toMatchObject({ code: "RUN_LOCKED" });
    lock.release();
    await expect(resumeExperiment(join(out, "none"))).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
  });
});

describe("what cannot run", () => {
  test("a wrong model file, unusable data and a missing device are named", async () => {
    const broken = await loadTiny();
    writeFileSync(join(broken.folder, "tiny.gguf"), "GGUF but not really");
    await expect(runExperiment(broken.config, broken.out)).rejects.toMatchObject({ code: "MODEL_LOAD_FAILED" });
    expect(existsSync(broken.out)).toBe(false);

    const short = await loadTiny([], ["data.maxLength=8"]);
    writeFileSync(join(short.folder, "clients.json"), JSON.stringify({ a: [{ instruction: "x".repeat(100), response: "y" }] }));
    await expect(runExperiment(short.config, short.out)).rejects.toThrow("Raise data.maxLength");

    const device = await loadTiny([], ["device=TPU7"]);
    await expect(runExperiment(device.config, device.out)).rejects.toThrow('device: expected auto or one of CPU, received "TPU7"');
  });

  test("a round with fewer usable updates than minClients stops the run, which stays unfinished", async () => {
    const settings = ["training.minClients=3", "data.maxClients=2"];
    const { config, out } = await loadTiny(["arms: {strategies: [centralized, fedavg]}"], settings);
    await expect(runExperiment(config, out)).rejects.toMatchObject({ code: "COHORT_TOO_SMALL" });
    const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
    const finished = events(database).filter((event) => event.kind === "armFinished");
    database.close();
    // Pooled data is one participant by nature, so the limit does not concern it.
    expect(finished.map((event) => event.arm)).toEqual(["source-centralized"]);
  });
});
