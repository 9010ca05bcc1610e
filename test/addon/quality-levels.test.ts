/**
 * Whether the quality of answers, as the analysis measures it, finds the answers that the generator made bad. The model that comes with
 * this package understands nothing before it is trained: all quotients are near 1 then.
 */
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { runPass } from "../../src/analysis/pass.js";
import { difficultyOf, qualityPass } from "../../src/analysis/quality.js";
import { listSamples } from "../../src/analysis/samples.js";
import type { AnalyzedSample } from "../../src/analysis/samples.js";
import { AnalysisStore } from "../../src/analysis/store.js";
import { resolveModelPath } from "../../src/config/builtin.js";
import { readFederatedDataset } from "../../src/data/dataset.js";
import { syntheticOptions } from "../../src/data/synthetic/profiles.js";
import { QUALITY_LEVELS } from "../../src/data/synthetic/samples.js";
import type { QualityLevel } from "../../src/data/synthetic/samples.js";
import { readSyntheticTruth, writeSyntheticData } from "../../src/data/synthetic/write.js";
import { createTemplate } from "../../src/data/templates.js";
import { tokenizeSamples } from "../../src/data/tokenized.js";
import type { EvaluateRequest } from "../../src/federated/local-trainer.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { Tokenizer } from "../../src/native/tokenizer.js";
import { makeTestFolder } from "../helpers/native.js";

const MAX_LENGTH = 192;
const ALL_MODULES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

const { addon } = loadNative();
const folder = makeTestFolder();
const path = resolveModelPath("builtin:fedllm-tiny");
const model = await BaseModel.open(addon, path, { numThreads: 1 });
const tokenizer = await Tokenizer.open(addon, path);
const trainer = new NativeTrainer(model, { rank: 16, loraAlpha: 32, targetModules: ALL_MODULES });
// Short, so that most of what is computed is question and answer.
const chatTemplate = "{% for message in messages %}{{ 'Q: ' if message.role == 'user' else 'A:' }}{{ message.content }}{{ '\n' if message.role == 'user' else '</s>' }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}";
const template = createTemplate("chat", { chatTemplate, eosText: "</s>" });

afterAll(() => {
  model.dispose();
  tokenizer.dispose();
});

/** English samples of four clients with the generator's word about each answer. */
async function generate(name: string, changes: { readonly numSamples: number; readonly qualityNoise: number; readonly seed: number }) {
  const { seed, ...rest } = changes;
  const options = syntheticOptions("demo", { ...rest, numClients: 4, sizeDeviation: 0, languages: { en: 1 }, instructionTokens: { mean: 14, deviation: 4 }, responseTokens: { mean: 8, deviation: 3 } });
  const written = await writeSyntheticData(join(folder, `${name}.json`), { profile: "demo", options, seed });
  const samples = listSamples(await readFederatedDataset(written.path));
  const truth = await readSyntheticTruth(written.truthPath);
  const levelOf = ({ clientIndex, sampleIndex }: AnalyzedSample) => truth.clients[clientIndex]?.samples[sampleIndex]?.quality;
  return { samples, levelOf };
}

/** Weights after a short training on good answers. */
async function train(): Promise<Float32Array> {
  const { samples } = await generate("training", { numSamples: 600, qualityNoise: 0, seed: 11 });
  const tokenized = tokenizeSamples(samples.map(({ sample }) => sample), { template, tokenizer, maxLength: MAX_LENGTH });
  const optimizer = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradientNorm: 1 };
  const { weights } = await trainer.train({
    weights: trainer.initialWeights(1),
    samples: tokenized.samples,
    localSteps: 80,
    batchSize: 8,
    microBatchTokens: 1024,
    clientLearningRate: 3e-3,
    optimizer,
    dropout: 0,
    seed: 1,
  });
  return weights;
}

/** IFD of the samples of each level. */
async function difficulties(scored: Awaited<ReturnType<typeof generate>>, weights: Float32Array | undefined) {
  const evaluate = (request: EvaluateRequest, signal?: AbortSignal) => trainer.evaluate(weights === undefined ? request : { ...request, weights }, signal);
  const store = new AnalysisStore(join(folder, weights === undefined ? "before.sqlite" : "after.sqlite"));
  const found = await runPass(scored.samples, qualityPass({ modelSha256: "0", device: "CPU", tokenizer, template, trainer: { evaluate }, maxLength: MAX_LENGTH }), { store });
  store.close();
  const valuesOf = (level: QualityLevel) => scored.samples.flatMap((sample, index) => (scored.levelOf(sample) === level ? (difficultyOf(found[index]) ?? []) : []));
  return Object.fromEntries(QUALITY_LEVELS.map((level) => [level, valuesOf(level)])) as Readonly<Record<QualityLevel, number[]>>;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Share of the pairs in which the first one's is the larger. */
function shareAbove(values: readonly number[], others: readonly number[]): number {
  return mean(values.flatMap((value) => others.map((other) => (value > other ? 1 : 0))));
}

test("answers to other questions are harder with their instruction than without, once the model has learned to read instructions", async () => {
  const scored = await generate("scored", { numSamples: 80, qualityNoise: 0.4, seed: 12 });
  const before = await difficulties(scored, undefined);
  for (const level of QUALITY_LEVELS) {
    expect(before[level].length).toBeGreaterThan(15);
    // Before, no level is told from another: 1.02 to 1.04.
    expect(Math.abs(mean(before[level]) - 1)).toBeLessThan(0.07);
  }
  const { good, wrong, unrelated } = await difficulties(scored, await train());
  // With three seeds of the data: good 0.63 to 0.73, wrong 0.63 to 0.72, unrelated 1.21 to 1.31.
  expect(mean(good)).toBeLessThan(0.85);
  // Wrong answers are of the right kind, and so small a model does not know that another number would be right.
  expect(mean(wrong)).toBeLessThan(0.85);
  expect(mean(unrelated)).toBeGreaterThan(1.1);
  expect(shareAbove(unrelated, [...good, ...wrong])).toBeGreaterThan(0.9);
});
