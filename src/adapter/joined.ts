/**
 * Adapters side by side on the same weights of a model: the layout of one in another rank, and several joined to one along the
 * rank. With factors [A; A_f] and [B, B_f] the product is B A + B_f A_f, so one file says what several adapters do together.
 */
import { problemError } from "../errors.js";
import type { AdapterLayout, AdapterTensor } from "./layout.js";
import { adapterPairs, readProduct, writeProduct } from "./pairs.js";
import { stackProducts } from "./product-space.js";

/** An adapter of any rank in the layout order of its modules; its scale is loraAlpha / rank. */
export interface RankedAdapter {
  readonly rank: number;
  readonly loraAlpha: number;
  readonly weights: Float32Array;
}

/** The same pairs in another rank, which may be 0, with the same scale loraAlpha / rank. */
export function layoutOfRank(layout: AdapterLayout, rank: number): AdapterLayout {
  const tensors: AdapterTensor[] = [];
  let offset = 0;
  for (const { a, b, dIn, dOut } of adapterPairs(layout)) {
    tensors.push({ name: a.name, shape: [dIn, rank], offset }, { name: b.name, shape: [rank, dOut], offset: offset + rank * dIn });
    offset += rank * (dIn + dOut);
  }
  return { tensors, numParameters: offset, rank, loraAlpha: (layout.loraAlpha / layout.rank) * rank };
}

/** Names of the modules that have pairs, such as `attn_q`. */
export function targetModulesOf(layout: AdapterLayout): readonly string[] {
  const modules = adapterPairs(layout).map(({ name }) => name.replace(/^blk\.\d+\./u, "").replace(/\.weight$/u, ""));
  return [...new Set(modules)];
}

/** Numbers of the layers that have pairs, ascending; absent where pairs are not of layers. */
export function layersOf(layout: AdapterLayout): { readonly layers?: readonly number[] } {
  const layers = new Set(adapterPairs(layout).flatMap(({ layer }) => (layer === undefined ? [] : [layer])));
  return layers.size === 0 ? {} : { layers: [...layers].sort((left, right) => left - right) };
}

/** The smallest dimension of a weight with a pair: no adapter of these modules may have a higher rank. */
export function highestRank(layout: AdapterLayout): number {
  return adapterPairs(layout).reduce((lowest, { dIn, dOut }) => Math.min(lowest, dIn, dOut), Number.POSITIVE_INFINITY);
}

/**
 * One adapter that does what these do together, in the layout of the first; those whose B is zero are left out. Scales that differ
 * from the first's go into B. Throws ADAPTER_INVALID when the ranks together are above what the model's weights allow.
 */
export function joinAdapters(layout: AdapterLayout, adapters: readonly [RankedAdapter, ...RankedAdapter[]]): RankedAdapter {
  const joined = adapters.filter((adapter) => hasProduct(adapter, layout));
  const [first = adapters[0]] = joined;
  if (joined.length <= 1) return first;
  const rank = joined.reduce((sum, adapter) => sum + adapter.rank, 0);
  if (rank > highestRank(layout)) {
    throw problemError("ADAPTER_INVALID", {
      subject: "adapters joined to one file",
      expected: `ranks of at most ${String(highestRank(layout))} together, the smallest dimension of their weights`,
      received: joined.map((adapter) => String(adapter.rank)).join(" + "),
    });
  }
  const scale = first.loraAlpha / first.rank;
  const target = layoutOfRank(layout, rank);
  const weights = new Float32Array(target.numParameters);
  const pairsOf = joined.map((adapter) => adapterPairs(layoutOfRank(layout, adapter.rank)));
  for (const [index, pair] of adapterPairs(target).entries()) {
    const products = joined.map((adapter, k) => {
      const own = pairsOf[k]?.[index];
      return readProduct(adapter.weights, own ?? pair);
    });
    writeProduct(weights, pair, stackProducts(products, joined.map((adapter) => adapter.loraAlpha / adapter.rank / scale)));
  }
  return { rank, loraAlpha: scale * rank, weights };
}

/** False when every B is zero, as in a fresh adapter. */
function hasProduct({ rank, weights }: RankedAdapter, layout: AdapterLayout): boolean {
  return adapterPairs(layoutOfRank(layout, rank)).some(({ b, dOut }) =>
    weights.subarray(b.offset, b.offset + rank * dOut).some((value) => value !== 0),
  );
}
