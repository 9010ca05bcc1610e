/**
 * Products that stay beside the trained pair, because a read-only quantized base cannot take them in: what FedEx-LoRA and FLoRA
 * add to the model after a round, as factors, and their running sum, recompressed to a rank cap with the energy that was lost.
 *   FLoRA (Wang et al. 2024, section 3): the stack of all clients' factors, sum p_k B_k A_k; the pair then starts anew
 *   FedEx-LoRA (Singhal et al. 2025, equation 6): the residual sum p_k B_k A_k - B A of the means A and B, which the pair keeps
 * Scales: all factors have the common loraAlpha / rank outside, so it must be applied to the extra product as to the pair.
 * Without a place beside the pair both methods fold everything into one pair of its rank, and then they are FlexLoRA.
 */
import { addScaled, makeMatrix, type Matrix } from "./matrix.js";
import { bestProduct, compactSvd, squaredNorm, stackProducts, truncationEnergy, type Energy, type Product } from "./product-space.js";

/**
 * FedEx-LoRA's residual sum p_k B_k A_k - B A as factors of (K - 1) r rows: it equals sum p_k (B_k - B)(A_k - A), and because the
 * sum of p_k (B_k - B) is zero any other matrix may stand for A there; with the last client's A_K its own term falls away.
 * Shares sum to 1. One client has no rows.
 */
export function meanResidual(products: readonly Product[], shares: readonly number[]): Product {
  const mean = meanFactors(products, shares);
  const last = products.at(-1);
  const differences = products.slice(0, -1).map(({ a, bt }) => ({ a: difference(a, last?.a ?? a), bt: difference(bt, mean.bt) }));
  if (differences.length === 0) return { a: makeMatrix(0, mean.a.cols), bt: makeMatrix(0, mean.bt.cols) };
  return stackProducts(differences, shares.slice(0, -1));
}

/** The pair of the means of A and of B, which all have one rank. */
export function meanFactors(products: readonly Product[], shares: readonly number[]): Product {
  const [first] = products;
  const a = makeMatrix(first?.a.rows ?? 0, first?.a.cols ?? 0);
  const bt = makeMatrix(first?.bt.rows ?? 0, first?.bt.cols ?? 0);
  for (const [k, product] of products.entries()) {
    addScaled(a.data, shares[k] ?? 0, product.a.data);
    addScaled(bt.data, shares[k] ?? 0, product.bt.data);
  }
  return { a, bt };
}

/** A sum of products in at most `rankCap` directions, and what the cap lost of it. */
export interface Recompressed {
  readonly product: Product;
  readonly energy: Energy;
}

/** sum + block: side by side while the rows fit the cap, otherwise the nearest product of that rank. Absent: there is no sum yet. */
export function appendProduct(sum: Product | undefined, block: Product, rankCap: number): Recompressed {
  const both = sum === undefined ? block : stackProducts([sum, block], [1, 1]);
  if (both.a.rows <= rankCap) return { product: both, energy: { discarded: 0, total: squaredNorm(both) } };
  const svd = compactSvd(both);
  return { product: bestProduct(svd, Math.min(rankCap, svd.s.length)), energy: truncationEnergy(svd, rankCap) };
}

function difference(left: Matrix, right: Matrix): Matrix {
  return { ...left, data: left.data.map((value, i) => value - (right.data[i] ?? 0)) };
}
