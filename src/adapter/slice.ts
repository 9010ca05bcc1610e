/**
 * Parts of an adapter that travel alone: one half of each pair, or its first rows of A and columns of B. A slice is a list
 * of numbers in the order of the layout, so what is counted is what is sent.
 */
import { assert } from "../util/assert.js";
import type { AdapterLayout } from "./layout.js";
import { adapterPairs, type AdapterPair } from "./pairs.js";

/** The factors of each pair. */
export type AdapterHalf = "both" | "a" | "b";

/** Which numbers of an adapter. */
export interface AdapterSlice {
  readonly half: AdapterHalf;
  /** For each pair in layout order how many rows of A and columns of B; absent: all. */
  readonly ranks?: readonly number[];
}

/** Count of the slice's numbers. */
export function sliceLength(layout: AdapterLayout, slice: AdapterSlice): number {
  let length = 0;
  forEachPart(layout, slice, ({ count }) => (length += count));
  return length;
}

/** The slice's numbers out of a whole adapter, as a copy. */
export function gatherSlice(weights: Float32Array, layout: AdapterLayout, slice: AdapterSlice): Float32Array {
  const values = new Float32Array(sliceLength(layout, slice));
  let position = 0;
  forEachPart(layout, slice, ({ start, count }) => {
    values.set(weights.subarray(start, start + count), position);
    position += count;
  });
  return values;
}

/** A copy of the whole adapter `base` with the slice's numbers in their places. */
export function scatterSlice(
  base: Float32Array,
  layout: AdapterLayout,
  slice: AdapterSlice,
  values: Float32Array,
): Float32Array {
  assert(base.length === layout.numParameters && values.length === sliceLength(layout, slice), "a slice fits its adapter");
  const weights = Float32Array.from(base);
  let position = 0;
  forEachPart(layout, slice, ({ start, count }) => {
    weights.set(values.subarray(position, position + count), start);
    position += count;
  });
  return weights;
}

/** The same rank for every pair, at most each pair's own. */
export function uniformRanks(layout: AdapterLayout, rank: number): readonly number[] {
  return adapterPairs(layout).map((pair) => Math.min(rank, pair.rank));
}

/** Neighbouring numbers of the flat buffer. */
interface Part {
  readonly start: number;
  readonly count: number;
}

function forEachPart(layout: AdapterLayout, { half, ranks }: AdapterSlice, visit: (part: Part) => void): void {
  const pairs = adapterPairs(layout);
  assert(ranks === undefined || ranks.length === pairs.length, "a slice has a rank for each pair");
  for (const [index, pair] of pairs.entries()) {
    const rank = ranks?.[index] ?? pair.rank;
    assert(rank >= 0 && rank <= pair.rank, "a slice's rank is at most the pair's");
    if (half !== "b") visit({ start: pair.a.offset, count: rank * pair.dIn });
    if (half !== "a") visitColumns(pair, rank, visit);
  }
}

/** B has its rank running fastest, so a lower one leaves gaps. */
function visitColumns({ b, rank: fullRank, dOut }: AdapterPair, rank: number, visit: (part: Part) => void): void {
  if (rank === fullRank) {
    visit({ start: b.offset, count: rank * dOut });
    return;
  }
  for (let row = 0; row < dOut; row++) visit({ start: b.offset + row * fullRank, count: rank });
}
