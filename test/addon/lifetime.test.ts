/**
 * The addon at the ends of a process and of a worker: running tasks and loggers must not crash or hang it. Method: small
 * programs in processes of their own, judged by exit code and output.
 */
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { makeTestFolder, makeTinyModelFile } from "../helpers/native.js";

const ROOT = resolve(import.meta.dirname, "..", "..");
const folder = makeTestFolder();
const modelPath = makeTinyModelFile(folder);

/** Workers that are terminated, each two milliseconds later in its work than the one before. */
const NUM_MOMENTS = 30;

/** The same while it generates. */
const NUM_GENERATOR_MOMENTS = 8;

/** Opens the tiny model and starts a training that would take hours. */
const prelude = `
  const { loadNative } = await import(${JSON.stringify(pathToFileURL(resolve(ROOT, "src/native/load.ts")).href)});
  const modelPath = ${JSON.stringify(modelPath)};
  const { addon } = loadNative();
  const adapter = { rank: 4, loraAlpha: 8, targetModules: ["attn_q"] };
  const settings = {
    adapter,
    samples: { tokens: Int32Array.of(1, 300, 301), supervised: Uint8Array.of(0, 1, 1), offsets: Uint32Array.of(0, 3) },
    localSteps: 1e9, batchSize: 1, microBatchTokens: 8, learningRate: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8,
    weightDecay: 0, dropout: 0, seed: 0,
  };
  async function startTraining(onProgress) {
    const model = await addon.loadModel(modelPath, { numThreads: 1 });
    return model.train({ ...settings, weights: model.initialWeights(adapter, 1), onProgress });
  }
`;

function runProgram(body: string): { exitCode: number | null; signal: string | null; output: string; errors: string } {
  const result = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", prelude + body], {
    cwd: ROOT,
    encoding: "utf8",
    timeout: 60_000,
  });
  return { exitCode: result.status, signal: result.signal, output: result.stdout, errors: result.stderr };
}

describe("the process", () => {
  test("exits at once while a training runs, when told to", () => {
    const result = runProgram(`
      await startTraining((step) => { if (step === 2) { console.log("leaving"); process.exit(7); } });
    `);
    expect(result).toEqual({ exitCode: 7, signal: null, output: "leaving\n", errors: "" });
  });

  test("stays alive for a running training and ends after its cancel", () => {
    const result = runProgram(`
      const task = await startTraining();
      setTimeout(() => { task.cancel(); task.cancel(); }, 200).unref();
      task.promise.catch((error) => { console.log(error.code); });
    `);
    expect(result).toEqual({ exitCode: 0, signal: null, output: "CANCELLED\n", errors: "" });
  });

  test("is not kept alive by a logger, and the addon prints nothing of its own", () => {
    const result = runProgram(`
      addon.setLogger(() => {});
      (await addon.loadTokenizer(modelPath)).dispose();
    `);
    expect(result).toEqual({ exitCode: 0, signal: null, output: "", errors: "" });
    expect(runProgram(`(await addon.loadTokenizer(modelPath)).dispose();`).output).toBe("");
  });

  test("delivers log lines with their level, until the logger is taken away", () => {
    const result = runProgram(`
      const lines = [];
      addon.setLogger((level, text) => { lines.push([level, text]); });
      await addon.loadTokenizer(modelPath);
      await new Promise((resolve) => setTimeout(resolve, 100));
      const count = lines.length;
      addon.setLogger(null);
      await addon.loadTokenizer(modelPath);
      await new Promise((resolve) => setTimeout(resolve, 100));
      const levels = new Set(lines.map(([level]) => level));
      const whole = lines.every(([, text]) => text.length > 0 && !text.includes("\\n"));
      console.log(count > 10, lines.length === count, levels.has("info"), whole);
    `);
    expect(result.output).toBe("true true true true\n");
  });
});

describe("a worker thread", () => {
  /** Runs `body` in a worker of the program and waits for its end. */
  function runWorker(body: string, after = ""): ReturnType<typeof runProgram> {
    const source = `(async () => { (await import("tsx/esm/api")).register(); ${prelude} ${body} })()`;
    return runProgram(`
      const { Worker } = await import("node:worker_threads");
      const worker = new Worker(${JSON.stringify(source)}, { eval: true });
      const ended = new Promise((resolve) => worker.on("exit", resolve));
      worker.on("error", (error) => { console.log("worker error", error); });
      ${after}
      await ended;
      console.log("ended");
    `);
  }

  test("can be terminated while it trains and logs", () => {
    const result = runWorker(
      `addon.setLogger(() => {});
       const task = await startTraining(() => {});
       (await import("node:worker_threads")).parentPort.postMessage("training");
       task.promise.catch(() => {});`,
      `worker.on("message", () => { setTimeout(() => worker.terminate(), 100); });`,
    );
    expect(result).toEqual({ exitCode: 0, signal: null, output: "ended\n", errors: "" });
  });

  test("can be terminated at any moment of loading, logging and training", () => {
    const body = `
      addon.setLogger(() => {});
      parentPort.postMessage("loaded");
      for (;;) {
        const model = await addon.loadModel(modelPath, { numThreads: 1 });
        const task = model.train({ ...settings, weights: model.initialWeights(adapter, 1), localSteps: 20, onProgress: () => {} });
        await task.promise;
        model.dispose();
      }`;
    const source = `(async () => {
      (await import("tsx/esm/api")).register();
      const { parentPort } = await import("node:worker_threads");
      ${prelude} ${body} })()`;
    const result = runProgram(`
      const { Worker } = await import("node:worker_threads");
      for (let moment = 0; moment < ${String(NUM_MOMENTS)}; moment++) {
        const worker = new Worker(${JSON.stringify(source)}, { eval: true });
        worker.on("error", (error) => { console.log("worker error", error); });
        worker.on("message", () => { setTimeout(() => worker.terminate(), 2 * moment); });
        await new Promise((resolve) => worker.on("exit", resolve));
      }
      console.log("ended");
    `);
    expect(result).toEqual({ exitCode: 0, signal: null, output: "ended\n", errors: "" });
  });

  test("can be terminated at any moment of opening a generator and generating", () => {
    const prompt = `{ tokens: Int32Array.of(1, 300), maxNewTokens: 30, temperature: 1, topK: 0, topP: 1, seed: 1, stopTexts: [] }`;
    const source = `(async () => {
      (await import("tsx/esm/api")).register();
      const { parentPort } = await import("node:worker_threads");
      ${prelude}
      parentPort.postMessage("loaded");
      for (;;) {
        const generator = await addon.openGenerator(modelPath, { contextLength: 64, maxSequences: 2, numThreads: 2, adapters: [] });
        const task = generator.generate({ prompts: [${prompt}, ${prompt}], onProgress: () => {} });
        generator.dispose();
        await task.promise;
      } })()`;
    const result = runProgram(`
      const { Worker } = await import("node:worker_threads");
      for (let moment = 0; moment < ${String(NUM_GENERATOR_MOMENTS)}; moment++) {
        const worker = new Worker(${JSON.stringify(source)}, { eval: true });
        worker.on("error", (error) => { console.log("worker error", error); });
        worker.on("message", () => { setTimeout(() => worker.terminate(), 7 * moment); });
        await new Promise((resolve) => worker.on("exit", resolve));
      }
      const generator = await addon.openGenerator(modelPath, { contextLength: 64, maxSequences: 2, numThreads: 1, adapters: [] });
      generator.generate({ prompts: [{ ...${prompt}, maxNewTokens: 1e6 }], onProgress: () => { console.log("leaving"); process.exit(7); } });
    `);
    expect(result).toEqual({ exitCode: 7, signal: null, output: "leaving\n", errors: "" });
  });

  test("leaves the main thread's addon usable when it has gone", () => {
    const result = runWorker(
      `addon.setLogger(() => {}); (await addon.loadTokenizer(modelPath)).dispose();`,
      `await ended; const tokenizer = await addon.loadTokenizer(modelPath); console.log(tokenizer.vocabularySize);`,
    );
    expect(result.errors).toBe("");
    expect(result.output).toBe("368\nended\n");
  });
});
