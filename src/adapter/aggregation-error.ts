/**
 * How far the server's adapter is from the mean of the clients' adapters as maps: ||sum p_k B_k A_k - B A||_F over
 * ||sum p_k B_k A_k||_F. Averaging A and B apart leaves an error, the covariance of the factors; the meter shows it for
 * every method. It compares what each client trained, whether or not it was sent, and is no part of any method.
 *
 * By the Gram identity nothing larger than (K + 1) r square is made: with rows of all factors stacked and weights p_k and
 * -1 on them, the squared norm is the sum over all pairs of rows of w_i w_j (b_i . b_j) (a_i . a_j). That difference of
 * nearly equal numbers leaves about 1e-8 for an exact method, below the rounding of adapters to single precision.
 */
import type { AdapterLayout } from "./layout.js";
import { adapterPairs, readProduct, type AdapterPair } from "./pairs.js";
import { innerProduct, squaredNorm, stackProducts, type Product } from "./product-space.js";

/** A number that a round is to be known for: how well it aggregated, what it discarded. */
export interface RoundMeasure {
  readonly measure: string;
  /** Of the adapter's pairs in this layer of the model; absent: of all. */
  readonly layer?: number;
  readonly value: number;
}

/** Name of the rows. */
export const AGGREGATION_ERROR = "aggregation_error";

/** One client's trained adapter, whole and in layout order, and its share of the mean. */
export interface WeightedAdapter {
  readonly weights: Float32Array;
  readonly share: number;
}

/** An adapter of the same pairs and scale but of any rank that is a part of the result too, with its sign. */
export interface BesideTerm {
  readonly layout: AdapterLayout;
  readonly weights: Float32Array;
  readonly factor: number;
}

interface SquaredNorms {
  readonly ideal: number;
  readonly error: number;
}

/**
 * The relative error over all pairs, then over those of each layer; shares sum to 1. `beside`: what the round changed next to
 * the trained pair. Where nothing was learned, because every product is zero, there is no relative error and no row.
 */
export function measureAggregationError(
  layout: AdapterLayout,
  clients: readonly WeightedAdapter[],
  aggregated: Float32Array,
  beside: readonly BesideTerm[] = [],
): readonly RoundMeasure[] {
  const terms = [{ layout, weights: aggregated, factor: 1 }, ...beside].map((term) => ({ ...term, pairs: adapterPairs(term.layout) }));
  const pairs = adapterPairs(layout).map((pair, index) => {
    const parts = terms.flatMap(({ pairs, weights, factor }) => (pairs[index] === undefined ? [] : [{ product: readProduct(weights, pairs[index]), factor }]));
    const result = stackProducts(parts.map(({ product }) => product), parts.map(({ factor }) => factor));
    return { layer: pair.layer, norms: measurePair(pair, clients, result) };
  });
  const layers = [...new Set(pairs.flatMap(({ layer }) => (layer === undefined ? [] : [layer])))];
  return [
    ...relativeError(pairs.map(({ norms }) => norms)),
    ...layers.flatMap((layer) =>
      relativeError(pairs.filter((pair) => pair.layer === layer).map(({ norms }) => norms)).map((row) => ({ ...row, layer })),
    ),
  ];
}

function measurePair(pair: AdapterPair, clients: readonly WeightedAdapter[], result: Product): SquaredNorms {
  const products = clients.map(({ weights }) => readProduct(weights, pair));
  const ideal = stackProducts(products, clients.map(({ share }) => share));
  const idealSquared = squaredNorm(ideal);
  const error = idealSquared - 2 * innerProduct(ideal, result) + squaredNorm(result);
  return { ideal: idealSquared, error: Math.max(0, error) };
}

function relativeError(norms: readonly SquaredNorms[]): readonly RoundMeasure[] {
  const ideal = norms.reduce((sum, norm) => sum + norm.ideal, 0);
  const error = norms.reduce((sum, norm) => sum + norm.error, 0);
  return ideal > 0 ? [{ measure: AGGREGATION_ERROR, value: Math.sqrt(error / ideal) }] : [];
}
