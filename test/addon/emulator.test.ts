/** Emulators through the addon: what they are made of is tested in the core. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BaseModel } from "../../src/native/base-model.js";
import { emulateModel } from "../../src/native/emulate.js";
import { loadNative } from "../../src/native/load.js";
import { makeTestFolder, makeTinyModelFile } from "../helpers/native.js";

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

test.each([[[]], [[1, 0]], [[0, 0]], [[-1]], [[0.5]], [[0, 2]], [[Number.NaN]]])("layers %j are refused", async (layers) => {
  const refused = join(folder, "refused.gguf");
  await expect(emulateModel(addon, { inputPath, outputPath: refused, layers })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  expect(existsSync(refused)).toBe(false);
});
