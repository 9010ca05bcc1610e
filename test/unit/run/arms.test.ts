/** How many arms fit into memory at once. */
import { expect, test } from "vitest";
import { mostAtOnce } from "../../../src/run/arms.js";

const parts = { weights: 500, adapter: 10, activations: 60, checkpoints: 0, scratch: 20, vectors: 5, descriptions: 5, mapped: 0, process: 40 };
const plan = (limitBytes: number, streams = false) => ({ parts, limitBytes, streams });

test("workspaces of 100 fit as often as there is room beside the weights, at least once", () => {
  expect(mostAtOnce([plan(1000)], 500)).toBe(5);
  expect(mostAtOnce([plan(1000), plan(899)], 500)).toBe(3);
  expect(mostAtOnce([plan(1000)], 950)).toBe(1);
  expect(mostAtOnce([plan(1000)], 2000)).toBe(1);
  // Weights that come from the file layer by layer take what is left.
  expect(mostAtOnce([plan(1000, true)], 0)).toBe(1);
});
