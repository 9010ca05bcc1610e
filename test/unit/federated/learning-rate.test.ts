import { expect, test } from "vitest";
import { cosineLearningRate } from "../../../src/federated/learning-rate.js";

// The vectors known of FedLLM-Bench's schedule, with all digits as Python computes them. The cosine may differ by a unit
// in the last place between libraries, hence 1e-12.
test.each([
  { initial: 2e-5, final: 1e-6, roundIndex: 0, expected: 2e-5 },
  { initial: 2e-5, final: 1e-6, roundIndex: 1, expected: 1.9998828008575777e-5 },
  { initial: 2e-5, final: 1e-6, roundIndex: 50, expected: 1.7217514421272203e-5 },
  { initial: 2e-5, final: 1e-6, roundIndex: 100, expected: 1.05e-5 },
  { initial: 2e-5, final: 1e-6, roundIndex: 199, expected: 1.0011719914242244e-6 },
  { initial: 1e-4, final: 1e-5, roundIndex: 100, expected: 5.5e-5 },
  { initial: 1e-4, final: 1e-5, roundIndex: 199, expected: 1.0005551538325275e-5 },
])("the rate of round index $roundIndex from $initial to $final", ({ expected, ...schedule }) => {
  const rate = cosineLearningRate({ ...schedule, numRounds: 200 });
  expect(Math.abs(rate / expected - 1)).toBeLessThan(1e-12);
});

test("equal ends give a constant rate", () => {
  expect(cosineLearningRate({ initial: 0.25, final: 0.25, roundIndex: 3, numRounds: 7 })).toBe(0.25);
});
