/** The model handle: what it tells, what dispose does, and adapter files that stock llama.cpp reads. */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { encodeGguf, makeTinyModel } from "../fixtures/tiny-gguf.js";
import { TEST_ADAPTER, makeSample, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";
import { stockLogProbabilities } from "../helpers/stock-llama.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const path = makeTinyModelFile(folder);

async function openModel(): Promise<BaseModel> {
  return await BaseModel.open(addon, path, { numThreads: 1 });
}

describe("a model", () => {
  test("tells its shape", async () => {
    const model = await openModel();
    // Embedding and head 256 x 368 each; per layer Q and O 256 x 256, K and V 256 x 128, three times 256 x 512, two norms.
    const perLayer = 2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512 + 2 * 256;
    expect(model.info).toMatchObject({
      architecture: "llama",
      name: "tiny test model",
      numLayers: 2,
      embeddingLength: 256,
      feedForwardLength: 512,
      numHeads: 4,
      numKvHeads: 2,
      headLength: 64,
      vocabularySize: 368,
      contextLength: 512,
      tiedHead: false,
      numParameters: 2 * 256 * 368 + 2 * perLayer + 256,
      tensorTypes: { f16: 16, f32: 5 },
    });
    model.dispose();
  });

  test("names its adapter tensors in layout order without gaps", async () => {
    const model = await openModel();
    const layout = model.adapterLayout({ rank: 2, loraAlpha: 4, targetModules: ["ffn_down", "attn_v"] });
    expect(layout.tensors.slice(0, 4)).toEqual([
      { name: "blk.0.attn_v.weight.lora_a", shape: [256, 2], offset: 0 },
      { name: "blk.0.attn_v.weight.lora_b", shape: [2, 128], offset: 512 },
      { name: "blk.0.ffn_down.weight.lora_a", shape: [512, 2], offset: 768 },
      { name: "blk.0.ffn_down.weight.lora_b", shape: [2, 256], offset: 1792 },
    ]);
    expect(layout.numParameters).toBe(2 * 2304);
    model.dispose();
  });

  test("times its kernel variants and opens with the chosen one", async () => {
    const model = await openModel();
    const { best, timings } = await model.tune({ numTokens: 16, cacheBytes: 0 });
    // On the CPU: F32, and BF16 where the processor has instructions for it.
    expect(timings.map(({ weightProduct }) => weightProduct)).toEqual(timings.length === 1 ? ["f32"] : ["f32", "bf16"]);
    for (const timing of timings) expect(timing).toMatchObject({ transposes: "none", copyBytes: 0 });
    for (const { durationMs } of timings) expect(durationMs).toBeGreaterThan(0);
    expect(timings).toContainEqual(expect.objectContaining(best));
    model.dispose();
    const again = await BaseModel.open(addon, path, { numThreads: 1, ...best });
    expect(again.info.numLayers).toBe(2);
    again.dispose();
  });

  test("can be disposed twice, and refuses any use afterwards", async () => {
    const model = await openModel();
    model.dispose();
    model.dispose();
    expect(() => model.adapterLayout(TEST_ADAPTER)).toThrow(
      "NativeModel.adapterLayout: expected a model in use, received a disposed one",
    );
    expect(() => model.native.info).toThrow("disposed");
    await expect(model.loadAdapter(join(folder, "any.gguf"))).rejects.toThrow("disposed");
  });

  test("stays usable for a task that runs when it is disposed", async () => {
    const model = await openModel();
    const trainer = new NativeTrainer(model, TEST_ADAPTER);
    const request = makeTrainRequest(trainer.initialWeights(3), { localSteps: 20 });
    const expected = await trainer.train(request);
    const running = trainer.train(request);
    model.dispose();
    expect((await running).weights).toEqual(expected.weights);
  });

  test("cannot be made by its constructor", async () => {
    const model = await openModel();
    const { constructor } = model.native as unknown as { constructor: new () => typeof model.native };
    expect(() => new constructor().info).toThrow("disposed");
    model.dispose();
  });

  const good = encodeGguf(makeTinyModel());
  const cases: [string, Uint8Array, string][] = [
    ["no GGUF at all", Buffer.from("this is a text file, long enough to hold a header"), "MODEL_LOAD_FAILED"],
    ["a file cut off in its data", good.subarray(0, good.length / 2), "MODEL_LOAD_FAILED"],
    ["a file cut off in its metadata", good.subarray(0, 200), "MODEL_LOAD_FAILED"],
    ["an empty file", new Uint8Array(0), "MODEL_LOAD_FAILED"],
    [
      "another architecture",
      encodeGguf(makeTinyModel({ metadata: { "general.architecture": { string: "mamba" } } })),
      "MODEL_UNSUPPORTED",
    ],
    [
      "heads that do not divide the embedding",
      encodeGguf(makeTinyModel({ metadata: { "llama.attention.head_count": { u32: 7 } } })),
      "MODEL_LOAD_FAILED",
    ],
  ];
  test.each(cases)("that is %s is refused", async (_, bytes, code) => {
    const bad = join(folder, "bad.gguf");
    writeFileSync(bad, bytes);
    await expect(BaseModel.open(addon, bad, { numThreads: 1 })).rejects.toMatchObject({ code });
  });
});

describe("an adapter file", () => {
  test("is read back bit for bit, with its options", async () => {
    const model = await openModel();
    const options = { rank: 3, loraAlpha: 6, targetModules: ["attn_q", "ffn_up"] };
    const weights = model.initialWeights(options, 11);
    const file = join(folder, "round-trip.gguf");
    await model.saveAdapter(file, options, weights);
    expect(await model.loadAdapter(file)).toEqual({ options, weights });
    model.dispose();
  });

  test("in a folder that does not exist is refused and leaves nothing", async () => {
    const model = await openModel();
    const weights = model.initialWeights(TEST_ADAPTER, 1);
    const save = model.saveAdapter(join(folder, "missing", "a.gguf"), TEST_ADAPTER, weights);
    await expect(save).rejects.toMatchObject({ code: "IO_FAILED" });
    expect(readdirSync(folder)).not.toContain("missing");
    model.dispose();
  });

  test("that is another kind of file, or is damaged, is refused", async () => {
    const model = await openModel();
    await expect(model.loadAdapter(path)).rejects.toMatchObject({ code: "ADAPTER_INVALID" });
    const file = join(folder, "cut.gguf");
    await model.saveAdapter(file, TEST_ADAPTER, model.initialWeights(TEST_ADAPTER, 1));
    writeFileSync(file, readFileSync(file).subarray(0, 2000));
    await expect(model.loadAdapter(file)).rejects.toMatchObject({
      code: expect.stringMatching(/^(ADAPTER_INVALID|MODEL_LOAD_FAILED)$/u) as string,
    });
    model.dispose();
  });

  test("changes node-llama-cpp's probabilities to those of our own evaluation", async () => {
    const model = await openModel();
    const trainer = new NativeTrainer(model, TEST_ADAPTER);
    const sample = makeSample(16);
    const request = makeTrainRequest(trainer.initialWeights(0), { samples: [sample], batchSize: 1, localSteps: 20 });
    const { weights } = await trainer.train(request);
    const file = join(folder, "trained.gguf");
    await model.saveAdapter(file, TEST_ADAPTER, weights);

    const ours = {
      base: await trainer.evaluate({ samples: [sample], microBatchTokens: 64 }),
      adapted: await trainer.evaluate({ weights, samples: [sample], microBatchTokens: 64 }),
    };
    const [[base = Number.NaN], [adapted = Number.NaN]] = [await stockLogProbabilities(path, [sample]), await stockLogProbabilities(path, [sample], file)];
    model.dispose();

    // llama.cpp rounds activations to F16 before multiplying with F16 weights and keeps keys and values in F16: a relative
    // error of about 1e-3 per product, of which well under 0.005 is left in the mean of many.
    expect(base).toBeCloseTo(ours.base.samples[0]?.logProbability ?? Number.NaN, 2);
    expect(adapted).toBeCloseTo(ours.adapted.samples[0]?.logProbability ?? Number.NaN, 2);
    expect(adapted).toBeGreaterThan(base + 1);
  });
});
