/** Messages of jobs, and which worker computes where. */
import { describe, expect, test } from "vitest";
import { executionOf } from "../../../src/cli/options.js";
import { makeMessage, parseJob, parseRequest, parseResult, PROTOCOL_VERSION } from "../../../src/executor/job.js";
import { assignDevices } from "../../../src/executor/processes/assign-devices.js";
import type { TrainJob } from "../../../src/executor/executor.js";
import { mostWorkers } from "../../../src/run/arms.js";

const hash = "ab".repeat(32);
const request: TrainJob["request"] = {
  weights: Float32Array.of(1, 2),
  samples: [{ tokens: Int32Array.of(1, 2), supervised: Uint8Array.of(0, 1) }],
  localSteps: 1,
  batchSize: 1,
  microBatchTokens: 8,
  clientLearningRate: 0.1,
  optimizer: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
  dropout: 0,
  seed: 0,
};
const job: TrainJob = {
  place: { arm: "f16-fedavg", round: 1, clientId: "ana", turn: 0 },
  model: { path: "model.gguf", sha256: hash, variants: { weightProduct: "f32", transposes: "none" } },
  lora: { rank: 2, loraAlpha: 4, targetModules: ["attn_q"], dropout: 0 },
  layout: hash,
  request,
};
const identity = { run: "run", llamaCpp: "v0", attempt: 1, request: hash };
const message = makeMessage(job, identity);

describe("a job's message", () => {
  test("is what it says, after a way through JSON", () => {
    expect(parseJob(JSON.parse(JSON.stringify(message)))).toEqual(message);
    expect(JSON.stringify(message).length).toBeLessThan(1000);
  });

  test("has an id of its own for each run, arm, round, client, turn, attempt, model and request, and the same for the same", () => {
    const other = "cd".repeat(32);
    const places = [{ arm: "other" }, { round: 2 }, { clientId: "b" }, { turn: 1 }].map((change) => makeMessage({ ...job, place: { ...job.place, ...change } }, identity));
    const models = [{ ...job, model: { ...job.model, sha256: other } }, { ...job, lora: { ...job.lora, rank: 4 } }].map((changed) => makeMessage(changed, identity));
    const rest = [{ run: "other" }, { attempt: 2 }, { request: other }].map((change) => makeMessage(job, { ...identity, ...change }));
    expect(new Set([message, ...places, ...models, ...rest].map(({ id }) => id)).size).toBe(10);
    expect(makeMessage({ ...job, model: { ...job.model, path: "elsewhere.gguf" } }, identity).id).toBe(message.id);
  });

  test.each([
    ["another protocol version", { ...message, protocol: PROTOCOL_VERSION + 1 }, /expected protocol version 1, received 2\. Install the same release/u],
    ["an id that is not its content's", { ...message, round: 2 }, /that of its content/u],
    ["a field that nobody knows", { ...message, clip: 1 }, /clip/u],
    ["a field that is missing", { ...message, layout: undefined }, /layout/u],
    ["no object", "job", /protocol version/u],
  ])("is refused with %s", (_, value, expected) => {
    expect(() => parseJob(value)).toThrow(expected);
  });

  test("has a request whose fields are all known and of their types", () => {
    expect(parseRequest(request)).toEqual(request);
    expect(() => parseRequest({ ...request, noise: 1 })).toThrow(/noise/u);
    expect(() => parseRequest({ ...request, weights: [1, 2] })).toThrow(/weights/u);
    expect(() => parseRequest({ ...request, samples: [{ tokens: Int32Array.of(1) }] })).toThrow(/samples\.0\.supervised/u);
  });

  test("has a result of which everything that belongs to one is kept", () => {
    const result = { weights: Float32Array.of(1), numSteps: 1, stepLosses: Float64Array.of(Number.NaN), numSupervisedTokens: 1, numTokens: 2, gradientNorms: Float64Array.of(1), trainDurationMs: 0.5 };
    expect(parseResult({ ...result, more: 1 })).toEqual(result);
    expect(() => parseResult({ ...result, stepLosses: undefined })).toThrow(/stepLosses/u);
  });
});

test("workers get the listed devices one after another, or all the run's own", () => {
  expect(assignDevices(3, ["cuda:0", "cuda:1"], "CPU")).toEqual(["cuda:0", "cuda:1", "cuda:0"]);
  expect(assignDevices(1, ["cuda:0", "cuda:1"], undefined)).toEqual(["cuda:0"]);
  expect(assignDevices(2, [], "Vulkan0")).toEqual(["Vulkan0", "Vulkan0"]);
  expect(assignDevices(2, [], undefined)).toEqual([undefined, undefined]);
});

test("workers share mapped weights, have their own on a device, and one is always there", () => {
  const mebibyte = 1024 ** 2;
  const parts = { weights: 0, adapter: 0, activations: 100 * mebibyte, checkpoints: 0, scratch: 0, vectors: 0, descriptions: 0, mapped: 0, process: 0 };
  const plans = [{ parts, limitBytes: 2000 * mebibyte, streams: false }];
  // (2000 - 500) / (100 + 200 for the process), and (2000 - 500) / (100 + 500).
  expect(mostWorkers(plans, { weightBytes: 500 * mebibyte, ownWeights: false })).toBe(5);
  expect(mostWorkers(plans, { weightBytes: 500 * mebibyte, ownWeights: true })).toBe(2);
  expect(mostWorkers(plans, { weightBytes: 5000 * mebibyte, ownWeights: false })).toBe(1);
});

test("options of workers are checked before anything is loaded", async () => {
  expect(await executionOf({})).toEqual({});
  expect((await executionOf({ workers: 2, "worker-devices": "cuda:0, cuda:1" })).executor).toBeTypeOf("function");
  await expect(executionOf({ workers: 0 })).rejects.toThrow(/--workers: expected a number from 1 to 1024, received 0/u);
  await expect(executionOf({ workers: 1.5 })).rejects.toThrow(/--workers/u);
  await expect(executionOf({ "worker-devices": "cpu" })).rejects.toThrow(/expected --workers with it/u);
  await expect(executionOf({ workers: 2, "worker-devices": "cpu,," })).rejects.toThrow(/--worker-devices/u);
});
