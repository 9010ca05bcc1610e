/**
 * Products that stay beside the trained pair, because a read-only quantized base cannot take them in: what FedEx-LoRA and FLoRA
 * add to the model after a round, as factors, and their running sum, recompressed to a rank cap with the energy that was lost.
 *   FLoRA (Wang et al. 2024, section 3): the stack of all clients' factors, sum p_k B_k A_k; the pair then starts anew
 *   FedEx-LoRA (Singhal et al. 2025, equation 6): the residual sum p_k B_k A_k - B A of the means A and B, which the pair keeps
 * Scales: all factors have the common loraAlpha / rank outside, so it must be applied to the extra product as to the pair.
 * Without a place beside the pair both methods fold everything into one pair of its rank, and then they are FlexLoRA.
 */
import { addScaled, makeMatrix, type Matrix } from "./matrix.js";
import { bestProduct, compactSvd, stackProducts, truncationEnergy, type Energy, type Product } from "./product-space.js";

/**
 * FedEx-LoRA's residual as factors: sum p_k (B_k - B)(A_k - A), which equals sum p_k B_k A_k - B A because the differences
 * from the means sum to zero. Its rank is at most (K - 1) r; the stack has K r rows. Shares sum to 1.
 */
export function meanResidual(products: readonly Product[], shares: readonly number[]): Product {
  const mean = meanFactors(products, shares);
  return stackProducts(
    products.map(({ a, bt }) => ({ a: difference(a, mean.a), bt: difference(bt, mean.bt) })),
    shares,
  );
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

/** sum + block, cut to the cap; exact, to rounding, while the rank of the sum fits. Absent: there is no sum yet. */
export function appendProduct(sum: Product | undefined, block: Product, rankCap: number): Recompressed {
  const both = sum === undefined ? block : stackProducts([sum, block], [1, 1]);
  const svd = compactSvd(both);
  return { product: bestProduct(svd, Math.min(rankCap, svd.s.length)), energy: truncationEnergy(svd, rankCap) };
}

function difference(left: Matrix, right: Matrix): Matrix {
  return { ...left, data: left.data.map((value, i) => value - (right.data[i] ?? 0)) };
}
