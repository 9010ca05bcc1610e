/** Training of the inner matrices between fixed A and B through the LocalTrainer of real runs. Gradients are tested in the core. */
import { afterAll, expect, test } from "vitest";
import { composeInner, innerLength } from "../../src/adapter/inner.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { makeTestFolder, makeTinyModelFile, makeTrainRequest, TEST_ADAPTER } from "../helpers/native.js";

const { addon } = loadNative();
const model = await BaseModel.open(addon, makeTinyModelFile(makeTestFolder()), { numThreads: 1 });
const trainer = new NativeTrainer(model, TEST_ADAPTER);
const outer = Float32Array.from(trainer.initialWeights(0), (weight, index) => weight + 0.05 * Math.sin(index));
const inner = Float32Array.from({ length: innerLength(trainer.layout) }, (_, index) => Math.cos(index));

afterAll(() => {
  model.dispose();
});

test("the loss is that of A and B R, it falls, and the result evaluates to where training ended", async () => {
  const { weights, stepLosses } = await trainer.train(makeTrainRequest(inner, { outer, localSteps: 30, batchSize: 3, clientLearningRate: 0.1 }));
  expect(weights).toHaveLength(2 * 2 * 4 * 4);
  const composed = (at: Float32Array) => composeInner(trainer.layout, outer, at);
  const ordinary = await trainer.train(makeTrainRequest(composed(inner), { localSteps: 1, batchSize: 3 }));
  expect(stepLosses[0]).toBe(ordinary.stepLosses[0]);
  expect(stepLosses.at(-1)).toBeLessThan(0.95 * (stepLosses[0] ?? 0));
  const after = await trainer.train(makeTrainRequest(composed(weights), { localSteps: 1, batchSize: 3 }));
  const next = await trainer.train(makeTrainRequest(weights, { outer, localSteps: 1, batchSize: 3 }));
  expect(next.stepLosses[0]).toBe(after.stepLosses[0]);
});

test("anchor and offset are the inner matrices' own", async () => {
  const changes = { proximal: { mu: 100, anchor: inner }, gradientOffset: new Float32Array(inner.length) };
  const free = await trainer.train(makeTrainRequest(inner, { outer, localSteps: 10 }));
  const held = await trainer.train(makeTrainRequest(inner, { outer, localSteps: 10, ...changes }));
  const distance = ({ weights }: { weights: Float32Array }) => Math.hypot(...weights.map((weight, index) => weight - (inner[index] ?? 0)));
  expect(distance(held)).toBeLessThan(0.5 * distance(free));
});

test.each([
  [{ outer: outer.slice(1) }, "ADAPTER_INVALID", "outer: expected 7168"],
  [{ outer, weights: outer }, "ADAPTER_INVALID", "weights: expected 64"],
  [{ outer, proximal: { mu: 1, anchor: outer } }, "ADAPTER_INVALID", "proximal.anchor: expected 64"],
  [{ outer, trainable: "a" as const }, "CONFIG_INVALID", "outer: expected neither trainable nor loraPlusRatio"],
  [{ outer, loraPlusRatio: 2 }, "CONFIG_INVALID", "outer: expected neither trainable nor loraPlusRatio"],
])("case %#", async (changes, code, message) => {
  await expect(trainer.train(makeTrainRequest(inner, changes))).rejects.toMatchObject({ code, message: expect.stringContaining(message) as unknown });
});
