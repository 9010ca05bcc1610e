/** What methods in the space of products make of a round: the clients' trained adapters, and their products pair by pair. */
import type { AdapterLayout } from "../adapter/layout.js";
import { adapterPairs, readProduct, type AdapterPair } from "../adapter/pairs.js";
import { stackProducts, type Product } from "../adapter/product-space.js";
import { gatherSlice, scatterSlice } from "../adapter/slice.js";
import { addUpdate, compareIds } from "../adapter/weights.js";
import type { ClientUpdate } from "./protocol.js";

/**
 * A client's whole adapter after training, from the global one it started from: the start of its slice plus the update. What
 * is outside of its ranks is zero; the half that it did not send is the global one's.
 */
export function trainedAdapter(global: Float32Array, { update, slice }: ClientUpdate, layout: AdapterLayout): Float32Array {
  if (slice === undefined) return addUpdate(global, update);
  const base = slice.ranks === undefined ? global : new Float32Array(layout.numParameters);
  return scatterSlice(base, layout, slice, addUpdate(gatherSlice(global, layout, slice), update));
}

/** One client's adapter and its share of the mean; shares sum to 1. */
export interface SharedAdapter {
  readonly weights: Float32Array;
  readonly share: number;
  /** Highest rank of a pair that the client trained; absent: the adapter's. */
  readonly rank?: number;
}

/** The clients' trained adapters with their shares of the data, in ascending order of client id whatever that of the updates. */
export function sharedAdapters(global: Float32Array, updates: readonly ClientUpdate[], layout: AdapterLayout): readonly SharedAdapter[] {
  const total = updates.reduce((sum, { numExamples }) => sum + numExamples, 0);
  const sorted = [...updates].sort((left, right) => compareIds(left.clientId, right.clientId));
  return sorted.map((update) => ({
    weights: trainedAdapter(global, update, layout),
    share: update.numExamples / total,
    ...(update.slice?.ranks === undefined ? {} : { rank: Math.max(...update.slice.ranks) }),
  }));
}

/** sum p_k B_k A_k of one pair, stacked: exact, of the summed ranks. */
export function idealProduct(adapters: readonly SharedAdapter[], pair: AdapterPair): Product {
  return stackProducts(adapters.map(({ weights }) => readProduct(weights, pair)), adapters.map(({ share }) => share));
}

/** A new adapter, pair by pair in layout order. */
export function mapPairs(layout: AdapterLayout, write: (pair: AdapterPair, index: number, target: Float32Array) => void): Float32Array {
  const target = new Float32Array(layout.numParameters);
  for (const [index, pair] of adapterPairs(layout).entries()) write(pair, index, target);
  return target;
}
