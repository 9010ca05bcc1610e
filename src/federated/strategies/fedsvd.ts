/**
 * FedSVD (Lee et al. 2025, "FedSVD: Adaptive Orthogonalization for Private Federated Learning with LoRA", algorithm 1): a round
 * of FFA-LoRA, then the server refactors the product it has: with the singular value decomposition B A = U S V^T the next A is
 * V^T, with orthonormal rows, and the next B is U S.
 * Exact: the mean of B is (A is fixed within a round), and refactoring keeps the product; both to rounding. r d_out numbers per
 * weight go up, r (d_in + d_out) down, because A is new in each round. Clients of different rank: no, as with FFA-LoRA.
 *
 * A is decomposed as L Q first, so that only the small L^T B^T is rotated, and its rows are kept where a singular value is zero:
 * A stays orthonormal and every direction can be trained.
 */
import { rotateRows, rowBasis } from "../../adapter/decompositions.js";
import { multiply, multiplyTransposed } from "../../adapter/matrix.js";
import { readProduct, writeProduct } from "../../adapter/pairs.js";
import type { Product } from "../../adapter/product-space.js";
import { addUpdate } from "../../adapter/weights.js";
import { gatherSlice, scatterSlice, type AdapterSlice } from "../../adapter/slice.js";
import { aggregateMean, byDataSize } from "../aggregators/mean.js";
import { stateArray, type Strategy } from "../strategy.js";
import { mapPairs } from "../trained-adapter.js";
import { createFedAvg } from "./fedavg.js";

const B_HALF: AdapterSlice = { half: "b" };

/** Server state: `adapter`. Clients keep nothing. */
export function createFedSvd(): Strategy {
  const fedAvg = createFedAvg();
  return {
    ...fedAvg,
    name: "fedsvd",
    changesBasis: true,
    configure: (state, cohort, context) =>
      fedAvg.configure(state, cohort, context).map((task) => ({ ...task, trainable: "b", answerSlice: B_HALF })),
    aggregate: aggregateMean(byDataSize, (state, mean, { layout }) => {
      const adapter = stateArray(state, "adapter");
      const b = addUpdate(gatherSlice(adapter, layout, B_HALF), mean);
      const averaged = scatterSlice(adapter, layout, B_HALF, b);
      const refactored = mapPairs(layout, (pair, _index, target) => {
        writeProduct(target, pair, orthogonalize(readProduct(averaged, pair)));
      });
      return { arrays: { adapter: refactored }, numbers: {} };
    }),
  };
}

/** The same product with orthonormal rows of A and orthogonal columns of B, longest first; the rank is at most d_in. */
export function orthogonalize({ a, bt }: Product): Product {
  const { l, q } = rowBasis(a);
  // B A = (L^T B^T)^T Q, and a rotation of the rows of both factors leaves the product as it is.
  const { rotation, rows } = rotateRows(multiplyTransposed(l, bt));
  return { a: multiply(rotation, q), bt: rows };
}
