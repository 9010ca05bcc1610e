/**
 * The pairs of an adapter: which A and B of its layout belong to one weight of the model, and their products in double
 * precision. In the flat buffer A is [d_in, rank] and B [rank, d_out] in ggml order (the first number runs fastest), so
 * the rows of A and of B are contiguous there: A is rank rows of d_in, B d_out rows of rank.
 */
import type { AdapterLayout, AdapterTensor } from "./layout.js";
import { makeMatrix } from "./matrix.js";
import type { Product } from "./product-space.js";

const A_SUFFIX = ".lora_a";
const B_SUFFIX = ".lora_b";

/** One adapted weight W: y = W x + scale B A x. */
export interface AdapterPair {
  /** Of the weight, for example `blk.0.attn_q.weight`. */
  readonly name: string;
  /** The number in `blk.<n>.`; absent for a weight outside of the layers. */
  readonly layer?: number;
  readonly a: AdapterTensor;
  readonly b: AdapterTensor;
  readonly dIn: number;
  readonly dOut: number;
  readonly rank: number;
}

/** In layout order; empty when the layout is not made of pairs. */
export function adapterPairs({ tensors }: AdapterLayout): readonly AdapterPair[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return tensors.flatMap((a) => {
    if (!a.name.endsWith(A_SUFFIX)) return [];
    const name = a.name.slice(0, -A_SUFFIX.length);
    const b = byName.get(name + B_SUFFIX);
    if (b === undefined) return [];
    const layer = /^blk\.(\d+)\./.exec(name)?.[1];
    const [dIn, rank] = a.shape;
    return [{ name, a, b, dIn, dOut: b.shape[1], rank, ...(layer === undefined ? {} : { layer: Number(layer) }) }];
  });
}

/** B A of one pair, without the scale; only the first `rank` rows of A and columns of B when a rank is given. */
export function readProduct(weights: Float32Array | Float64Array, pair: AdapterPair, rank = pair.rank): Product {
  const a = makeMatrix(rank, pair.dIn);
  a.data.set(weights.subarray(pair.a.offset, pair.a.offset + rank * pair.dIn));
  const bt = makeMatrix(rank, pair.dOut);
  for (let row = 0; row < pair.dOut; row++) {
    const start = pair.b.offset + row * pair.rank;
    for (let i = 0; i < rank; i++) bt.data[i * pair.dOut + row] = weights[start + i] ?? 0;
  }
  return { a, bt };
}

/** Puts a product of at most the pair's rank in its place, rounded to single precision; rows above its rank become zero. */
export function writeProduct(weights: Float32Array, pair: AdapterPair, { a, bt }: Product): void {
  const { dIn, dOut, rank } = pair;
  weights.fill(0, pair.a.offset, pair.a.offset + rank * dIn);
  weights.fill(0, pair.b.offset, pair.b.offset + rank * dOut);
  weights.set(a.data, pair.a.offset);
  for (let row = 0; row < dOut; row++) {
    const start = pair.b.offset + row * rank;
    for (let i = 0; i < bt.rows; i++) weights[start + i] = bt.data[i * dOut + row] ?? 0;
  }
}
