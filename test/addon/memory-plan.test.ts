/** The memory planner through the addon, and training that obeys it. */
import { describe, expect, test } from "vitest";
import type { NativePlanRequest } from "../../src/native/binding.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { awaitNative } from "../../src/native/native-error.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { describeMemoryPlan } from "../../src/report/memory-plan.js";
import { TEST_ADAPTER, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

const { addon } = loadNative();
const path = makeTinyModelFile(makeTestFolder(), "plan.gguf");
const request: NativePlanRequest = { adapter: TEST_ADAPTER, longestSample: 64, batchSize: 8, microBatchTokens: 256, dropout: 0 };
const plan = (changes: Partial<NativePlanRequest> = {}) =>
  awaitNative(() => addon.planMemory(path, { numThreads: 1 }, { ...request, ...changes }));

describe("planMemory", () => {
  test("names the parts of the fastest plan, which add up", async () => {
    const fast = await plan();
    const { parts } = fast;
    expect(fast).toMatchObject({ microBatchTokens: 256, recomputes: false, streams: false });
    expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBe(fast.processBytes);
    expect(fast.neededBytes).toBe(fast.processBytes - parts.process);
    expect(fast.neededBytes).toBeLessThanOrEqual(fast.limitBytes);
    expect(describeMemoryPlan(fast)).toContain("micro-batches of 256 tokens, everything kept");
  });

  test("goes leaner as the limit falls, streams last, and refuses with the numbers", async () => {
    const fast = await plan();
    const lean = await plan({ memoryLimitBytes: fast.neededBytes - 1 });
    expect(lean.neededBytes).toBeLessThan(fast.neededBytes);
    expect(lean.recomputes).toBe(true);
    await expect(plan({ memoryLimitBytes: 1000 })).rejects.toThrow(/^memory of the CPU: expected at most 1\.00 kB, received .* for the leanest plan/u);
    await expect(plan({ memoryLimitBytes: 1000 })).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  });

  test("refuses numbers outside their range", async () => {
    await expect(plan({ longestSample: 0 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await expect(plan({ dropout: 1 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await expect(plan({ memoryLimitBytes: -1 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  });
});

test("training and evaluation say how they were computed and what that took on the device", async () => {
  const model = await BaseModel.open(addon, path, { numThreads: 1 });
  try {
    const trainer = new NativeTrainer(model, TEST_ADAPTER);
    const weights = trainer.initialWeights(0);
    const trainRequest = makeTrainRequest(weights);
    const { memory: training } = await trainer.train(trainRequest);
    const { memory: scoring } = await trainer.evaluate({ weights, samples: trainRequest.samples, microBatchTokens: 64 });
    for (const memory of [training, scoring]) {
      expect(memory).toMatchObject({ microBatchTokens: 64, streams: false, fellBack: false });
      expect(memory?.deviceBytes).toBeGreaterThan(2 * weights.byteLength);
      expect(memory?.deviceBytes).toBeLessThanOrEqual((memory?.plannedDeviceBytes ?? 0) + 4096);
      expect(memory?.plannedPeakBytes).toBeGreaterThan(memory?.plannedBytes ?? 0);
    }
    expect(training?.recomputes).toBe(false);
    expect(training?.deviceBytes).toBeGreaterThan(scoring?.deviceBytes ?? 0);
  } finally {
    model.dispose();
  }
});

test("a model loaded under a limit of weights is streamed and gives the same bits", async () => {
  const whole = await BaseModel.open(addon, path, { numThreads: 1 });
  const streamed = await BaseModel.open(addon, path, { numThreads: 1, weightLimitBytes: whole.info.weightBytes - 1 });
  try {
    const trainer = new NativeTrainer(whole, TEST_ADAPTER);
    const start = trainer.initialWeights(0);
    const expected = await trainer.train(makeTrainRequest(start, { dropout: 0.1 }));
    const result = await new NativeTrainer(streamed, TEST_ADAPTER).train(makeTrainRequest(start, { dropout: 0.1 }));
    expect(result.weights).toEqual(expected.weights);
    expect(result.stepLosses).toEqual(expected.stepLosses);
  } finally {
    whole.dispose();
    streamed.dispose();
  }
});
