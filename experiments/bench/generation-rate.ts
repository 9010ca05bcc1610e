/**
 * Tokens per second of text generation beside node-llama-cpp with as many sequences, in one run and alternating, greedy, and whether the
 * answers agree. Prompts are random tokens: of 32, different ones, and of 300 common tokens and 16 of their own (node-llama-cpp computes
 * the common ones for each sequence). Weights are repacked, as node-llama-cpp does by default. `random` stands for a random F16 model of 113
 * million weights, `random:Q4_K_M` and so on for it quantized; it goes on to the end, as a trained one that gets random tokens may not.
 * Usage: node --import tsx experiments/bench/generation-rate.ts MODEL.gguf|random[:TYPE] [threads, default 2] [new tokens, default 48] [repeats, default 3]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { LlamaLogLevel, getLlama } from "node-llama-cpp";
import type { LlamaModel, Token } from "node-llama-cpp";
import { TextGenerator } from "../../src/native/generator.js";
import { loadNative } from "../../src/native/load.js";
import { quantizeModel } from "../../src/native/quantize.js";
import { writeTinyGguf } from "../../test/fixtures/tiny-gguf.js";

const [source = "random", threads = "2", newTokens = "48", repeats = "3"] = process.argv.slice(2);
const [numThreads, maxNewTokens, numRepeats] = [Number(threads), Number(newTokens), Number(repeats)];
const CONTEXT_LENGTH = 512;

/** New tokens and how long they took. */
interface Work {
  readonly answers: readonly (readonly number[])[];
  readonly seconds: number;
  /** Of all threads of this process, which a busy machine lengthens less. */
  readonly processorSeconds: number;
}

const { addon } = loadNative();
const folder = mkdtempSync(join(tmpdir(), "fedllm-generation-"));
const path = await findModel(source);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.disabled });
const model = await llama.loadModel({ modelPath: path });
console.log(`${source.startsWith("random") ? source : basename(path)}, ${numThreads} threads, ${maxNewTokens} new tokens, best of ${numRepeats}\n`);
console.log("| prompts | sequences | tokens/s | node-llama-cpp | ratio | tokens per processor second | node-llama-cpp | ratio | same answers |");
console.log("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
for (const numCommon of [0, 300]) for (const numSequences of [1, 4, 16]) console.log(await compare(numCommon, numSequences));
await llama.dispose();
rmSync(folder, { recursive: true });

async function findModel(name: string): Promise<string> {
  const [kind, type] = name.split(":");
  if (kind !== "random") return name;
  const made = join(folder, "random.gguf");
  writeTinyGguf(made, { embeddingLength: 1024, numLayers: 12, metadata: { "tokenizer.ggml.eos_token_id": { u32: 0 } } });
  if (type === undefined) return made;
  const outputPath = join(folder, `random-${type}.gguf`);
  await quantizeModel(addon, { inputPath: made, outputPath, type, numThreads });
  return outputPath;
}

async function compare(numCommon: number, numSequences: number): Promise<string> {
  const prompts = makePrompts(numCommon, numSequences);
  const generator = await TextGenerator.open(addon, path, { contextLength: CONTEXT_LENGTH, maxSequences: numSequences, numThreads, repack: true, adapters: [] });
  const ours: Work[] = [];
  const theirs: Work[] = [];
  for (let repeat = 0; repeat < numRepeats; repeat++) {
    ours.push(await runOurs(generator, prompts));
    theirs.push(await runTheirs(model, prompts));
  }
  generator.dispose();
  const rates = (["seconds", "processorSeconds"] as const).flatMap((unit) => {
    const [rate, otherRate] = [bestRate(ours, unit), bestRate(theirs, unit)];
    return [rate.toFixed(1), otherRate.toFixed(1), (rate / otherRate).toFixed(2)];
  });
  const numSame = (ours[0]?.answers ?? []).filter((answer, index) => answer.join() === theirs[0]?.answers[index]?.join()).length;
  const kind = numCommon === 0 ? "32 of their own" : `${numCommon} common, 16 of their own`;
  return `| ${kind} | ${numSequences} | ${rates.join(" | ")} | ${numSame} of ${numSequences} |`;
}

function makePrompts(numCommon: number, count: number): Int32Array[] {
  const vocabularySize = model.fileInfo.metadata.tokenizer.ggml.tokens.length;
  const token = (place: number): number => 260 + ((place * 7919) % (vocabularySize - 260));
  const numOwn = numCommon === 0 ? 32 : 16;
  return Array.from({ length: count }, (_, index) =>
    Int32Array.from({ length: numCommon + numOwn }, (__, place) => token(place < numCommon ? place : place + 1000 * (index + 1))),
  );
}

async function runOurs(generator: TextGenerator, prompts: readonly Int32Array[]): Promise<Work> {
  const clock = startClock();
  const results = await generator.generate({
    prompts: prompts.map((tokens) => ({ tokens, maxNewTokens, temperature: 0, topK: 0, topP: 1, seed: 0, stopTexts: [] })),
  });
  return { ...clock(), answers: results.map(({ tokens }) => [...tokens]) };
}

/** A new context each time, made before the clock starts, so that nothing of an earlier run is reused. */
async function runTheirs(opened: LlamaModel, prompts: readonly Int32Array[]): Promise<Work> {
  const context = await opened.createContext({ contextSize: CONTEXT_LENGTH, sequences: prompts.length, threads: numThreads });
  const sequences = prompts.map(() => context.getSequence());
  const clock = startClock();
  const answers = await Promise.all(
    prompts.map(async (prompt, index) => {
      const answer: number[] = [];
      for await (const token of sequences[index]?.evaluate([...prompt] as Token[], { temperature: 0 }) ?? []) {
        answer.push(token);
        if (answer.length === maxNewTokens) break;
      }
      return answer;
    }),
  );
  const times = clock();
  await context.dispose();
  return { ...times, answers };
}

function startClock(): () => Omit<Work, "answers"> {
  const start = performance.now();
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return { seconds: (performance.now() - start) / 1000, processorSeconds: (user + system) / 1e6 };
  };
}

function bestRate(runs: readonly Work[], unit: "seconds" | "processorSeconds"): number {
  return Math.max(...runs.map((run) => run.answers.flat().length / run[unit]));
}
