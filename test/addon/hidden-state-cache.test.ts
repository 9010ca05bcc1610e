/** Cached hidden states through the addon: the same results, figures of what was saved, and what is refused. */
import { describe, expect, test } from "vitest";
import type { OpenModelOptions } from "../../src/native/base-model.js";
import { BaseModel } from "../../src/native/base-model.js";
import type { NativeAdapterOptions, NativeTrainResult } from "../../src/native/binding.js";
import { loadNative } from "../../src/native/load.js";
import { awaitNative } from "../../src/native/native-error.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TEST_ADAPTER, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

const { addon } = loadNative();
const path = makeTinyModelFile(makeTestFolder(), "hidden.gguf", { numLayers: 4 });
const UPPER: NativeAdapterOptions = { ...TEST_ADAPTER, layers: [2, 3] };

async function withModel<T>(options: Partial<OpenModelOptions>, use: (model: BaseModel) => Promise<T>): Promise<T> {
  const model = await BaseModel.open(addon, path, { numThreads: 1, ...options });
  try {
    return await use(model);
  } finally {
    model.dispose();
  }
}

/** One training call and an evaluation of its samples. */
async function trainAndEvaluate(model: BaseModel, adapter: NativeAdapterOptions) {
  const trainer = new NativeTrainer(model, adapter);
  const request = makeTrainRequest(trainer.initialWeights(0), { dropout: 0.1, localSteps: 6 });
  const trained = await trainer.train(request);
  const { hiddenStateCache } = trained as typeof trained & Pick<NativeTrainResult, "hiddenStateCache">;
  const { samples } = await trainer.evaluate({ weights: trained.weights, samples: request.samples, microBatchTokens: 64 });
  return { counts: hiddenStateCache, results: { weights: trained.weights, stepLosses: trained.stepLosses, samples }, numTokens: trained.numTokens };
}

describe("hiddenStateCache", () => {
  test("changes no bit, and says what it saved", async () => {
    const plain = await withModel({}, async (model) => {
      expect(model.hiddenStateCache).toBeUndefined();
      return trainAndEvaluate(model, UPPER);
    });
    expect(plain.counts).toBeUndefined();
    await withModel({ hiddenStateCache: "auto" }, async (model) => {
      const first = await trainAndEvaluate(model, UPPER);
      expect(first.results).toEqual(plain.results);
      // Six steps of two out of three samples: each of them is computed once.
      expect(first.counts).toMatchObject({ numMisses: 3, numHits: 9 });
      expect((first.counts?.numTokensReused ?? 0) + (first.counts?.numTokensComputed ?? 0)).toBe(first.numTokens);
      const again = await trainAndEvaluate(model, UPPER);
      expect(again.results).toEqual(plain.results);
      expect(again.counts).toMatchObject({ numMisses: 0, numHits: 12 });
      const state = model.hiddenStateCache;
      expect(state).toMatchObject({ numMisses: 3, numHits: 27, numSequences: 3, numEvicted: 0 });
      expect(state?.bytes).toBeGreaterThan(0);
      expect(state?.bytes).toBeLessThanOrEqual(state?.capacityBytes ?? 0);
    });
  });

  test("stays within its bytes, and is not used by an adapter on all layers", async () => {
    await withModel({ hiddenStateCache: 4000 }, async (model) => {
      expect((await trainAndEvaluate(model, TEST_ADAPTER)).counts).toBeUndefined();
      const { results } = await trainAndEvaluate(model, UPPER);
      expect(results).toEqual((await withModel({}, (other) => trainAndEvaluate(other, UPPER))).results);
      expect(model.hiddenStateCache?.capacityBytes).toBeLessThanOrEqual(4000);
      expect(model.hiddenStateCache?.bytes).toBeLessThanOrEqual(4000);
    });
  });

  test("is a part of the memory plan", async () => {
    const request = { adapter: UPPER, longestSample: 64, batchSize: 8, microBatchTokens: 256, dropout: 0 };
    const plain = await awaitNative(() => addon.planMemory(path, { numThreads: 1 }, request));
    const cached = await awaitNative(() => addon.planMemory(path, { numThreads: 1, hiddenStateCache: "auto" }, request));
    expect(cached.neededBytes).toBeGreaterThan(plain.neededBytes);
  });

  test("refuses sizes that are none, and has nothing to tell after dispose", async () => {
    for (const hiddenStateCache of [0, -1, 1.5, Number.NaN]) {
      await expect(BaseModel.open(addon, path, { numThreads: 1, hiddenStateCache })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    }
    for (const wrong of [0, "much", true]) {
      const options = { numThreads: 1, hiddenStateCache: wrong as unknown as number };
      await expect(awaitNative(() => addon.loadModel(path, options))).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    }
    const model = await BaseModel.open(addon, path, { numThreads: 1, hiddenStateCache: "auto" });
    model.dispose();
    expect(() => model.hiddenStateCache).toThrow("disposed");
  });
});
