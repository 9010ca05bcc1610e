/**
 * Goal: what FedEx-LoRA and FLoRA leave beside the pair makes their aggregation exact, compared with dense matrices, and a rank
 * cap loses exactly the energy that it reports. Tolerances: double precision at sums of size 10.
 */
import { describe, expect, test } from "vitest";
import { appendProduct, meanFactors, meanResidual } from "../../../src/adapter/extra-products.js";
import { bestProduct, compactSvd, stackProducts, type Product } from "../../../src/adapter/product-space.js";
import { dense, denseDistance, denseNorm, denseSum, makeUniform, randomProduct } from "../../helpers/dense.js";

const TOLERANCE = 1e-12;
const SHARES = [0.5, 0.3, 0.2];
const SEEDS = Array.from({ length: 10 }, (_, seed) => seed);
const cohort = (seed: number): Product[] => {
  const random = makeUniform(seed);
  return SHARES.map(() => randomProduct(3, 12, 10, random));
};
const ideal = (products: readonly Product[]) => denseSum(products.map(dense), SHARES);

describe.each(SEEDS)("seed %i", (seed) => {
  test("the mean pair and its residual together are the mean of the products, of rank (K - 1) r", () => {
    const products = cohort(seed);
    const residual = meanResidual(products, SHARES);
    const mean = meanFactors(products, SHARES);
    expect(denseDistance(denseSum([dense(mean), dense(residual)], [1, 1]), ideal(products))).toBeLessThan(TOLERANCE);
    const { s } = compactSvd(residual);
    expect([...s].filter((value) => value > 1e-12)).toHaveLength(6);
    // Without the residual, the means are off by all of it.
    expect(denseDistance(dense(mean), ideal(products))).toBeCloseTo(denseNorm(dense(residual)), 10);
  });

  test("stacks of several rounds add up, exactly while they fit the cap and then with the energy that is reported", () => {
    const rounds = [0, 1, 2].map((round) => cohort(1000 * seed + round));
    let sum: Product | undefined;
    let exact = ideal(rounds[0] ?? []);
    for (const [round, products] of rounds.entries()) {
      if (round > 0) exact = denseSum([exact, ideal(products)], [1, 1]);
      const { product, energy } = appendProduct(sum, stackProducts(products, SHARES), 10);
      expect(energy.discarded).toBeLessThan(TOLERANCE);
      expect(denseDistance(dense(product), exact)).toBeLessThan(TOLERANCE * 10);
      sum = product;
    }
    if (sum === undefined) throw new Error("there were rounds");
    // The outputs are 10, so is the rank; a cap of 4 loses.
    const { product, energy } = appendProduct(undefined, sum, 4);
    expect(product.a.rows).toBe(4);
    expect(energy.discarded).toBeGreaterThan(0.01);
    expect(denseDistance(dense(product), exact) ** 2 / energy.discarded).toBeCloseTo(1, 8);
  });

  test("folded into one pair both are FlexLoRA: the best product of the pair's rank of the same mean", () => {
    const products = cohort(seed);
    const flora = bestProduct(compactSvd(stackProducts(products, SHARES)), 3);
    const { product } = appendProduct(meanFactors(products, SHARES), meanResidual(products, SHARES), 3);
    expect(denseDistance(dense(product), dense(flora))).toBeLessThan(1e-10);
  });
});

test("identical clients have no residual", () => {
  const [product] = cohort(1);
  if (product === undefined) throw new Error("there is a product");
  expect(denseNorm(dense(meanResidual([product, product, product], SHARES)))).toBeLessThan(TOLERANCE);
});
