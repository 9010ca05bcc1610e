/** Evaluations in which each input weighs a client's adapter against a frozen one, through the LocalTrainer of real runs. */
import { afterAll, expect, test } from "vitest";
import { evaluatePersonal } from "../../src/evaluation/held-out.js";
import { cosine, inputOf, makeWeightOfInput } from "../../src/evaluation/input-weights.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TEST_ADAPTER, makeSample, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

const model = await BaseModel.open(loadNative().addon, makeTinyModelFile(makeTestFolder()), { numThreads: 1 });
const trainer = new NativeTrainer(model, TEST_ADAPTER);
const train = async (seed: number) => (await trainer.train(makeTrainRequest(trainer.initialWeights(seed), { localSteps: 20, seed }))).weights;
const [local, global] = [await train(1), await train(2)];
const samples = [3, 4, 5].map((seed) => makeSample(8 + seed, seed));
const GLOBAL_WEIGHT = 0.25;
const frozenAdapters = [{ ...TEST_ADAPTER, loraAlpha: GLOBAL_WEIGHT * TEST_ADAPTER.loraAlpha, weights: global }];

afterAll(() => {
  model.dispose();
});

async function lossWith(weightOf?: (position: number) => number): Promise<number> {
  const heldOut = { samples, overall: [0, 1, 2], own: new Map<string, readonly number[]>() };
  const inputWeights = weightOf === undefined ? {} : { inputWeights: { globalWeight: GLOBAL_WEIGHT, weightOf: (_: string, position: number) => Promise.resolve(weightOf(position)) } };
  const [row] = await evaluatePersonal({ trainer, heldOut, microBatchTokens: 64, frozenAdapters, ...inputWeights }, new Map([["a", local]]), 1);
  return row?.metrics.heldout_loss ?? Number.NaN;
}

async function scoresOf(weights: Float32Array | undefined, frozen: typeof frozenAdapters) {
  const adapter = weights === undefined ? {} : { weights };
  return (await trainer.evaluate({ ...adapter, frozenAdapters: frozen, samples, microBatchTokens: 64 })).samples;
}

const meanLoss = (scores: Awaited<ReturnType<typeof scoresOf>>) =>
  -scores.reduce((sum, { logProbability }) => sum + logProbability, 0) / scores.reduce((sum, { numSupervisedTokens }) => sum + numSupervisedTokens, 0);

test("the weight of training gives the fixed evaluation; 0 is the global adapter alone, 1 the client's", async () => {
  // One sample at a time and all at once are rounded alike or almost so.
  expect(await lossWith(() => 1 - GLOBAL_WEIGHT)).toBeCloseTo(await lossWith(), 5);
  const onlyGlobal = await scoresOf(undefined, [{ ...TEST_ADAPTER, weights: global }]);
  expect(await lossWith(() => 0)).toBeCloseTo(meanLoss(onlyGlobal), 5);
  const onlyLocal = await scoresOf(undefined, [{ ...TEST_ADAPTER, loraAlpha: TEST_ADAPTER.loraAlpha / (1 - GLOBAL_WEIGHT), weights: local }]);
  expect(await lossWith(() => 1)).toBeCloseTo(meanLoss(onlyLocal), 5);
  expect(Math.abs(meanLoss(onlyGlobal) - meanLoss(onlyLocal))).toBeGreaterThan(1e-3);
});

test("each input has its own", async () => {
  const weights = [0.1, 0.5, 0.9];
  const scores = await Promise.all(
    weights.map(async (a, position) => {
      const parts = [
        { ...TEST_ADAPTER, loraAlpha: (1 - a) * TEST_ADAPTER.loraAlpha, weights: global },
        { ...TEST_ADAPTER, loraAlpha: (a / (1 - GLOBAL_WEIGHT)) * TEST_ADAPTER.loraAlpha, weights: local },
      ];
      return (await scoresOf(undefined, parts)).slice(position, position + 1);
    }),
  );
  expect(await lossWith((position) => weights[position] ?? 0)).toBeCloseTo(meanLoss(scores.flat()), 5);
});

test("a representation is the base model's last state before the answer, and alike inputs have cosine 1", async () => {
  const [input] = samples.map(inputOf);
  if (input === undefined) throw new Error("there is a sample");
  const [represented] = await trainer.represent([input], 64);
  const { states } = await trainer.hiddenStates({ samples: [input], microBatchTokens: 64 }, [model.info.numLayers]);
  expect(represented).toEqual(states[0]?.slice(-model.info.embeddingLength));
  expect(represented).toHaveLength(model.info.embeddingLength);
  const weightOf = makeWeightOfInput((inputs) => trainer.represent(inputs, 64), samples, () => samples.slice(0, 1));
  expect(await weightOf("a", 0)).toBeCloseTo(1, 6);
  const [own, other] = await trainer.represent(samples.slice(0, 2).map(inputOf), 64);
  expect(await weightOf("a", 1)).toBeCloseTo(Math.max(0, cosine(own ?? new Float32Array(0), other ?? new Float32Array(0))), 6);
});
