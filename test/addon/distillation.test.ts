/** Following a teacher and reading states between layers, through the trainer of real runs. What they compute is tested in the core. */
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { BaseModel } from "../../src/native/base-model.js";
import type { Teacher } from "../../src/native/distillation.js";
import { emulateModel } from "../../src/native/emulate.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TEST_ADAPTER, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

const { addon } = loadNative();
const folder = makeTestFolder();
const path = makeTinyModelFile(folder, "full.gguf", { numLayers: 6 });
const emulatorPath = join(folder, "emulator.gguf");
await emulateModel(addon, { inputPath: path, outputPath: emulatorPath, layers: [0, 3, 4, 5] });
const full = await BaseModel.open(addon, path, { numThreads: 1 });
const emulator = await BaseModel.open(addon, emulatorPath, { numThreads: 1 });
const student = new NativeTrainer(emulator, { ...TEST_ADAPTER, layers: [0, 1] });
const start = student.initialWeights(0);
const { samples, microBatchTokens } = makeTrainRequest(start);

afterAll(() => {
  full.dispose();
  emulator.dispose();
});

function teacher(changes: Partial<Teacher> = {}): Teacher {
  return { model: full, hiddenWeight: 1, divergenceWeight: 0.5, boundaries: [1, 2], teacherBoundaries: [1, 4], ...changes };
}

test("states are read for every computed token, and what leaves the last layer depends on the adapter", async () => {
  const { offsets, states } = await student.hiddenStates({ samples, microBatchTokens }, [0, 4]);
  // All tokens but the last, which is supervised and only a label.
  const lengths = samples.map(({ tokens }) => tokens.length - 1);
  expect([...offsets]).toEqual([0, ...lengths.map((_, index) => lengths.slice(0, index + 1).reduce((sum, length) => sum + length, 0))]);
  const width = emulator.info.embeddingLength;
  expect(states.map(({ length }) => length)).toEqual([width * (offsets.at(-1) ?? 0), width * (offsets.at(-1) ?? 0)]);
  const weights = start.map((value, index) => value + 0.01 * (index % 7));
  const other = await student.hiddenStates({ samples, microBatchTokens, weights }, [0, 4]);
  expect(other.states[0]).toEqual(states[0]);
  expect(other.states[1]).not.toEqual(states[1]);
});

test("a student comes nearer to its teacher, whose adapter counts", async () => {
  const adapter = { ...TEST_ADAPTER, layers: [4, 5], weights: new NativeTrainer(full, { ...TEST_ADAPTER, layers: [4, 5] }).initialWeights(1).map((v) => v + 0.05) };
  const request = makeTrainRequest(start, { localSteps: 40, batchSize: samples.length });
  const plain = await student.distil(request, teacher());
  const adapted = await student.distil(request, teacher({ adapters: [adapter] }));
  for (const { distances, stepLosses } of [plain, adapted]) {
    const [first, last] = [distances[0], distances.at(-1)];
    expect(stepLosses[0]).toBeCloseTo((first?.hidden ?? 0) + 0.5 * (first?.divergence ?? 0), 12);
    expect(last?.hidden).toBeLessThan(0.9 * (first?.hidden ?? 0));
  }
  expect(adapted.distances[0]?.hidden).toBe(plain.distances[0]?.hidden);
  expect(adapted.distances[0]?.divergence).not.toBe(plain.distances[0]?.divergence);
});

test("without the divergence only layers below the highest boundary can be trained, and a model is its own perfect teacher", async () => {
  const own = teacher({ model: emulator, teacherBoundaries: [1, 2], divergenceWeight: 0 });
  const { stepLosses, weights } = await student.distil(makeTrainRequest(start), own);
  expect([...stepLosses]).toEqual([0, 0, 0]);
  expect(weights).toEqual(start);
  const whole = new NativeTrainer(emulator, TEST_ADAPTER);
  await expect(whole.distil(makeTrainRequest(whole.initialWeights(0)), own)).rejects.toMatchObject({ code: "CONFIG_INVALID" });
});

test.each<[string, Partial<Teacher>, string]>([
  ["negative weights", { hiddenWeight: -1 }, "teacher.hiddenWeight"],
  ["boundaries that fall", { boundaries: [2, 1] }, "teacher.boundaries"],
  ["a boundary that the teacher does not have", { teacherBoundaries: [1, 7] }, "teacherBoundaries"],
  ["a boundary too many", { boundaries: [0, 1, 2] }, "teacherBoundaries"],
])("%s are refused", async (_, changes, subject) => {
  const refused = student.distil(makeTrainRequest(start), teacher(changes));
  await expect(refused).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(subject) as unknown });
});

test("a teacher that is disposed while it is followed stays until the end, and afterwards is refused", async () => {
  const short = await BaseModel.open(addon, path, { numThreads: 1 });
  const running = student.distil(makeTrainRequest(start), teacher({ model: short }));
  short.dispose();
  expect((await running).numSteps).toBe(3);
  await expect(student.distil(makeTrainRequest(start), teacher({ model: short }))).rejects.toMatchObject({
    code: "CONFIG_INVALID",
    message: expect.stringContaining("disposed") as unknown,
  });
});
