/**
 * FLoRIST (Ramesh and Dass 2025, "FLoRIST: Singular Value Thresholding for Efficient and Accurate Federated Fine-Tuning of Large
 * Language Models", section 3): the server forms M = sum p_k B_k A_k as FlexLoRA does and keeps, for each weight of the model,
 * the smallest rank p whose singular values hold the part `energy` of the sum of all squares; that pair is sent to all.
 *
 * Exact up to the discarded energy, which each round records: at most 1 - energy, unless p would be above the adapter's rank.
 * p (d_in + d_out) numbers per weight go down and come back, at most r_k (d_in + d_out) for a client of rank r_k (`clientRanks`).
 */
import { rankOfEnergy, type CompactSvd } from "../../adapter/product-space.js";
import { adapterPairs, type AdapterPair } from "../../adapter/pairs.js";
import { gatherSlice, type AdapterSlice } from "../../adapter/slice.js";
import { rankOfClient } from "../client-ranks.js";
import type { NamedState } from "../protocol.js";
import { plainTask, stateArray, type RoundContext, type Strategy } from "../strategy.js";
import { sharedAdapters } from "../trained-adapter.js";
import { createFlexLora, rankName, redistribute } from "./flexlora.js";
import type { EnergyOptions } from "./options.js";

export const FLORIST_DEFAULTS: EnergyOptions = { clientRanks: [], energy: 0.99 };

/** Server state: as FlexLoRA's, and the rank of each pair by its place in the layout. */
export function createFlorist({ clientRanks, energy }: EnergyOptions = FLORIST_DEFAULTS): Strategy {
  // A pair without any energy keeps one direction, so that it can be trained.
  const chooseRank = (svd: CompactSvd, pair: AdapterPair): number => Math.max(1, rankOfEnergy(svd, energy, pair.rank));
  return {
    ...createFlexLora({ clientRanks }),
    name: "florist",
    changesBasis: true,
    sizesVary: true,
    configure: (state, cohort, context) => {
      const adapter = stateArray(state, "adapter");
      return cohort.map((member) => {
        const slice = sliceOf(state, rankOfClient(member.clientId, clientRanks, context.layout), context);
        return { ...plainTask(member, gatherSlice(adapter, context.layout, slice), context), slice, answerSlice: slice };
      });
    },
    aggregate: (state, updates, { layout }) =>
      redistribute(state, sharedAdapters(stateArray(state, "adapter"), updates, layout), layout, chooseRank),
  };
}

function sliceOf({ numbers }: NamedState, rank: number, { layout }: RoundContext): AdapterSlice {
  return { half: "both", ranks: adapterPairs(layout).map((pair, index) => Math.min(rank, numbers[rankName(index)] ?? pair.rank)) };
}
