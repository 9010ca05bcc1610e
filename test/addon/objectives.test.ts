/** What training can minimise beyond the plain loss, and scores of continuations, over a tiny random model. */
import { afterAll, describe, expect, test } from "vitest";
import { scoreContinuations } from "../../src/evaluation/continuations.js";
import { summarizePairs } from "../../src/evaluation/preference.js";
import type { PreferenceObjective, TokenizedSample, TrainRequest } from "../../src/federated/local-trainer.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TEST_ADAPTER, makeSample, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

const { addon } = loadNative();
const model = await BaseModel.open(addon, makeTinyModelFile(makeTestFolder()), { numThreads: 1 });
const trainer = new NativeTrainer(model, TEST_ADAPTER);
const start = trainer.initialWeights(0);
const trained = (await trainer.train(makeTrainRequest(start, { localSteps: 5 }))).weights;

afterAll(() => {
  model.dispose();
});

/** A prompt of 6 tokens and an answer of the given length. */
function makeAnswer(prompt: number, length: number, variant: number): TokenizedSample {
  const first = makeSample(6, prompt).tokens;
  const answer = makeSample(length + 1, variant).tokens.subarray(1);
  const tokens = Int32Array.of(...first, ...answer);
  return { tokens, supervised: new Uint8Array(tokens.length).fill(1, 6) };
}

const pairs = [makeAnswer(1, 5, 11), makeAnswer(1, 9, 12), makeAnswer(2, 7, 13), makeAnswer(2, 4, 14)];
const dpo: PreferenceObjective = { kind: "dpo", beta: 0.25, labelSmoothing: 0 };

function evaluate(samples: readonly TokenizedSample[], weights?: Float32Array) {
  return trainer.evaluate({ samples, microBatchTokens: 64, ...(weights === undefined ? {} : { weights }) });
}

describe("preferences", () => {
  test("a step from a fresh adapter has loss log 2, and training makes the chosen answers the more rewarded ones", async () => {
    const request = makeTrainRequest(start, { samples: pairs, objective: dpo, localSteps: 20, batchSize: 2 });
    const { preferenceSteps = [], stepLosses } = await trainer.train(request);
    expect(stepLosses[0]).toBe(Math.log(2));
    expect(preferenceSteps).toHaveLength(20);
    expect(preferenceSteps[0]).toMatchObject({ rewardMargin: 0, rewardAccuracy: 0.5, chosenReward: 0, rejectedReward: 0 });
    expect(preferenceSteps[19]?.rewardAccuracy).toBe(1);
    expect(stepLosses[19]).toBeLessThan(0.5);
  });

  test("the figures of a step are those of the scores of both answers under policy and reference", async () => {
    const other = trained.map((weight) => weight * 0.5);
    for (const referenceWeights of [undefined, other]) {
      const objective = { ...dpo, labelSmoothing: 0.1, ...(referenceWeights === undefined ? {} : { referenceWeights }) };
      const request = makeTrainRequest(trained, { samples: pairs, objective, localSteps: 1, batchSize: 2 });
      const { preferenceSteps, stepLosses } = await trainer.train(request);
      const [policy, reference] = [await evaluate(pairs, trained), await evaluate(pairs, referenceWeights)];
      const judged = [0, 2].map((chosen) => ({
        policy: pairAt(policy.samples, chosen),
        reference: pairAt(reference.samples, chosen),
      }));
      const { loss, ...figures } = summarizePairs(judged, objective);
      // Sums of some ten log-probabilities, each rounded to 24 bits.
      expect(stepLosses[0]).toBeCloseTo(loss, 5);
      for (const [name, value] of Object.entries(figures)) {
        expect(preferenceSteps?.[0]?.[name as keyof typeof figures], name).toBeCloseTo(value, 4);
      }
    }
  });

  test("gradients are clipped to the bound that is given, which FedLLM-Bench's DPO never passes on", async () => {
    const request = makeTrainRequest(start, { samples: pairs, objective: dpo, localSteps: 2, batchSize: 2 });
    const clippedTo = (maxGradientNorm: number) => trainer.train({ ...request, optimizer: { ...request.optimizer, maxGradientNorm } });
    const { maxGradientNorm: _, ...optimizer } = request.optimizer;
    const free = await trainer.train({ ...request, optimizer });
    const norm = Math.max(...free.gradientNorms);
    expect((await clippedTo(2 * norm)).weights).toEqual(free.weights);
    const clipped = await clippedTo(norm / 100);
    // Norms are told before clipping; the first step begins alike.
    expect(clipped.gradientNorms[0]).toBe(free.gradientNorms[0]);
    expect(clipped.weights).not.toEqual(free.weights);
  });

  test.each<[string, Partial<TrainRequest>, string]>([
    ["an odd number of answers", { samples: pairs.slice(1) }, "DATASET_INVALID"],
    ["beta 0", { objective: { ...dpo, beta: 0 } }, "CONFIG_INVALID"],
    ["half of the preferences wrong", { objective: { ...dpo, labelSmoothing: 0.5 } }, "CONFIG_INVALID"],
    ["smoothed tokens", { labelSmoothing: 0.1 }, "CONFIG_INVALID"],
    ["a reference of another layout", { objective: { ...dpo, referenceWeights: new Float32Array(3) } }, "ADAPTER_INVALID"],
  ])("%s is refused", async (_, changes, code) => {
    const request = makeTrainRequest(start, { samples: pairs, objective: dpo, ...changes });
    await expect(trainer.train(request)).rejects.toMatchObject({ code });
  });
});

describe("weights of tokens", () => {
  const sample = makeSample(12, 3);

  test("a common factor changes nothing, a weight of 0 leaves a token out", async () => {
    const plain = await trainer.train(makeTrainRequest(start, { samples: [sample], batchSize: 1 }));
    const doubled = { ...sample, weights: new Float32Array(12).fill(2) };
    expect((await trainer.train(makeTrainRequest(start, { samples: [doubled], batchSize: 1 }))).weights).toEqual(plain.weights);

    const weights = new Float32Array(12).fill(1);
    weights[7] = 0;
    const supervised = Uint8Array.from(sample.supervised);
    supervised[7] = 0;
    const [weighted, masked] = await Promise.all(
      [{ ...sample, weights }, { ...sample, supervised }].map((one) =>
        trainer.train(makeTrainRequest(start, { samples: [one], batchSize: 1, localSteps: 1 })),
      ),
    );
    expect(weighted?.stepLosses[0]).toBeCloseTo(masked?.stepLosses[0] ?? Number.NaN, 6);
  });

  test.each([
    ["too few", new Float32Array(11).fill(1)],
    ["none that counts", new Float32Array(12)],
    ["one that is not a number", new Float32Array(12).fill(Number.NaN)],
  ])("%s: refused", async (_, weights) => {
    const request = makeTrainRequest(start, { samples: [{ ...sample, weights }] });
    await expect(trainer.train(request)).rejects.toMatchObject({ code: "DATASET_INVALID" });
  });
});

describe("training options", () => {
  test.each<[string, Partial<TrainRequest>]>([
    ["label smoothing", { labelSmoothing: 0.2 }],
    ["NEFTune", { neftuneAlpha: 5 }],
    ["LoRA+", { loraPlusRatio: 8 }],
  ])("%s changes the training, its neutral value does not", async (_, changes) => {
    const plain = await trainer.train(makeTrainRequest(start));
    expect((await trainer.train(makeTrainRequest(start, changes))).weights).not.toEqual(plain.weights);
    const neutral = { labelSmoothing: 0, neftuneAlpha: 0, loraPlusRatio: 1 };
    expect((await trainer.train(makeTrainRequest(start, neutral))).weights).toEqual(plain.weights);
  });

  test("a scale of the loss that overflows ends in the same weights and says how often", async () => {
    const sample = makeSample(12);
    const samples = [{ ...sample, weights: new Float32Array(12).fill(2 ** 12) }];  // divided out of the step, not of the graph
    const plain = await trainer.train(makeTrainRequest(start, { samples }));
    const scaled = await trainer.train(makeTrainRequest(start, { samples, lossScale: 2 ** 126 }));
    expect(scaled.weights).toEqual(plain.weights);
    expect(plain.numScaleHalvings).toBe(0);
    expect(scaled.numScaleHalvings).toBeGreaterThan(0);
  });

  test.each<[Partial<TrainRequest>]>([
    [{ labelSmoothing: 1 }],
    [{ neftuneAlpha: -1 }],
    [{ loraPlusRatio: 0 }],
    [{ lossScale: 3 }],
    [{ lossScale: 2 ** 127 }],
  ])("%o is refused", async (changes) => {
    await expect(trainer.train(makeTrainRequest(start, changes))).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  });
});

describe("scores of continuations", () => {
  const groups = [
    { prompt: makeSample(20, 1).tokens, continuations: [1, 2, 3, 4].map((length) => makeSample(length + 1, length).tokens.subarray(1)) },
    { prompt: makeSample(3, 2).tokens, continuations: [makeSample(9, 7).tokens.subarray(1)] },
  ];

  test("are those of each continuation alone, with and without an adapter, in micro-batches of any size", async () => {
    for (const weights of [undefined, trained]) {
      const adapter = weights === undefined ? {} : { weights };
      for (const microBatchTokens of [1, 25, 512]) {
        const scores = await scoreContinuations(trainer, { groups, microBatchTokens, ...adapter });
        expect(scores.map((group) => group.length)).toEqual([4, 1]);
        for (const [g, { prompt, continuations }] of groups.entries()) {
          for (const [c, continuation] of continuations.entries()) {
            const tokens = Int32Array.of(...prompt, ...continuation);
            const supervised = new Uint8Array(tokens.length).fill(1, prompt.length);
            const alone = (await evaluate([{ tokens, supervised }], weights)).samples[0];
            const score = scores[g]?.[c];
            expect(score?.logProbability).toBeCloseTo(alone?.logProbability ?? Number.NaN, 4);
            expect(score?.numTokens).toBe(continuation.length);
            expect(score?.isGreedy).toBe(alone?.numCorrectTokens === continuation.length);
          }
        }
      }
    }
  });

  test("are the same where prompts that follow each other share their beginning, wherever it ends", async () => {
    const beginning = makeSample(50, 1).tokens;
    const behind = (length: number, variant: number) => Int32Array.of(...beginning, ...makeSample(length + 1, variant).tokens.subarray(1));
    const options = [Int32Array.of(300), Int32Array.of(301), Int32Array.of(302, 303)];
    // Three behind one beginning, one that leaves it early, one that is a part of it, one with nothing in common.
    const prompts = [behind(9, 11), behind(14, 12), behind(3, 13), Int32Array.of(...beginning.subarray(0, 40), ...makeSample(9, 14).tokens.subarray(1)), beginning.slice(0, 35), makeSample(60, 9).tokens];
    const asked = prompts.map((prompt) => ({ prompt, continuations: options }));
    for (const microBatchTokens of [1, 70, 4096]) {
      const [together, apart] = await Promise.all([true, false].map((sharesBeginnings) => scoreContinuations(trainer, { groups: asked, microBatchTokens, weights: trained, sharesBeginnings })));
      expect(together).toHaveLength(prompts.length);
      for (const [index, scores] of (together ?? []).entries()) {
        expect(scores).toHaveLength(options.length);
        // F32 sums in another order.
        for (const [option, { logProbability, numTokens }] of scores.entries()) {
          expect(logProbability).toBeCloseTo(apart?.[index]?.[option]?.logProbability ?? Number.NaN, 4);
          expect(numTokens).toBe(options[option]?.length);
        }
      }
    }
  });

  test("one of all single-token continuations is the greedy one, and their probabilities sum to one", async () => {
    const continuations = Array.from({ length: model.info.vocabularySize }, (_, token) => Int32Array.of(token));
    const [scores = []] = await scoreContinuations(trainer, { groups: [{ prompt: makeSample(5).tokens, continuations }], microBatchTokens: 512 });
    expect(scores.reduce((sum, { logProbability }) => sum + Math.exp(logProbability), 0)).toBeCloseTo(1, 5);
    const best = Math.max(...scores.map(({ logProbability }) => logProbability));
    expect(scores.filter(({ isGreedy }) => isGreedy).map(({ logProbability }) => logProbability)).toEqual([best]);
  });

  test.each([
    [{ prompt: new Int32Array(0), continuations: [Int32Array.of(1)] }],
    [{ prompt: Int32Array.of(1), continuations: [] }],
    [{ prompt: Int32Array.of(1), continuations: [new Int32Array(0)] }],
  ])("%o is refused", async (group) => {
    await expect(scoreContinuations(trainer, { groups: [group], microBatchTokens: 16 })).rejects.toMatchObject({ code: "DATASET_INVALID" });
  });
});

function pairAt(scores: readonly { readonly logProbability: number }[], chosen: number): { chosen: number; rejected: number } {
  const [first, second] = scores.slice(chosen, chosen + 2);
  return { chosen: first?.logProbability ?? Number.NaN, rejected: second?.logProbability ?? Number.NaN };
}
