/** Adapters beside the trained one, through the LocalTrainer of real runs. What they compute is tested in the core. */
import { afterAll, expect, test } from "vitest";
import type { FrozenAdapter } from "../../src/federated/local-trainer.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TEST_ADAPTER, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

const { addon } = loadNative();
const model = await BaseModel.open(addon, makeTinyModelFile(makeTestFolder()), { numThreads: 1 });
const trainer = new NativeTrainer(model, TEST_ADAPTER);
const start = trainer.initialWeights(0);

afterAll(() => {
  model.dispose();
});

async function trainFor(localSteps: number): Promise<FrozenAdapter> {
  const { weights } = await trainer.train(makeTrainRequest(start, { localSteps }));
  return { ...TEST_ADAPTER, weights };
}

test("an adapter does the same frozen as it did while it was trained", async () => {
  const frozen = await trainFor(20);
  const request = { samples: makeTrainRequest(start).samples, microBatchTokens: 64 };
  const trained = await trainer.evaluate({ ...request, weights: frozen.weights });
  const beside = await trainer.evaluate({ ...request, frozenAdapters: [frozen] });
  const besideFresh = await trainer.evaluate({ ...request, weights: start, frozenAdapters: [frozen] });
  const base = await trainer.evaluate(request);
  for (const [index, { logProbability }] of trained.samples.entries()) {
    expect(beside.samples[index]?.logProbability).toBe(logProbability);
    expect(besideFresh.samples[index]?.logProbability).toBe(logProbability);
    expect(base.samples[index]?.logProbability).not.toBe(logProbability);
  }
});

test("training goes on from where the frozen adapter had come to", async () => {
  const frozen = await trainFor(20);
  const alone = await trainer.train(makeTrainRequest(start, { localSteps: 1 }));
  const beside = await trainer.train(makeTrainRequest(start, { localSteps: 1, frozenAdapters: [frozen] }));
  expect(beside.stepLosses[0]).toBeLessThan(0.8 * (alone.stepLosses[0] ?? 0));
});

test("weights of the wrong length and ranks beyond the model's are refused", async () => {
  const frozen = await trainFor(1);
  const short = { ...frozen, weights: frozen.weights.slice(1) };
  await expect(trainer.train(makeTrainRequest(start, { frozenAdapters: [short] }))).rejects.toMatchObject({
    code: "ADAPTER_INVALID",
    message: expect.stringContaining("frozenAdapters[0].weights") as unknown,
  });
  const wide = { ...frozen, rank: 10_000 };
  await expect(trainer.train(makeTrainRequest(start, { frozenAdapters: [wide] }))).rejects.toMatchObject({
    code: "ADAPTER_INVALID",
  });
});
