/** Emulators through the addon: what they are made of is tested in the core. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BaseModel } from "../../src/native/base-model.js";
import { emulateModel } from "../../src/native/emulate.js";
import { loadNative } from "../../src/native/load.js";
import { TEST_ADAPTER, makeTestFolder, makeTinyModelFile } from "../helpers/native.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const inputPath = makeTinyModelFile(folder);
const outputPath = join(folder, "emulator.gguf");

test("an emulator opens as a model of fewer layers", async () => {
  await emulateModel(addon, { inputPath, outputPath, layers: [1] });
  const model = await BaseModel.open(addon, outputPath, { numThreads: 1 });
  expect(model.info.numLayers).toBe(1);
  model.dispose();
});

test("an adapter on some layers goes into a file and comes back with them", async () => {
  const model = await BaseModel.open(addon, inputPath, { numThreads: 1 });
  const options = { ...TEST_ADAPTER, layers: [1] };
  const layout = model.adapterLayout(options);
  expect(layout.tensors.map(({ name }) => name.split(".")[1])).toEqual(["1", "1", "1", "1"]);
  expect(layout.numParameters * 2).toBe(model.adapterLayout(TEST_ADAPTER).numParameters);
  const path = join(folder, "adapter.gguf");
  const weights = model.initialWeights(options, 3);
  await model.saveAdapter(path, options, weights);
  expect(await model.loadAdapter(path)).toEqual({ options, weights });
  for (const layers of [[], [1, 0], [0.5], [-1]]) {
    expect(() => model.adapterLayout({ ...TEST_ADAPTER, layers })).toThrow("adapter.layers: expected ascending layer numbers");
  }
  expect(() => model.adapterLayout({ ...TEST_ADAPTER, layers: [2] })).toThrow("layers: expected ascending numbers from 0 to 1");
  model.dispose();
});

test.each([[[]], [[1, 0]], [[0, 0]], [[-1]], [[0.5]], [[0, 2]], [[Number.NaN]]])("layers %j are refused", async (layers) => {
  const refused = join(folder, "refused.gguf");
  await expect(emulateModel(addon, { inputPath, outputPath: refused, layers })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  expect(existsSync(refused)).toBe(false);
});
