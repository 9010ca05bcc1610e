/** One client on the quadratic trainer: what it draws, what it returns, and what becomes of an error. */
import { expect, test } from "vitest";
import { FedllmError } from "../../../src/errors.js";
import { trainClient, type ClientDeps, type ClientOutcome } from "../../../src/federated/client.js";
import type { LocalTrainer } from "../../../src/federated/local-trainer.js";
import type { FederatedClient, TrainTask } from "../../../src/federated/protocol.js";
import { makeClient, makeOptions, sampleIndices } from "../../../src/contract/federation.js";
import { pointSample, QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";

const task: TrainTask = {
  clientId: "a",
  numExamples: 2,
  round: 1,
  weights: Float32Array.of(1),
  localSteps: 2,
  batchSize: 2,
  clientLearningRate: 0.5,
  numSamples: 2,
  sampleSeed: 0,
};
const client = makeClient("a", [pointSample(4), pointSample(6)]);
const options = makeOptions({}, { dropout: 0 });

function train(
  change: Partial<TrainTask> = {},
  deps: Partial<ClientDeps> = {},
  who: FederatedClient = client,
): Promise<ClientOutcome> {
  const trainer = new QuadraticTrainer(1);
  return trainClient({ ...task, ...change }, who, undefined, options, {
    trainer,
    layoutFingerprint: "layout",
    sampleIndices,
    ...deps,
  });
}

test("the update is the trained weights minus the start, with counts and losses of the steps", async () => {
  // The optimum is 5. Half the way in each step: 1, 3, 4. Losses: ((1-4)^2 + (1-6)^2) / 4 = 8.5, then (1 + 9) / 4.
  const outcome = await train();
  expect(outcome).toMatchObject({
    kind: "update",
    update: {
      clientId: "a",
      round: 1,
      numExamples: 2,
      numSamples: 2,
      numSteps: 2,
      numTokens: 4,
      firstTrainLoss: 8.5,
      lastTrainLoss: 2.5,
      trainLoss: 5.5,
      layoutFingerprint: "layout",
    },
  });
  expect(outcome.kind === "update" && [...outcome.update.update]).toEqual([3]);
});

test("the sub-sample is the one Python draws from the task's seed", async () => {
  // random.seed(0); random.sample(range(421), 160) begins with these.
  const asked: (readonly number[])[] = [];
  const large: FederatedClient = {
    id: "a",
    numSamples: 421,
    readSamples: (indices) => {
      asked.push(indices);
      return indices.map(() => pointSample(0));
    },
  };
  await train({ numExamples: 421, numSamples: 160 }, {}, large);
  expect(asked).toHaveLength(1);
  expect(asked[0]).toHaveLength(160);
  expect(asked[0]?.slice(0, 8)).toEqual([197, 388, 215, 20, 132, 261, 248, 207]);
});

test("the proximal term and the gradient offset reach the trainer", async () => {
  // One step at rate 0.5 from 1: gradient -4, pull 2 * (1 - 0) = 2, offset 1: 1 - 0.5 * (-4 + 2 + 1) = 1.5.
  const outcome = await train({
    localSteps: 1,
    proximal: { mu: 2, anchor: Float32Array.of(0) },
    gradientOffset: Float32Array.of(1),
  });
  expect(outcome.kind === "update" && [...outcome.update.update]).toEqual([0.5]);
});

test("progress is passed on", async () => {
  const steps: number[] = [];
  await train({}, { onProgress: ({ step }) => steps.push(step) });
  expect(steps).toEqual([1, 2]);
});

test("a client without samples fails by its data", async () => {
  const outcome = await train({ numExamples: 0, numSamples: 0 }, {}, makeClient("a", []));
  expect(outcome).toMatchObject({ kind: "failure", failure: { clientId: "a", round: 1, code: "DATASET_INVALID" } });
});

test("an error of the reader or of the trainer is a failure with its code", async () => {
  const broken: FederatedClient = {
    id: "a",
    numSamples: 2,
    readSamples: () => Promise.reject(new FedllmError("IO_FAILED", "the disk is gone")),
  };
  expect(await train({}, {}, broken)).toMatchObject({ failure: { code: "IO_FAILED", message: "the disk is gone" } });
  const failing = withTrain(() => Promise.reject(new Error("odd")));
  expect(await train({}, { trainer: failing })).toMatchObject({ failure: { code: "TRAIN_FAILED", message: "odd" } });
});

test("trained weights of another length are a rejected update", async () => {
  const inner = new QuadraticTrainer(1);
  const longer = withTrain(async (request) => ({ ...(await inner.train(request)), weights: new Float32Array(2) }));
  expect(await train({}, { trainer: longer })).toMatchObject({
    failure: { code: "UPDATE_REJECTED", message: 'update of client "a": expected 1 adapter weights, received 2' },
  });
});

test("a cancelled client throws and is no failure", async () => {
  const controller = new AbortController();
  const onProgress = (): void => {
    controller.abort();
  };
  await expect(train({}, { signal: controller.signal, onProgress })).rejects.toMatchObject({ code: "CANCELLED" });
});

/** The quadratic trainer with another way of training. */
function withTrain(train: LocalTrainer["train"]): LocalTrainer {
  const inner = new QuadraticTrainer(1);
  return {
    layout: inner.layout,
    initialWeights: (seed) => inner.initialWeights(seed),
    train,
    evaluate: (request) => inner.evaluate(request),
  };
}

test("adapters beside the trained one reach the trainer, but not beside a reference from before them", async () => {
  const frozenAdapters = [{ rank: 1, loraAlpha: 1, targetModules: ["point"], weights: Float32Array.of(2) }];
  const inner = new QuadraticTrainer(1);
  const received: unknown[] = [];
  const trainer: LocalTrainer = {
    layout: inner.layout,
    initialWeights: (seed) => inner.initialWeights(seed),
    evaluate: (request) => inner.evaluate(request),
    train: (request) => {
      received.push(request.frozenAdapters);
      return inner.train(request);
    },
  };
  await train({}, { trainer });
  await train({ frozenAdapters }, { trainer });
  expect(received).toEqual([undefined, frozenAdapters]);

  const preference = { kind: "dpo" as const, beta: 0.1, labelSmoothing: 0, reference: { weights: Float32Array.of(0) } };
  const deps = { trainer, layoutFingerprint: "layout", sampleIndices };
  const outcome = await trainClient({ ...task, frozenAdapters }, client, undefined, { ...options, preference }, deps);
  expect(outcome).toMatchObject({ kind: "failure", failure: { code: "CONFIG_INVALID", message: expect.stringContaining("dpo.reference") as unknown } });
  expect(received).toHaveLength(2);
});
