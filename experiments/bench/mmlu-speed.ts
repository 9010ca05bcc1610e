/**
 * How fast MMLU's letters are scored, beside the rate at which llama.cpp (through node-llama-cpp) processes the same prompts, in turn in one run.
 * Usage: node --import tsx experiments/bench/mmlu-speed.ts [type, default Q8_0] [questions, default 24] [repeats, default 3] [width layers, default 512 8] [threads] [model.gguf]
 * Without a model: random weights and a vocabulary of bytes. Each question has five examples before it, some 700 tokens in all.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { LlamaLogLevel, getLlama } from "node-llama-cpp";
import type { Token } from "node-llama-cpp";
import { mmluSource } from "../../src/benchmarks/metrics/mmlu.js";
import type { SubjectModel } from "../../src/benchmarks/metric.js";
import type { ContinuationGroup } from "../../src/evaluation/continuations.js";
import { scoreContinuations } from "../../src/evaluation/continuations.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { quantizeModel } from "../../src/native/quantize.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { writeTinyGguf } from "../../test/fixtures/tiny-gguf.js";

const CONTEXT_LENGTH = 2048;
const MICRO_BATCH_TOKENS = 2048;
const [type = "Q8_0", numQuestions = "24", repeats = "3", width = "512", layers = "8", threads = String(availableParallelism()), given] = process.argv.slice(2);
const numThreads = Number(threads);
const folder = mkdtempSync(join(tmpdir(), "fedllm-mmlu-speed-"));

interface Rate {
  readonly wall: number;
  readonly processor: number;
}

try {
  await compare(given ?? (await makeModel()));
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function makeModel(): Promise<string> {
  const source = join(folder, "source.gguf");
  writeTinyGguf(source, { embeddingLength: Number(width), numLayers: Number(layers), metadata: { "llama.context_length": { u32: CONTEXT_LENGTH } } });
  if (type === "F16") return source;
  const path = join(folder, "model.gguf");
  await quantizeModel(loadNative().addon, { inputPath: source, outputPath: path, type, numThreads });
  return path;
}

async function compare(modelPath: string): Promise<void> {
  const { addon } = loadNative();
  const model = await BaseModel.open(addon, modelPath, { numThreads });
  const tokenizer = await Tokenizer.open(addon, modelPath);
  const trainer = new NativeTrainer(model, { rank: 1, loraAlpha: 1, targetModules: ["ffn_down"] });
  const groups = await askedBy(tokenizer);
  const numTokens = groups.reduce((sum, { prompt }) => sum + prompt.length, 0);
  const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.disabled });
  const stock = await llama.loadModel({ modelPath });
  const context = await stock.createContext({ contextSize: CONTEXT_LENGTH, batchSize: 512, threads: numThreads });
  const sequence = context.getSequence();
  const ways = {
    "llama.cpp's prompt processing, each prompt from its beginning": async () => {
      for (const { prompt } of groups) {
        await sequence.clearHistory();
        await sequence.evaluateWithoutGeneratingNewTokens([...prompt] as Token[]);
      }
    },
    "four letters a question, each prompt from its beginning": () => scoreContinuations(trainer, { groups, microBatchTokens: MICRO_BATCH_TOKENS, sharesBeginnings: false }),
    "four letters a question, examples shared, as the metric does": () => scoreContinuations(trainer, { groups, microBatchTokens: MICRO_BATCH_TOKENS }),
  };
  const rates = new Map<string, Rate[]>();
  for (let repeat = 0; repeat <= Number(repeats); repeat++) {
    for (const [name, way] of Object.entries(ways)) {
      const rate = await measure(way, numTokens);
      // The first run warms up.
      if (repeat > 0) rates.set(name, [...(rates.get(name) ?? []), rate]);
    }
  }
  print(rates, `${type}, ${String(groups.length)} questions of ${(numTokens / groups.length).toFixed(0)} tokens with their examples, ${String(numThreads)} threads, medians of ${repeats}`);
  await llama.dispose();
  tokenizer.dispose();
  model.dispose();
}

/** What the metric asks to be scored. */
async function askedBy(tokenizer: Tokenizer): Promise<readonly ContinuationGroup[]> {
  const bos = tokenizer.addBos && tokenizer.bosToken !== undefined ? [tokenizer.bosToken] : [];
  const tokenize = (text: string, addBos: boolean) => Int32Array.from([...(addBos ? bos : []), ...tokenizer.tokenize(text, false)]);
  const groups: ContinuationGroup[] = [];
  const subject: SubjectModel = {
    contextLength: CONTEXT_LENGTH,
    tokenize,
    tokenizeChat: () => tokenize("", true),
    answer: () => Promise.reject(new Error("nothing is to be written")),
    score: (asked) => {
      groups.push(...asked);
      return Promise.resolve(asked.map(({ continuations }) => continuations.map(() => ({ logProbability: 0, numTokens: 1, isGreedy: false }))));
    },
  };
  const metric = await mmluSource.create({ file: writeQuestions(), seed: 0, settings: { scoring: "logprob" } });
  await metric.answerItems({ model: subject, seed: 0 }, metric.items);
  return groups;
}

/** One subject; with a token per letter a question has about as many tokens as a real one. */
function writeQuestions(): string {
  const place = join(folder, "questions");
  for (const [split, count] of [["dev", 5], ["test", Number(numQuestions)]] as const) {
    mkdirSync(join(place, split), { recursive: true });
    const lines = Array.from({ length: count }, (_, index) => `What does the ${split} say about number ${String(index)} of the long list of numbers?,it is ${String(index)},nothing,it is odd,all of it,${"ABCD"[index % 4] ?? ""}\n`);
    writeFileSync(join(place, split, `numbers_${split}.csv`), lines.join(""));
  }
  return place;
}

async function measure(way: () => Promise<unknown>, numTokens: number): Promise<Rate> {
  const processor = process.cpuUsage();
  const start = performance.now();
  await way();
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(processor);
  return { wall: numTokens / seconds, processor: numTokens / ((user + system) / 1e6) };
}

function print(rates: ReadonlyMap<string, readonly Rate[]>, title: string): void {
  const median = (values: readonly number[]) => [...values].sort((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;
  const [reference] = [...rates.values()].map((of) => ({ wall: median(of.map(({ wall }) => wall)), processor: median(of.map(({ processor }) => processor)) }));
  console.log(`${title}\n\n| way | prompt tokens per second | per processor second | of llama.cpp's rate | by processor time |\n|---|---|---|---|---|`);
  for (const [name, of] of rates) {
    const [wall, processor] = [median(of.map((rate) => rate.wall)), median(of.map((rate) => rate.processor))];
    console.log(`| ${name} | ${wall.toFixed(0)} | ${processor.toFixed(0)} | ${(wall / (reference?.wall ?? Number.NaN)).toFixed(2)} | ${(processor / (reference?.processor ?? Number.NaN)).toFixed(2)} |`);
  }
}
