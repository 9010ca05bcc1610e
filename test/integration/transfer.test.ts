/** The transfer matrix: its diagonal is what the run measured, its other cells what the adapter's file gives on the other model's file. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { evaluateGlobal } from "../../src/evaluation/held-out.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import type { RunEvent } from "../../src/run/events.js";
import { loadTrainingData } from "../../src/run/training-data.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { readRunContents } from "../helpers/run-contents.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

test("each adapter is judged on each precision once, also over a stop", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [F16, Q8_0], strategies: [local, fedavg]}"]);
  const config = await configOf(file, "training.numRounds=1");
  const out = join(folder, "out");
  let q8Path = "";
  const plain = await runExperiment(config, out, { onEvent: (event) => (q8Path = event.event === "model_ready" && event.precision === "Q8_0" ? event.path : q8Path) });
  expect(plain.summary.transfer).toBeUndefined();

  const stop = new AbortController();
  let numJudged = 0;
  const onEvent = ({ event }: RunEvent) => {
    numJudged += event === "evaluating" ? 1 : 0;
    if (numJudged > 5) stop.abort();
  };
  await expect(resumeExperiment(out, { transfer: true, signal: stop.signal, onEvent })).rejects.toMatchObject({ code: "CANCELLED" });
  const { summary } = await resumeExperiment(out, { transfer: true });
  const lossOf = (adapter: string) => summary.transfer?.find(({ arm }) => arm === adapter)?.losses;
  for (const [precision, name] of [["F16", "f16"], ["Q8_0", "q8_0"]] as const) {
    for (const strategy of ["local", "fedavg"]) {
      const measured = plain.summary.rows.find((row) => row.precision === precision && row.adapter === strategy)?.heldOutLoss;
      expect(lossOf(`${name}-${strategy}`)?.[precision]).toBe(measured);
    }
  }
  expect(await judgeFile(config, q8Path, join(out, "adapters", "f16-fedavg.gguf"))).toBe(lossOf("f16-fedavg")?.["Q8_0"]);
  expect(await judgeFile(config, config.model, join(out, "adapters", "q8_0-fedavg.gguf"))).toBe(lossOf("q8_0-fedavg")?.["F16"]);
  expect(lossOf("f16-fedavg")?.["Q8_0"]).not.toBe(lossOf("f16-fedavg")?.["F16"]);

  // Nothing is computed twice, and a run with the option in its configuration has the same rows.
  const events: RunEvent[] = [];
  await resumeExperiment(out, { transfer: true, onEvent: (event) => events.push(event) });
  expect(events.some(({ event }) => event === "evaluating")).toBe(false);
  const whole = join(folder, "whole");
  await runExperiment(await configOf(file, "training.numRounds=1", "evaluation.transfer=true"), whole);
  expect(readRunContents(whole).rows["transfer_evaluations"]).toEqual(readRunContents(out).rows["transfer_evaluations"]);
  const database = new Database(join(whole, "metrics.sqlite"), { readonly: true });
  expect(database.prepare("SELECT count(*) AS n FROM (SELECT DISTINCT arm, precision FROM transfer_evaluations)").get()).toEqual({ n: 8 });
  database.close();
});

test("adapters are judged as files of fewer bits hold them, by the numbers of the very files", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  // FedEx-LoRA has an adapter beside the pair, which its file joins.
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [F16], strategies: [local, fedavg, fedex-lora]}"]);
  const config = await configOf(file, "training.numRounds=2", "evaluation.adapterTypes=[f32,f16,q8_0]");
  const out = join(folder, "out");
  const { summary } = await runExperiment(config, out);
  const database = new Database(join(out, "metrics.sqlite"), { readonly: true });
  const measured = (arm: string, metric: string) => database.prepare<[string, string], { value: number }>("SELECT value FROM evaluations WHERE arm = ? AND metric = ? AND round = 2 AND client_id IS NULL").get(arm, metric)?.value;
  const { addon } = loadNative();
  const model = await BaseModel.open(addon, config.model, { numThreads: 1 });
  for (const arm of ["f16-fedavg", "f16-fedex-lora"]) {
    const { options, weights } = await model.loadAdapter(join(out, "adapters", `${arm}.gguf`));
    const losses = await Promise.all(
      (["f32", "f16", "q8_0"] as const).map(async (type) => {
        const path = join(folder, `${arm}-${type}.gguf`);
        await model.saveAdapter(path, options, weights, type);
        const expected = await judgeFile(config, config.model, path);
        expect(measured(arm, `heldout_loss@${type}-file`)).toBe(expected);
        return expected;
      }),
    );
    // Fewer bits are other numbers.
    expect(new Set(losses).size).toBe(3);
  }
  // Nothing stands beside FedAvg's pair, so single precision is the run's own number.
  expect(measured("f16-fedavg", "heldout_loss@f32-file")).toBe(summary.rows.find(({ adapter }) => adapter === "fedavg")?.heldOutLoss);
  expect(measured("f16-local", "heldout_loss@q8_0-file")).toBeCloseTo(summary.rows.find(({ adapter }) => adapter === "local")?.heldOutLoss ?? Number.NaN, 2);
  model.dispose();
  database.close();
});

/** Held-out loss of an adapter's file on a model's file, by the trainer itself. */
async function judgeFile(config: Awaited<ReturnType<typeof configOf>>, modelPath: string, adapterPath: string): Promise<number | undefined> {
  const { addon } = loadNative();
  const model = await BaseModel.open(addon, modelPath, { numThreads: 1 });
  const tokenizer = await Tokenizer.open(addon, config.model);
  const { options, weights } = await model.loadAdapter(adapterPath);
  const { heldOut } = await loadTrainingData(config, tokenizer);
  const [overall] = await evaluateGlobal({ trainer: new NativeTrainer(model, options), heldOut, microBatchTokens: 64 }, weights);
  tokenizer.dispose();
  model.dispose();
  return overall?.metrics.heldout_loss;
}
