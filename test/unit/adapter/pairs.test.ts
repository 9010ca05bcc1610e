/** Goal: pairs are found in a layout, and products read from the flat buffer follow ggml's order of numbers. */
import { expect, test } from "vitest";
import type { AdapterLayout } from "../../../src/adapter/layout.js";
import { adapterPairs, readProduct, writeProduct } from "../../../src/adapter/pairs.js";
import { dense } from "../../helpers/dense.js";

/** d_in 3, rank 2, d_out 2 in a layer, and d_in 1, rank 2, d_out 1 outside. */
const layout: AdapterLayout = {
  tensors: [
    { name: "blk.12.attn_q.weight.lora_a", shape: [3, 2], offset: 0 },
    { name: "blk.12.attn_q.weight.lora_b", shape: [2, 2], offset: 6 },
    { name: "output.weight.lora_a", shape: [1, 2], offset: 10 },
    { name: "output.weight.lora_b", shape: [2, 1], offset: 12 },
  ],
  numParameters: 14,
  rank: 2,
  loraAlpha: 1,
};
// A = [1 2 3; 4 5 6], B = [1 10; 100 1000]: B A = [41 52 63; 4100 5200 6300]
const weights = Float32Array.of(1, 2, 3, 4, 5, 6, 1, 10, 100, 1000, 7, 8, 9, 10);

test("each A is found with its B, its layer and its sizes", () => {
  expect(adapterPairs(layout)).toMatchObject([
    { name: "blk.12.attn_q.weight", layer: 12, dIn: 3, dOut: 2, rank: 2 },
    { name: "output.weight", dIn: 1, dOut: 1, rank: 2 },
  ]);
  expect(adapterPairs(layout)[1]).not.toHaveProperty("layer");
  expect(adapterPairs({ ...layout, tensors: [{ name: "point", shape: [3, 1], offset: 0 }] })).toEqual([]);
});

test("the product of a pair has its rows along the output and its columns along the input", () => {
  const [first, last] = adapterPairs(layout);
  if (first === undefined || last === undefined) throw new Error("there are two pairs");
  expect([...dense(readProduct(weights, first)).data]).toEqual([41, 52, 63, 4100, 5200, 6300]);
  // The first row of A and the first column of B alone.
  expect([...dense(readProduct(weights, first, 1)).data]).toEqual([1, 2, 3, 100, 200, 300]);
  expect([...dense(readProduct(weights, last)).data]).toEqual([7 * 9 + 8 * 10]);
});

test("a product that was read is written back as it was, one of lower rank with zeros behind it, and nothing else changes", () => {
  const [first] = adapterPairs(layout);
  if (first === undefined) throw new Error("there is a pair");
  const copy = Float32Array.from(weights).fill(0, 0, 10);
  writeProduct(copy, first, readProduct(weights, first));
  expect(copy).toEqual(weights);
  writeProduct(copy, first, readProduct(weights, first, 1));
  expect(copy).toEqual(Float32Array.of(1, 2, 3, 0, 0, 0, 1, 0, 100, 0, 7, 8, 9, 10));
});
