/** FedLLM-Bench's formula on its own setting, and that the noise has the standard deviation it is given. */
import { expect, test } from "vitest";
import { addPaperNoise, paperNoiseStd } from "../../../src/privacy/paper-noise.js";

const WILDCHAT = { delta: 1e-4, learningRate: 2e-5, maxGradientNorm: 1, totalSamples: 53_000, numClients: 100, clientsPerRound: 5, numRounds: 100 };

test.each([
  [1, 7.24306e-7],
  [0.1, 7.24306e-6],
  [0.01, 7.24306e-5],
  [0.001, 7.24306e-4],
])("epsilon %d: sigma %d", (epsilon, expected) => {
  expect(paperNoiseStd({ ...WILDCHAT, epsilon }) / expected).toBeCloseTo(1, 5);
});

test("noise has its standard deviation, repeats, and differs by round and client", () => {
  const draw = { seed: 0, round: 1, clientId: "u1" };
  const noisy = addPaperNoise(new Float32Array(50_000), 0.5, draw);
  const std = Math.sqrt(noisy.reduce((sum, value) => sum + value * value, 0) / noisy.length);
  // Four standard errors.
  expect(Math.abs(std - 0.5)).toBeLessThan((4 * 0.5) / Math.sqrt(100_000));
  expect(addPaperNoise(new Float32Array(4), 0.5, draw)).toEqual(noisy.slice(0, 4));
  expect(addPaperNoise(new Float32Array(4), 0.5, { ...draw, round: 2 })).not.toEqual(noisy.slice(0, 4));
  expect(addPaperNoise(new Float32Array(4), 0.5, { ...draw, clientId: "u2" })).not.toEqual(noisy.slice(0, 4));
});
