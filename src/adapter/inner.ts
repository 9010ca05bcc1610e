/**
 * Fed-SB's form of an adapter, y = W x + scale B R A x: A and B are the outer factors, an adapter in layout order that stays as it
 * is, and R is a square matrix per pair between them, the inner one. Inner matrices lie one after another in the order of the
 * layout's pairs, each [rank, rank] in ggml order like B: what direction i of B takes of direction j of A is at i * rank + j.
 * The pair A, B R says the same as an ordinary adapter. Sums in double precision, rounded once.
 */
import type { AdapterLayout } from "./layout.js";
import { adapterPairs, type AdapterPair } from "./pairs.js";

/** Count of the numbers in all inner matrices. */
export function innerLength(layout: AdapterLayout): number {
  return adapterPairs(layout).reduce((sum, { rank }) => sum + rank * rank, 0);
}

/** The ordinary adapter A, B R. */
export function composeInner(layout: AdapterLayout, outer: Float32Array, inner: Float32Array): Float32Array {
  const weights = Float32Array.from(outer);
  forEachPair(layout, ({ b, dOut, rank }, start) => {
    for (let d = 0; d < dOut; d++) {
      const row = b.offset + d * rank;
      for (let j = 0; j < rank; j++) {
        let sum = 0;
        for (let i = 0; i < rank; i++) sum += (outer[row + i] ?? 0) * (inner[start + i * rank + j] ?? 0);
        weights[row + j] = sum;
      }
    }
  });
  return weights;
}

/** B^T G for each pair's G, the gradient of B R in layout order: the gradient of the inner matrices. */
export function projectToInner(layout: AdapterLayout, outer: Float32Array, gradient: readonly number[]): number[] {
  const inner = new Array<number>(innerLength(layout)).fill(0);
  forEachPair(layout, ({ b, dOut, rank }, start) => {
    for (let d = 0; d < dOut; d++) {
      const row = b.offset + d * rank;
      for (let i = 0; i < rank; i++) {
        for (let j = 0; j < rank; j++) {
          const place = start + i * rank + j;
          inner[place] = (inner[place] ?? 0) + (outer[row + i] ?? 0) * (gradient[row + j] ?? 0);
        }
      }
    }
  });
  return inner;
}

function forEachPair(layout: AdapterLayout, visit: (pair: AdapterPair, start: number) => void): void {
  let start = 0;
  for (const pair of adapterPairs(layout)) {
    visit(pair, start);
    start += pair.rank * pair.rank;
  }
}
