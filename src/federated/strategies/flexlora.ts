/**
 * FlexLoRA (Bai et al. 2024, "Federated Fine-tuning of Large Language Models under Heterogeneous Tasks and Client Resources",
 * section 3; HLoRA, Liu et al. 2025, has the same rule at the server): the server forms M = sum p_k B_k A_k and gives each client the best approximation of its rank, the singular
 * values split evenly between the factors. The paper decomposes the dense M; here the stacked factors are decomposed
 * (adapter/product-space.ts), which gives the same singular values without a d_out x d_in matrix. The scale loraAlpha / rank
 * is common to all, so it stays outside, and U sqrt(S) and sqrt(S) V^T multiply to M again.
 *
 * Exact up to the energy beyond the adapter's rank, which each round records: M has up to the sum of the clients' ranks. Clients
 * may differ in rank (`clientRanks`): r_k (d_in + d_out) numbers per weight travel in each direction.
 */
import type { AdapterLayout } from "../../adapter/layout.js";
import { rowOf } from "../../adapter/matrix.js";
import { readProduct, writeProduct, type AdapterPair } from "../../adapter/pairs.js";
import { bestProduct, compactSvd, truncationEnergy, type CompactSvd, type Product } from "../../adapter/product-space.js";
import { gatherSlice } from "../../adapter/slice.js";
import { rankOfClient, sliceOfRank } from "../client-ranks.js";
import type { NamedState } from "../protocol.js";
import { plainTask, stateArray, type Strategy } from "../strategy.js";
import { idealProduct, mapPairs, sharedAdapters, type SharedAdapter } from "../trained-adapter.js";
import { createFedAvg } from "./fedavg.js";
import type { RankOptions } from "./options.js";

export const FLEXLORA_DEFAULTS: RankOptions = { clientRanks: [] };

/** A direction with less than this part of the largest singular value is as good as none. */
const NO_DIRECTION = 1e-10;

/** Server state: `adapter`, singular directions in descending order, and `initial`; `discardedEnergy` of the last round. */
export function createFlexLora({ clientRanks }: RankOptions = FLEXLORA_DEFAULTS): Strategy {
  return {
    ...createFedAvg(),
    name: "flexlora",
    changesBasis: true,
    init: (weights) => ({ arrays: { adapter: weights, initial: weights }, numbers: {} }),
    configure: (state, cohort, context) => {
      const adapter = stateArray(state, "adapter");
      return cohort.map((member) => {
        // The first directions are the best approximation of their number.
        const slice = sliceOfRank(context.layout, rankOfClient(member.clientId, clientRanks, context.layout));
        if (slice === undefined) return plainTask(member, adapter, context);
        return { ...plainTask(member, gatherSlice(adapter, context.layout, slice), context), slice, answerSlice: slice };
      });
    },
    aggregate: (state, updates, { layout }) =>
      redistribute(state, sharedAdapters(stateArray(state, "adapter"), updates, layout), layout),
    measures: ({ numbers }) => ({ discarded_energy: numbers["discardedEnergy"] ?? 0 }),
  };
}

/** The rank that a pair gets of its mean product, at most its own. */
export type ChooseRank = (svd: CompactSvd, pair: AdapterPair) => number;

/**
 * The state with the best approximation of the mean product, by default in the adapter's rank. A direction that the mean does
 * not have would be zero in both factors and never train again; it gets its row of the initial A and a zero column of B instead.
 */
export function redistribute(
  state: NamedState,
  adapters: readonly SharedAdapter[],
  layout: AdapterLayout,
  chooseRank: ChooseRank = (_svd, pair) => pair.rank,
): NamedState {
  const initial = stateArray(state, "initial");
  let [discarded, total] = [0, 0];
  const ranks: Record<string, number> = {};
  const adapter = mapPairs(layout, (pair, index, target) => {
    const svd = compactSvd(idealProduct(adapters, pair));
    const rank = chooseRank(svd, pair);
    const energy = truncationEnergy(svd, rank);
    discarded += energy.discarded;
    total += energy.total;
    if (rank < pair.rank) ranks[rankName(index)] = rank;
    writeProduct(target, pair, withFreshDirections(bestProduct(svd, rank), svd, readProduct(initial, pair)));
  });
  return { arrays: { adapter, initial }, numbers: { ...ranks, discardedEnergy: total > 0 ? discarded / total : 0 } };
}

/** Name of a pair's rank in the state, by its place in the layout. */
export function rankName(index: number): string {
  return `rank of pair ${String(index)}`;
}

function withFreshDirections({ a, bt }: Product, { s }: CompactSvd, initial: Product): Product {
  const least = NO_DIRECTION * (s[0] ?? 0);
  for (let i = 0; i < a.rows; i++) {
    if ((s[i] ?? 0) > least) continue;
    rowOf(a, i).set(rowOf(initial.a, i));
    rowOf(bt, i).fill(0);
  }
  return { a, bt };
}
