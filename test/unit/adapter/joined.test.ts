/** Goal: adapters joined to one do what they do together, compared with dense matrices; single precision and products of size 5. */
import { describe, expect, test } from "vitest";
import { highestRank, joinAdapters, layoutOfRank, targetModulesOf, type RankedAdapter } from "../../../src/adapter/joined.js";
import { adapterPairs, readProduct } from "../../../src/adapter/pairs.js";
import { dense, denseDistance, denseSum, makeUniform } from "../../helpers/dense.js";
import { pairLayout } from "../../helpers/pair-layout.js";

const layout = pairLayout(3, [
  ["blk.0.attn_q.weight", 12, 20],
  ["blk.0.ffn_down.weight", 16, 9],
  ["blk.1.attn_q.weight", 12, 20],
]);

function randomAdapter(rank: number, loraAlpha: number) {
  const random = makeUniform(100 * rank + loraAlpha);
  return { rank, loraAlpha, weights: Float32Array.from({ length: layoutOfRank(layout, rank).numParameters }, random) };
}

/** scale B A of each pair. */
function scaledProducts({ rank, loraAlpha, weights }: RankedAdapter) {
  return adapterPairs(layoutOfRank(layout, rank)).map((pair) => denseSum([dense(readProduct(weights, pair))], [loraAlpha / rank]));
}

test("a layout of another rank is what the same modules have with it", () => {
  const other = layoutOfRank(layout, 5);
  expect(other).toEqual(pairLayout(5, [["blk.0.attn_q.weight", 12, 20], ["blk.0.ffn_down.weight", 16, 9], ["blk.1.attn_q.weight", 12, 20]]));
  expect(layoutOfRank(layout, 0).numParameters).toBe(0);
  expect(targetModulesOf(layout)).toEqual(["attn_q", "ffn_down"]);
  expect(highestRank(layout)).toBe(9);
});

describe("joined", () => {
  test.each([
    ["of one scale", [randomAdapter(4, 8)]],
    ["of different scales and ranks", [randomAdapter(2, 1), randomAdapter(4, 12)]],
  ])("adapters %s have the sum of the products", (_, others) => {
    const first = randomAdapter(3, 6);
    const joined = joinAdapters(layout, [first, ...others]);
    expect([joined.rank, joined.loraAlpha / joined.rank]).toEqual([others.reduce((sum, { rank }) => sum + rank, 3), 2]);
    for (const [index, product] of scaledProducts(joined).entries()) {
      const parts = [first, ...others].map((adapter) => scaledProducts(adapter)[index] ?? product);
      expect(denseDistance(product, denseSum(parts, parts.map(() => 1)))).toBeLessThan(1e-5);
    }
  });

  test("a fresh adapter is left out, and alone it stays", () => {
    const trained = randomAdapter(8, 16);
    const fresh = { rank: 3, loraAlpha: 6, weights: new Float32Array(layout.numParameters) };
    expect(joinAdapters(layout, [fresh, trained])).toBe(trained);
    expect(joinAdapters(layout, [fresh])).toBe(fresh);
  });

  test("ranks above the smallest dimension are refused", () => {
    expect(() => joinAdapters(layout, [randomAdapter(3, 6), randomAdapter(7, 14)])).toThrow(/at most 9 together.*received 3 \+ 7/);
  });
});
