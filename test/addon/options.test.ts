/**
 * Wrong values straight at the addon, past the TypeScript checks: each must give the right code and name the field, and
 * none may end the process. Method: valid options with one change each.
 */
import { describe, expect, test } from "vitest";
import type { NativeEvaluateOptions, NativeTrainOptions } from "../../src/native/binding.js";
import { loadNative } from "../../src/native/load.js";
import { TEST_ADAPTER, makeTestFolder, makeTinyModelFile } from "../helpers/native.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const path = makeTinyModelFile(folder);
const model = await addon.loadModel(path, { numThreads: 1 });
const { vocabularySize } = model.info;
const { numParameters } = model.adapterLayout(TEST_ADAPTER);

/** Two samples of three and two tokens. */
const samples = {
  tokens: Int32Array.of(1, 300, 301, 1, 302),
  supervised: Uint8Array.of(0, 1, 1, 0, 1),
  offsets: Uint32Array.of(0, 3, 5),
};
const valid: NativeTrainOptions = {
  adapter: TEST_ADAPTER,
  weights: model.initialWeights(TEST_ADAPTER, 1),
  samples,
  localSteps: 1,
  batchSize: 2,
  microBatchTokens: 16,
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  dropout: 0,
  seed: 0,
};

/** The code and message of what the call throws. */
function failureOf(call: () => unknown): { code: unknown; message: string } {
  try {
    call();
  } catch (error) {
    if (error instanceof Error) return { code: "code" in error ? error.code : undefined, message: error.message };
  }
  throw new Error("expected the call to throw an Error");
}

function train(changes: object): unknown {
  return model.train({ ...valid, ...changes });
}

test("the valid options train", async () => {
  const result = await model.train(valid).promise;
  expect(result.numSteps).toBe(1);
});

describe("train refuses", () => {
  test.each([
    [{ samples: { ...samples, groupOffsets: Int32Array.of(0, 2) } }, "DATASET_INVALID", "groupOffsets"],
    [{ preference: 1 }, "CONFIG_INVALID", "preference"],
    [{ preference: { beta: 0, labelSmoothing: 0 } }, "CONFIG_INVALID", "beta"],
    [{ preference: { beta: 0.1, labelSmoothing: 1 } }, "CONFIG_INVALID", "labelSmoothing"],
    [{ preference: { beta: 0.1, labelSmoothing: 0, referenceWeights: new Float32Array(1) } }, "ADAPTER_INVALID", "preference.referenceWeights"],
  ])("pairs: %j", (changes, code, field) => {
    const failure = failureOf(() => train(changes));
    expect(failure.code).toBe(code);
    expect(failure.message).toContain(field);
  });

  const notANumber: [string, unknown][] = [
    ["a string", "1"],
    ["NaN", Number.NaN],
    ["infinity", Number.POSITIVE_INFINITY],
    ["null", null],
    ["undefined", undefined],
    ["a negative number", -1],
  ];
  const integerFields = ["localSteps", "batchSize", "microBatchTokens", "seed"];
  const realFields = ["learningRate", "beta1", "beta2", "epsilon", "weightDecay", "dropout"];
  for (const field of [...integerFields, ...realFields]) {
    test.each(notANumber)(`${field}: %s`, (_, value) => {
      const failure = failureOf(() => train({ [field]: value }));
      expect(failure.code).toBe("CONFIG_INVALID");
      expect(failure.message).toMatch(new RegExp(`^${field}: expected .+, received .+`, "u"));
    });
  }

  test.each([
    ["localSteps", 1.5],
    ["localSteps", 0],
    ["batchSize", 0],
    ["batchSize", 2 ** 40],
    ["microBatchTokens", 0],
    ["microBatchTokens", 1e12],
    ["seed", 2 ** 53],
    ["seed", 0.5],
    ["beta1", 1],
    ["beta2", 1],
    ["dropout", 1],
    ["epsilon", 0],
    ["maxGradientNorm", 0],
    ["maxGradientNorm", Number.NaN],
    ["maxGradientNorm", null],
    ["onProgress", 5],
    ["labelSmoothing", 1],
    ["labelSmoothing", "0.1"],
    ["neftuneAlpha", -1],
    ["loraPlusRatio", 0],
    ["lossScale", 0],
    ["preference", 0.1],
  ])("%s: %s", (field, value) => {
    const failure = failureOf(() => train({ [field]: value }));
    expect(failure.code).toBe("CONFIG_INVALID");
    expect(failure.message).toContain(`${field}: expected`);
  });

  const nonFinite = new Float32Array(numParameters);
  nonFinite[7] = Number.NaN;
  test.each([
    ["weights", [1, 2, 3], "a Float32Array, received an array of length 3"],
    ["weights", new Float64Array(numParameters), "a Float32Array, received a Float64Array"],
    ["weights", new Float32Array(numParameters - 1), `${numParameters} numbers, received ${numParameters - 1}`],
    ["weights", nonFinite, "a finite number, received nan"],
    ["weights", undefined, "received undefined"],
    ["gradientOffset", new Float32Array(3), `${numParameters} numbers, received 3`],
    ["gradientOffset", nonFinite, "gradientOffset[7]"],
    ["preference", { beta: 0.1, labelSmoothing: 0, referenceWeights: nonFinite }, "preference.referenceWeights[7]"],
  ])("%s that do not fit", (field, value, message) => {
    const failure = failureOf(() => train({ [field]: value }));
    expect(failure.code).toBe("ADAPTER_INVALID");
    expect(failure.message).toContain(message);
  });

  test("weights of a detached buffer, which have no numbers any more", () => {
    const weights = new Float32Array(numParameters);
    structuredClone(weights.buffer, { transfer: [weights.buffer] });
    expect(failureOf(() => train({ weights })).code).toBe("ADAPTER_INVALID");
  });

  test("a proximal weight without an anchor, and an anchor without a weight", () => {
    expect(failureOf(() => train({ proximalMu: 0.1 }))).toEqual({
      code: "CONFIG_INVALID",
      message: "proximalMu and proximalAnchor: expected both or none, received proximalMu only",
    });
    expect(failureOf(() => train({ proximalAnchor: valid.weights })).code).toBe("CONFIG_INVALID");
  });

  test.each<[string, object, string]>([
    ["no samples", { samples: undefined }, "samples: expected an object, received undefined"],
    ["tokens of another type", { samples: { ...samples, tokens: [1, 2] } }, "samples.tokens: expected a Int32Array"],
    ["flags of another type", { samples: { ...samples, supervised: new Int8Array(5) } }, "samples.supervised"],
    ["too few flags", { samples: { ...samples, supervised: new Uint8Array(4) } }, "expected 5 flags, received 4"],
    ["offsets of another type", { samples: { ...samples, offsets: new Int32Array(3) } }, "samples.offsets"],
    ["no offsets", { samples: { ...samples, offsets: new Uint32Array(0) } }, "at least one sample"],
    ["a first offset above 0", { samples: { ...samples, offsets: Uint32Array.of(1, 3, 5) } }, "a first entry of 0"],
    ["a last offset past the end", { samples: { ...samples, offsets: Uint32Array.of(0, 3, 6) } }, "a last entry of 5"],
    ["falling offsets", { samples: { ...samples, offsets: Uint32Array.of(0, 4, 3, 5) } }, "samples.offsets[2]"],
    ["an offset far outside", { samples: { ...samples, offsets: Uint32Array.of(0, 4294967295, 5) } }, "samples.offsets[2]"],
    ["an empty sample", { samples: { ...samples, offsets: Uint32Array.of(0, 3, 3, 5) } }, "no sample is empty"],
    ["weights of another type", { samples: { ...samples, weights: [1, 1, 1, 1, 1] } }, "samples.weights: expected a Float32Array"],
    ["too few weights", { samples: { ...samples, weights: new Float32Array(4) } }, "expected 5 numbers, received 4"],
    ["groups of another type", { samples: { ...samples, groupOffsets: [0, 2] } }, "samples.groupOffsets: expected a Uint32Array"],
    ["no group", { samples: { ...samples, groupOffsets: Uint32Array.of(0) } }, "at least one group"],
    [
      "a token past the vocabulary",
      { samples: { ...samples, tokens: Int32Array.of(1, 300, 301, 1, vocabularySize) } },
      `sample 1 at position 1: expected a token id in 0..${vocabularySize - 1}, received ${vocabularySize}`,
    ],
    ["a negative token", { samples: { ...samples, tokens: Int32Array.of(1, -1, 301, 1, 302) } }, "received -1"],
    [
      "a supervised first position",
      { samples: { ...samples, supervised: Uint8Array.of(0, 1, 1, 1, 1) } },
      "sample 1: expected a first position that is not supervised",
    ],
    ["a flag of 2", { samples: { ...samples, supervised: Uint8Array.of(0, 2, 1, 0, 1) } }, "a supervised flag of 0 or 1"],
  ])("%s", (_, changes, message) => {
    const failure = failureOf(() => train(changes));
    expect(failure.code).toBe("DATASET_INVALID");
    expect(failure.message).toContain(message);
  });

  test("numbers and groups that the core judges, through the promise", async () => {
    const cases: [object, string][] = [
      [{ samples: { ...samples, groupOffsets: Uint32Array.of(0, 1) } }, "DATASET_INVALID"],
      [{ samples: { ...samples, groupOffsets: Uint32Array.of(0, 2, 1, 2) } }, "DATASET_INVALID"],
      [{ samples: { ...samples, weights: new Float32Array(5) } }, "DATASET_INVALID"],
      [{ preference: { beta: 0.1, labelSmoothing: 0 } }, "DATASET_INVALID"],
      [{ preference: { beta: 0.1, labelSmoothing: 0.5 }, samples: { ...samples, groupOffsets: Uint32Array.of(0, 2) } }, "CONFIG_INVALID"],
      [{ lossScale: 3 }, "CONFIG_INVALID"],
    ];
    for (const [changes, code] of cases) {
      await expect(model.train({ ...valid, ...changes }).promise).rejects.toMatchObject({ code });
    }
  });

  test("a sample without a supervised token, from the core and through the promise", async () => {
    const options = { ...valid, samples: { ...samples, supervised: Uint8Array.of(0, 1, 1, 0, 0) } };
    await expect(model.train(options).promise).rejects.toMatchObject({
      code: "DATASET_INVALID",
      message: expect.stringContaining("sample 1") as string,
    });
  });

  test("options that are no object", () => {
    expect(failureOf(() => model.train(undefined as unknown as NativeTrainOptions)).code).toBe("CONFIG_INVALID");
    expect(failureOf(() => model.train(5 as unknown as NativeTrainOptions)).code).toBe("CONFIG_INVALID");
  });

  test("a getter that throws, with its own exception", () => {
    const options = {
      ...valid,
      get localSteps(): number {
        throw new RangeError("from the getter");
      },
    };
    expect(() => model.train(options)).toThrow(RangeError);
  });
});

describe("adapter options", () => {
  test.each<[string, object, string, string]>([
    ["rank 0", { rank: 0 }, "CONFIG_INVALID", "adapter.rank"],
    ["a fractional rank", { rank: 1.5 }, "CONFIG_INVALID", "adapter.rank"],
    ["a rank above the smaller side of a weight", { rank: 129 }, "ADAPTER_INVALID", "128"],
    ["loraAlpha 0", { loraAlpha: 0 }, "CONFIG_INVALID", "adapter.loraAlpha"],
    ["loraAlpha NaN", { loraAlpha: Number.NaN }, "CONFIG_INVALID", "adapter.loraAlpha"],
    ["loraAlpha beyond single precision", { loraAlpha: 1e39 }, "CONFIG_INVALID", "adapter.loraAlpha"],
    ["modules that are no array", { targetModules: "attn_q" }, "CONFIG_INVALID", "adapter.targetModules"],
    ["no module", { targetModules: [] }, "CONFIG_INVALID", "adapter.targetModules"],
    ["a module that is no string", { targetModules: [3] }, "CONFIG_INVALID", "adapter.targetModules[0]"],
    ["an unknown module", { targetModules: ["attn"] }, "ADAPTER_INVALID", "attn_output"],
    ["a repeated module", { targetModules: ["attn_q", "attn_q"] }, "ADAPTER_INVALID", "attn_q"],
  ])("%s", (_, changes, code, message) => {
    const failure = failureOf(() => model.adapterLayout({ ...TEST_ADAPTER, ...changes }));
    expect(failure.code).toBe(code);
    expect(failure.message).toContain(message);
  });
});

describe("other functions refuse", () => {
  test("evaluation with weights but no adapter", () => {
    const options: NativeEvaluateOptions = { weights: valid.weights, samples, microBatchTokens: 16 };
    expect(failureOf(() => model.evaluate(options)).message).toContain("both or none, received weights only");
  });

  test.each<[string, () => unknown, string]>([
    ["a path that is no string", () => addon.loadModel(5 as unknown as string, { numThreads: 1 }), "path"],
    ["no thread", () => addon.loadModel(path, { numThreads: 0 }), "numThreads"],
    ["too many threads", () => addon.loadModel(path, { numThreads: 513 }), "numThreads"],
    ["an empty device name", () => addon.loadModel(path, { device: "", numThreads: 1 }), "device"],
    ["an unknown kind of product", () => addon.loadModel(path, { numThreads: 1, weightProduct: "f16" as "f32" }), "weightProduct"],
    ["an unknown kind of copies", () => addon.loadModel(path, { numThreads: 1, transposes: 1 as unknown as "none" }), "transposes"],
    ["timings without tokens", () => model.tune({ numTokens: 0, cacheBytes: 0 }), "numTokens"],
    ["timings with a negative budget", () => model.tune({ numTokens: 1, cacheBytes: -1 }), "cacheBytes"],
    ["a negative seed", () => model.initialWeights(TEST_ADAPTER, -1), "seed"],
    ["a logger that is no function", () => { addon.setLogger(3 as unknown as null); }, "callback"],
    ["a quantization type that is no string", () => addon.quantizeModel(path, path, 4 as unknown as string, 1), "type"],
  ])("%s", (_, call, subject) => {
    const failure = failureOf(call);
    expect(failure.code).toBe("CONFIG_INVALID");
    expect(failure.message).toMatch(new RegExp(`^${subject}: expected`, "u"));
  });

  test("a folder without libraries, and one with other libraries than those in the process", () => {
    expect(failureOf(() => addon.initBackends("/nowhere/at/all")).code).toBe("NATIVE_MISMATCH");
    const failure = failureOf(() => addon.initBackends(folder));
    expect(failure.code).toBe("NATIVE_MISMATCH");
    expect(failure.message).toContain(folder);
  });

  test("a method called on an object of another class", async () => {
    const tokenizer = await addon.loadTokenizer(path);
    const method = Reflect.get(Object.getPrototypeOf(model) as object, "adapterLayout") as (options: unknown) => unknown;
    expect(() => Reflect.apply(method, tokenizer, [TEST_ADAPTER])).toThrow(TypeError);
    expect(() => Reflect.apply(method, {}, [TEST_ADAPTER])).toThrow(TypeError);
    tokenizer.dispose();
  });
});
