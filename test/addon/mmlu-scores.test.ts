/**
 * MMLU by log-probability against llama.cpp: for every question and letter the naive way, one evaluation by node-llama-cpp with its own
 * tokenizer, beside what the metric computes for a group of questions at once. Over generated questions, and real ones where they are.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { mmluSource, promptOf } from "../../src/benchmarks/metrics/mmlu.js";
import type { ChoiceItem } from "../../src/benchmarks/metrics/mmlu.js";
import type { ItemAnswer, SubjectModel } from "../../src/benchmarks/metric.js";
import { readChoiceSubjects } from "../../src/benchmarks/question-sets/mmlu-files.js";
import { scoreContinuations } from "../../src/evaluation/continuations.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { quantizeModel } from "../../src/native/quantize.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { makeTestFolder } from "../helpers/native.js";
import { stockNextLogProbabilities } from "../helpers/stock-llama.js";

const TINY = resolve(import.meta.dirname, "../../models/fedllm-tiny-f16.gguf");
const REAL = resolve(import.meta.dirname, "../../../shared/data/eval/mmlu");
/** Both compute in F32, in other orders; sums of a few hundred terms in each of some ten products, of which a log-probability is made. */
const TOLERANCE = 2e-4;

const { addon } = loadNative();
/** The tiny model with its weights in F32: for F16 llama.cpp would round activations to F16, and the comparison would be a coarse one. */
const MODEL = join(makeTestFolder(), "tiny-f32.gguf");
await quantizeModel(addon, { inputPath: TINY, outputPath: MODEL, type: "F32", numThreads: 1 });
const model = await BaseModel.open(addon, MODEL, { numThreads: 1 });
const tokenizer = await Tokenizer.open(addon, MODEL);
const trainer = new NativeTrainer(model, { rank: 1, loraAlpha: 1, targetModules: ["attn_q"] });
const contextLength = model.info.contextLength;

afterAll(() => {
  tokenizer.dispose();
  model.dispose();
});

/** The tiny model as a subject that only scores, with micro-batches of this size. */
function subjectWith(microBatchTokens: number): SubjectModel {
  const tokenize = (text: string, addBos: boolean) => Int32Array.from([...(addBos && tokenizer.addBos && tokenizer.bosToken !== undefined ? [tokenizer.bosToken] : []), ...tokenizer.tokenize(text, false)]);
  return {
    contextLength,
    tokenize,
    score: (groups, signal) => scoreContinuations(trainer, { groups, microBatchTokens }, signal),
    answer: () => Promise.reject(new Error("nothing is to be written")),
    tokenizeChat: () => tokenize("", true),
  };
}

async function answer(file: string, microBatchTokens: number, limit?: number) {
  const metric = await mmluSource.create({ file, seed: 0, settings: { scoring: "logprob" }, ...(limit === undefined ? {} : { limit }) });
  const items = metric.items as readonly ChoiceItem[];
  const answers = await metric.answerItems({ model: subjectWith(microBatchTokens), seed: 0 }, items);
  return { metric, items, answers };
}

const logProbabilitiesOf = ({ details }: ItemAnswer) => details?.["logProbabilities"] as readonly number[];

/** Compares all letters of all questions, and the accuracy where the letters are further apart than the tolerance. */
async function compareWithStock(file: string, { metric, items, answers }: Awaited<ReturnType<typeof answer>>): Promise<number> {
  const dev = new Map((await readChoiceSubjects(file)).map((subject) => [subject.name, subject.dev]));
  const texts = items.map((item, index) => ({
    prompt: promptOf(item, (dev.get(item.category) ?? []).slice(0, Number(answers[index]?.details?.["numShots"]))),
    continuations: [" A", " B", " C", " D"],
  }));
  const stock = await stockNextLogProbabilities(MODEL, texts, contextLength);
  let worst = 0;
  for (const [index, item] of items.entries()) {
    const received = answers[index];
    if (received === undefined) throw new Error("an item without an answer");
    const expected = stock[index] ?? [];
    for (const [letter, value] of expected.entries()) worst = Math.max(worst, Math.abs(value - (logProbabilitiesOf(received)[letter] ?? Number.NaN)));
    const [best = 0, second = 0] = [...expected].sort((left, right) => right - left);
    const [score] = await metric.scoreItem({ seed: 0 }, item, received);
    if (best - second > 2 * TOLERANCE) expect(score?.value).toBe(expected.indexOf(best) === item.question.answer ? 1 : 0);
  }
  return worst;
}

/** Questions about the weather and sums, of different lengths. */
function writeGenerated(): string {
  const folder = makeTestFolder();
  const question = (index: number) => `What is ${"the sum of ".repeat(index % 3)}${String(index)} and ${String(index + 2)}?,${String(index)},${String(2 * index + 2)},none of these,${"all ".repeat(index % 4)}of them,${"ABCD"[index % 4] ?? ""}\n`;
  for (const split of ["dev", "test"]) mkdirSync(join(folder, split));
  for (const subject of ["sums", "the_weather"]) {
    const first = subject.length;
    writeFileSync(join(folder, "dev", `${subject}_dev.csv`), Array.from({ length: 5 }, (_, index) => question(first + index)).join(""));
    writeFileSync(join(folder, "test", `${subject}_test.csv`), Array.from({ length: 6 }, (_, index) => question(2 * first + index)).join(""));
  }
  return folder;
}

const generated = writeGenerated();

describe("MMLU's letters by log-probability", () => {
  test("are llama.cpp's, in micro-batches of any size", async () => {
    const together = await answer(generated, 8192);
    expect(together.answers.some(({ details }) => details?.["numShots"] === 5)).toBe(true);
    expect(await compareWithStock(generated, together)).toBeLessThan(TOLERANCE);
    const apart = await answer(generated, 1);
    for (const [index, one] of together.answers.entries()) {
      const other = apart.answers[index];
      // Sums in F32 in another order.
      for (const [letter, value] of logProbabilitiesOf(one).entries()) expect(other === undefined ? undefined : logProbabilitiesOf(other)[letter]).toBeCloseTo(value, 4);
    }
  });

  test.skipIf(!existsSync(REAL))("are llama.cpp's for real questions, with as many examples as fit", async () => {
    const drawn = await answer(REAL, 4096, 8);
    const shots = drawn.answers.map(({ details }) => Number(details?.["numShots"] ?? -1));
    expect(new Set(shots).size).toBeGreaterThan(1);
    const fitting = drawn.items.map((item, index) => ({ item, answer: drawn.answers[index] })).filter(({ answer: of }) => of?.details !== undefined);
    expect(fitting.length).toBeGreaterThan(3);
    const some = { metric: drawn.metric, items: fitting.map(({ item }) => item), answers: fitting.flatMap(({ answer: of }) => of ?? []) };
    expect(await compareWithStock(REAL, some)).toBeLessThan(TOLERANCE);
  });
});
