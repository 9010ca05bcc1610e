/** Training and evaluation through the LocalTrainer of real runs, over a tiny random model. */
import { afterAll, describe, expect, test } from "vitest";
import { adapterPairs } from "../../src/adapter/pairs.js";
import { gatherSlice, scatterSlice } from "../../src/adapter/slice.js";
import type { TrainProgress, TrainRequest } from "../../src/federated/local-trainer.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TEST_ADAPTER, makeSample, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

const { addon } = loadNative();
const path = makeTinyModelFile(makeTestFolder());
// One thread: threads of ggml wait for each other by spinning, which is slow where other programs use the processors too.
const model = await BaseModel.open(addon, path, { numThreads: 1 });
const trainer = new NativeTrainer(model, TEST_ADAPTER);
const start = trainer.initialWeights(0);

afterAll(() => {
  model.dispose();
});

/** Long enough that a cancel always arrives before the end. */
function endlessRequest(changes: Partial<TrainRequest> = {}): TrainRequest {
  return makeTrainRequest(start, { localSteps: 1_000_000, ...changes });
}

describe("training", () => {
  test("learns the samples and reports each step as it returns it", async () => {
    const reports: TrainProgress[] = [];
    const onProgress = (progress: TrainProgress): void => {
      reports.push(progress);
    };
    const result = await trainer.train(makeTrainRequest(start, { localSteps: 30, batchSize: 3, onProgress }));

    expect(result.numSteps).toBe(30);
    expect(reports.map(({ step }) => step)).toEqual(Array.from({ length: 30 }, (_, index) => index + 1));
    expect(reports.map(({ loss }) => loss)).toEqual([...result.stepLosses]);
    expect(reports.every(({ localSteps }) => localSteps === 30)).toBe(true);
    expect(result.stepLosses[29]).toBeLessThan(0.7 * (result.stepLosses[0] ?? 0));
    expect(result.weights).toHaveLength(trainer.layout.numParameters);
    expect(result.gradientNorms).toHaveLength(30);
    // The samples have 12, 20 and 9 tokens, of which 6, 10 and 4 are supervised; the last token is never an input.
    expect(result.numSupervisedTokens).toBe(30 * 20);
    expect(result.numTokens).toBe(30 * (11 + 19 + 8));
    expect(result.trainDurationMs).toBeGreaterThan(0);
  });

  test("gives the same bits for the same seed, and others for another seed, when dropout draws from it", async () => {
    const request = makeTrainRequest(start, { dropout: 0.3, seed: 7 });
    const first = await trainer.train(request);
    const second = await trainer.train(request);
    const other = await trainer.train({ ...request, seed: 8 });
    expect(second.weights).toEqual(first.weights);
    expect(other.weights).not.toEqual(first.weights);
  });

  test("gives the same bits with two threads every time", async () => {
    const twoThreads = await BaseModel.open(addon, path, { numThreads: 2 });
    const other = new NativeTrainer(twoThreads, TEST_ADAPTER);
    const request = makeTrainRequest(start, { localSteps: 2, dropout: 0.1 });
    expect((await other.train(request)).weights).toEqual((await other.train(request)).weights);
    twoThreads.dispose();
  });

  test.each(["a", "b"] as const)("moves only half %s of each pair when asked to", async (trainable) => {
    // B is not zero here, without which A has no gradient.
    const begin = start.map((weight, index) => weight + 0.01 * Math.sin(index));
    const { weights } = await trainer.train(makeTrainRequest(begin, { trainable }));
    const both = await trainer.train(makeTrainRequest(begin, { trainable: "both" }));
    for (const { name, shape, offset } of trainer.layout.tensors) {
      const range = [offset, offset + shape[0] * shape[1]] as const;
      const isTrained = name.endsWith(`.lora_${trainable}`);
      const moved = weights.subarray(...range).some((weight, index) => weight !== begin[range[0] + index]);
      expect([name, moved]).toEqual([name, isTrained]);
    }
    expect((await trainer.train(makeTrainRequest(begin))).weights).toEqual(both.weights);
  });

  test("trains a pair whose last directions are zero like one of lower rank with the same scale", async () => {
    const lower = new NativeTrainer(model, { ...TEST_ADAPTER, rank: 1, loraAlpha: TEST_ADAPTER.loraAlpha / TEST_ADAPTER.rank });
    const ranks = adapterPairs(trainer.layout).map(() => 1);
    const slice = { half: "both", ranks } as const;
    const zero = new Float32Array(trainer.layout.numParameters);
    const small = gatherSlice(start, trainer.layout, slice);
    const changes = { optimizer: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1 } };
    const padded = await trainer.train(makeTrainRequest(scatterSlice(zero, trainer.layout, slice, small), changes));
    const alone = await lower.train(makeTrainRequest(small, changes));
    const kept = gatherSlice(padded.weights, trainer.layout, slice);
    expect(scatterSlice(zero, trainer.layout, slice, kept)).toEqual(padded.weights);
    // Sums over the directions have other lengths, so single-precision rounding differs; four steps of AdamW follow.
    const distance = Math.max(...kept.map((weight, index) => Math.abs(weight - (alone.weights[index] ?? Number.NaN))));
    expect(distance).toBeLessThan(1e-4);
    expect(Math.max(...kept.map((weight, index) => Math.abs(weight - (small[index] ?? 0))))).toBeGreaterThan(1e-3);
  });

  test("gives the same bits when two run at once", async () => {
    const alone = await trainer.train(makeTrainRequest(start));
    const [left, right] = await Promise.all([
      trainer.train(makeTrainRequest(start)),
      trainer.train(makeTrainRequest(start)),
    ]);
    expect(left.weights).toEqual(alone.weights);
    expect(right.weights).toEqual(alone.weights);
  });

  test("takes copies: what the caller changes after the call has no effect, and its weights stay as they were", async () => {
    const expected = await trainer.train(makeTrainRequest(start));
    const weights = start.slice();
    const request = makeTrainRequest(weights);
    const promise = trainer.train(request);
    weights.fill(5);
    request.samples.forEach((sample) => sample.tokens.fill(3));
    expect((await promise).weights).toEqual(expected.weights);
    expect(start).toEqual(trainer.initialWeights(0));
  });

  test("leaves the event loop turning", async () => {
    let numTicks = 0;
    const timer = setInterval(() => {
      numTicks++;
    }, 5);
    const result = await trainer.train(makeTrainRequest(start, { localSteps: 150 }));
    clearInterval(timer);
    // A quarter of the ticks that an idle machine would have; a blocked loop would have none.
    expect(numTicks).toBeGreaterThan(result.trainDurationMs / 5 / 4);
    expect(result.trainDurationMs).toBeGreaterThan(50);
  });

  test("stops on an abort before the start and in the middle", async () => {
    await expect(trainer.train(endlessRequest(), AbortSignal.abort())).rejects.toMatchObject({ code: "CANCELLED" });

    const controller = new AbortController();
    const reports: number[] = [];
    const onProgress = ({ step }: TrainProgress): void => {
      reports.push(step);
      if (step === 3) controller.abort(new Error("enough"));
    };
    const promise = trainer.train(endlessRequest({ onProgress }), controller.signal);
    await expect(promise).rejects.toMatchObject({ code: "CANCELLED", cause: new Error("enough") });
  });

  test("stops within one micro-batch of an abort", async () => {
    // One optimizer step of 4000 micro-batches: only a check between micro-batches can end it early.
    const samples = Array.from({ length: 4000 }, (_, index) => makeSample(32, index));
    const request = { samples, localSteps: 1, batchSize: 4000, microBatchTokens: 32 };
    const controller = new AbortController();
    const part = await trainer.train(makeTrainRequest(start, { ...request, batchSize: 200 }));
    const perMicroBatchMs = part.trainDurationMs / 200;

    const started = performance.now();
    setTimeout(() => {
      controller.abort();
    }, 50);
    await expect(trainer.train(makeTrainRequest(start, request), controller.signal)).rejects.toMatchObject({
      code: "CANCELLED",
    });
    // The whole step would take 4000 micro-batches; 500 leave room for a busy machine and for setting up.
    expect(performance.now() - started).toBeLessThan(50 + 500 * perMicroBatchMs);
  });

  test("ends with the exception of the progress callback", async () => {
    const onProgress = (): void => {
      throw new TypeError("from the callback");
    };
    await expect(trainer.train(endlessRequest({ onProgress }))).rejects.toThrow(new TypeError("from the callback"));
  });

  test("an error carries the stack of the caller", async () => {
    const request = makeTrainRequest(start, { clientLearningRate: 1e39, localSteps: 2 });
    const error = await trainer.train(request).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: "TRAIN_DIVERGED" });
    expect((error as { cause: Error }).cause.stack).toContain("native-trainer");
  });
});

describe("evaluation", () => {
  const samples = [makeSample(12, 0), makeSample(20, 1)];

  test("with B at zero scores exactly as the base alone", async () => {
    const adapted = await trainer.evaluate({ weights: start, samples, microBatchTokens: 64 });
    const base = await trainer.evaluate({ samples, microBatchTokens: 64 });
    expect(adapted.samples).toEqual(base.samples);
    expect(base.samples.map(({ numSupervisedTokens }) => numSupervisedTokens)).toEqual([6, 10]);
  });

  test("agrees with the first loss of training", async () => {
    const { samples: scores } = await trainer.evaluate({ weights: start, samples, microBatchTokens: 64 });
    const sum = scores.reduce((total, { logProbability }) => total + logProbability, 0);
    const { stepLosses } = await trainer.train(makeTrainRequest(start, { samples, localSteps: 1, batchSize: 2 }));
    // Both sum the same single-precision rows in double precision.
    expect(stepLosses[0]).toBeCloseTo(-sum / 16, 6);
  });

  test("counts the tokens that are most likely", async () => {
    const learned = await trainer.train(makeTrainRequest(start, { samples, localSteps: 150, batchSize: 2 }));
    const { samples: scores } = await trainer.evaluate({ weights: learned.weights, samples, microBatchTokens: 64 });
    const numCorrect = scores.reduce((total, score) => total + score.numCorrectTokens, 0);
    expect(numCorrect).toBeGreaterThan(12); // of 16, after learning them nearly by heart
  });

  test("stops on an abort", async () => {
    const controller = new AbortController();
    const many = Array.from({ length: 3000 }, (_, index) => makeSample(32, index));
    const promise = trainer.evaluate({ weights: start, samples: many, microBatchTokens: 32 }, controller.signal);
    setTimeout(() => {
      controller.abort();
    }, 20);
    await expect(promise).rejects.toMatchObject({ code: "CANCELLED" });
  });
});

describe("a request is refused before it reaches the addon, naming the field", () => {
  const sample = makeSample(6);
  test.each<[Partial<TrainRequest>, string, string]>([
    [{ localSteps: 0 }, "CONFIG_INVALID", "localSteps: expected an integer from 1 to 1000000000, received 0"],
    [{ clientLearningRate: Number.NaN }, "CONFIG_INVALID", "clientLearningRate: expected a finite number of at least 0"],
    [{ dropout: 1 }, "CONFIG_INVALID", "dropout: expected a finite number of at least 0 and below 1, received 1"],
    [{ trainable: "c" as "a" }, "CONFIG_INVALID", 'trainable: expected both, a or b, received the string "c"'],
    [{ seed: -1 }, "CONFIG_INVALID", "seed: expected"],
    [{ optimizer: { beta1: 1, beta2: 0.9, epsilon: 1, weightDecay: 0 } }, "CONFIG_INVALID", "optimizer.beta1: expected"],
    [{ weights: new Float32Array(3) }, "ADAPTER_INVALID", "weights: expected 7168 numbers, received 3"],
    [{ proximal: { mu: -1, anchor: start } }, "CONFIG_INVALID", "proximal.mu: expected"],
    [{ proximal: { mu: 1, anchor: new Float32Array(1) } }, "ADAPTER_INVALID", "proximal.anchor: expected"],
    [{ gradientOffset: new Float32Array(1) }, "ADAPTER_INVALID", "gradientOffset: expected"],
    [{ samples: [] }, "DATASET_INVALID", "samples: expected at least one sample, received none"],
    [
      { samples: [sample, { ...sample, supervised: new Uint8Array(5) }] },
      "DATASET_INVALID",
      "samples[1].supervised: expected 6 flags, received 5",
    ],
    [
      { samples: [{ tokens: Int32Array.of(1, 9999), supervised: Uint8Array.of(0, 1) }] },
      "DATASET_INVALID",
      "samples[0].tokens[1]: expected a token id from 0 to 367, received 9999",
    ],
    [
      { samples: [{ tokens: Int32Array.of(1, 2), supervised: Uint8Array.of(0, 0) }] },
      "DATASET_INVALID",
      "samples[0]: expected at least one supervised token, received none",
    ],
  ])("case %#", async (changes, code, message) => {
    await expect(trainer.train(makeTrainRequest(start, changes))).rejects.toMatchObject({
      name: "FedllmError",
      code,
      message: expect.stringContaining(message) as string,
    });
  });
});
