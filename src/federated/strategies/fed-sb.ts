/**
 * Fed-SB (Singhal et al. 2025, "Fed-SB: A Silver Bullet for Extreme Communication Efficiency and Performance in (Private) Federated
 * LoRA Fine-Tuning", section 3): y = W x + s B R A x, where A and B are fixed and the same for all, and the square matrix R of each
 * weight is all that is trained, sent and averaged: R <- R + sum p_k (R_k - R).
 * Exact from round 2 on: sum p_k B R_k A = B (sum p_k R_k) A, to the rounding of R. Then r^2 numbers per weight travel in each
 * direction, and r (d_in + d_out) once to each client that does not have A and B yet. Clients of different rank: no, R is one.
 *
 * A and B. The paper takes the singular directions of the gradient of W on some samples. That gradient is never formed here, since W
 * is quantized and only its product with a vector is computed. Instead round 1 is an ordinary round of LoRA: the mean of the clients'
 * products, M = sum p_k B_k A_k, is what a first step gives within the reach of LoRA, and its singular value decomposition (compact,
 * of the stacked factors) gives B = U, R = S and A = V^T in the adapter's rank, so nothing of the rank is lost when training goes on
 * with R. Rows of M are near those of the random initial A, as with the gradient of B alone; U is that of the data. Directions that M
 * does not have are made orthonormal to the others, with a zero in R. The energy beyond the rank, discarded once, is recorded.
 */
import { composeInner, innerLength } from "../../adapter/inner.js";
import { rowBasis } from "../../adapter/decompositions.js";
import type { AdapterLayout } from "../../adapter/layout.js";
import { makeMatrix, rowRange, type Matrix } from "../../adapter/matrix.js";
import { writeProduct } from "../../adapter/pairs.js";
import { compactSvd, truncationEnergy } from "../../adapter/product-space.js";
import { uniformRanks } from "../../adapter/slice.js";
import { addUpdate } from "../../adapter/weights.js";
import { weightedMeanUpdate } from "../aggregators/weighted-mean.js";
import type { ClientUpdate, NamedState } from "../protocol.js";
import { plainTask, stateArray, type Strategy } from "../strategy.js";
import { idealProduct, mapPairs, sharedAdapters } from "../trained-adapter.js";
import { createFedAvg } from "./fedavg.js";

/**
 * Server state: `adapter`, which is A and B R; from round 1 on `outer` (A and B), `inner` (R) and who has the outer factors;
 * `discardedEnergy` of round 1. Clients keep the outer factors.
 */
export function createFedSb(): Strategy {
  return {
    ...createFedAvg(),
    name: "fed-sb",
    trainsInner: true,
    configure: (state, cohort, context) => {
      const { outer, inner } = state.arrays;
      if (outer === undefined || inner === undefined) {
        // All have the initial adapter, so nothing of it is sent.
        const slice = { half: "both", ranks: uniformRanks(context.layout, 0) } as const;
        const known = stateArray(state, "adapter");
        return cohort.map((member) => ({ ...plainTask(member, new Float32Array(0), context), slice, known }));
      }
      return cohort.map((member) => {
        const task = { ...plainTask(member, inner, context), outer };
        return state.numbers[hasOuter(member.clientId)] === 1 ? task : { ...task, sentOuter: outer };
      });
    },
    aggregate: (state, updates, { layout }) => {
      const { outer, inner } = state.arrays;
      if (outer === undefined || inner === undefined) return decompose(state, updates, layout);
      const next = addUpdate(inner, weightedMeanUpdate(updates));
      const present = updates.map(({ clientId }) => [hasOuter(clientId), 1] as const);
      return {
        arrays: { adapter: composeInner(layout, outer, next), outer, inner: next },
        numbers: { ...state.numbers, ...Object.fromEntries(present), discardedEnergy: 0 },
      };
    },
    sizesAfter: (state, answered, { layout }, allAnswer) => {
      const isFirst = state.arrays["outer"] === undefined;
      const present = isFirst || !allAnswer ? [] : answered.map(({ clientId }) => [hasOuter(clientId), 1] as const);
      const sizes = { outer: new Float32Array(layout.numParameters), inner: new Float32Array(innerLength(layout)) };
      return { arrays: { ...state.arrays, ...(isFirst ? sizes : {}) }, numbers: { ...state.numbers, ...Object.fromEntries(present) } };
    },
    measures: ({ numbers }) => ({ discarded_energy: numbers["discardedEnergy"] ?? 0 }),
  };
}

function hasOuter(clientId: string): string {
  return `client ${clientId} has the outer factors`;
}

/** Round 1: the outer factors and the first R from the mean of the products. */
function decompose(state: NamedState, updates: readonly ClientUpdate[], layout: AdapterLayout): NamedState {
  const adapters = sharedAdapters(stateArray(state, "adapter"), updates, layout);
  const inner: number[] = [];
  let [discarded, total] = [0, 0];
  const outer = mapPairs(layout, (pair, _index, target) => {
    const svd = compactSvd(idealProduct(adapters, pair));
    const energy = truncationEnergy(svd, pair.rank);
    discarded += energy.discarded;
    total += energy.total;
    writeProduct(target, pair, { a: orthonormal(svd.v, pair.rank), bt: orthonormal(svd.u, pair.rank) });
    for (let i = 0; i < pair.rank; i++) {
      for (let j = 0; j < pair.rank; j++) inner.push(i === j ? (svd.s[i] ?? 0) : 0);
    }
  });
  const first = Float32Array.from(inner);
  return {
    arrays: { adapter: composeInner(layout, outer, first), outer, inner: first },
    numbers: { discardedEnergy: total > 0 ? discarded / total : 0 },
  };
}

/** The first `rank` rows, which are orthonormal or zero, with orthonormal ones in place of the zeros; a rank is at most a dimension. */
function orthonormal(rows: Matrix, rank: number): Matrix {
  const first = makeMatrix(rank, rows.cols);
  first.data.set(rowRange(rows, 0, Math.min(rank, rows.rows)).data);
  return rowBasis(first).q;
}
