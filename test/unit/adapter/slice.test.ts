/** Goal: what travels is exactly the numbers named, in layout order, and putting them back gives the adapter again. */
import { expect, test } from "vitest";
import type { AdapterLayout } from "../../../src/adapter/layout.js";
import { gatherSlice, scatterSlice, sliceLength, uniformRanks } from "../../../src/adapter/slice.js";

/** d_in 3, rank 2, d_out 2; then d_in 1, rank 2, d_out 3. */
const layout: AdapterLayout = {
  tensors: [
    { name: "blk.0.attn_q.weight.lora_a", shape: [3, 2], offset: 0 },
    { name: "blk.0.attn_q.weight.lora_b", shape: [2, 2], offset: 6 },
    { name: "blk.0.attn_v.weight.lora_a", shape: [1, 2], offset: 10 },
    { name: "blk.0.attn_v.weight.lora_b", shape: [2, 3], offset: 12 },
  ],
  numParameters: 18,
  rank: 2,
  loraAlpha: 1,
};
const weights = Float32Array.from({ length: 18 }, (_, i) => i);
const ranks = [1, 0];

test.each([
  [{ half: "both" }, [...weights]],
  [{ half: "a" }, [0, 1, 2, 3, 4, 5, 10, 11]],
  [{ half: "b" }, [6, 7, 8, 9, 12, 13, 14, 15, 16, 17]],
  // The first row of A, the first column of B: B's columns are two apart.
  [{ half: "both", ranks }, [0, 1, 2, 6, 8]],
  [{ half: "b", ranks: [2, 1] }, [6, 7, 8, 9, 12, 14, 16]],
  [{ half: "a", ranks: [0, 0] }, []],
] as const)("slice %j", (slice, expected) => {
  const values = gatherSlice(weights, layout, slice);
  expect([...values]).toEqual(expected);
  expect(sliceLength(layout, slice)).toBe(expected.length);
  const base = new Float32Array(18).fill(-1);
  const put = scatterSlice(base, layout, slice, values);
  expect([...put]).toEqual([...weights].map((value) => ((expected as readonly number[]).includes(value) ? value : -1)));
  expect(base.every((value) => value === -1)).toBe(true);
});

test("a common rank is cut to that of each pair", () => {
  expect([1, 2, 5].map((rank) => uniformRanks(layout, rank))).toEqual([[1, 1], [2, 2], [2, 2]]);
});
