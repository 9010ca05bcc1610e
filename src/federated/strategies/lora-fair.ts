/**
 * LoRA-FAIR (Bian et al. 2025, "LoRA-FAIR: Federated LoRA Fine-Tuning with Aggregation and Initialization Refinement", section
 * 3): A and B are averaged apart, and the server then moves B so that its product with the mean A comes near the mean M of the
 * products, held to the mean B: B' minimizes |B' A - M|^2 + lambda |B' - B|^2 (equation 8, whose similarity is the Frobenius
 * distance here). The paper takes gradient steps; the minimum has a closed form (zero gradient):
 *   B' = (M A^T + lambda B) (A A^T + lambda I)^-1
 * with M A^T = sum p_k B_k (A_k A^T), so that nothing larger than a factor is made, and r x r systems are solved.
 *
 * Approximate: what of M lies outside of the rows of the mean A is lost. r (d_in + d_out) numbers per weight travel in each
 * direction. Clients of different rank: no, since A and B are averaged number by number.
 */
import { readProduct, writeProduct } from "../../adapter/pairs.js";
import { solvePositiveDefinite } from "../../adapter/decompositions.js";
import { addScaled, multiply, rowProducts, type Matrix } from "../../adapter/matrix.js";
import type { Product } from "../../adapter/product-space.js";
import { addUpdate } from "../../adapter/weights.js";
import { weightedMeanUpdate } from "../aggregators/weighted-mean.js";
import { stateArray, type Strategy } from "../strategy.js";
import { idealProduct, mapPairs, sharedAdapters } from "../trained-adapter.js";
import { createFedAvg } from "./fedavg.js";
import type { FairOptions } from "./options.js";

export const LORA_FAIR_DEFAULTS: FairOptions = { fairLambda: 0.01 };

/** Server state: `adapter`. Clients keep nothing. */
export function createLoraFair({ fairLambda }: FairOptions = LORA_FAIR_DEFAULTS): Strategy {
  return {
    ...createFedAvg(),
    name: "lora-fair",
    aggregate: (state, updates, { layout }) => {
      const global = stateArray(state, "adapter");
      const mean = addUpdate(global, weightedMeanUpdate(updates));
      const adapters = sharedAdapters(global, updates, layout);
      const adapter = mapPairs(layout, (pair, _index, target) => {
        const { a, bt } = readProduct(mean, pair);
        writeProduct(target, pair, { a, bt: refineB(idealProduct(adapters, pair), { a, bt }, fairLambda) });
      });
      return { arrays: { adapter }, numbers: {} };
    },
  };
}

/** B' transposed [rank, d_out], for a target M and a mean pair; lambda > 0. */
export function refineB(target: Product, { a, bt }: Product, lambda: number): Matrix {
  // Transposed throughout: (A A^T + lambda I) B'^T = A M^T + lambda B^T.
  const system = rowProducts(a, a);
  for (let i = 0; i < a.rows; i++) system.data[i * a.rows + i] = (system.data[i * a.rows + i] ?? 0) + lambda;
  const right = multiply(rowProducts(a, target.a), target.bt);
  addScaled(right.data, lambda, bt.data);
  return solvePositiveDefinite(system, right);
}
