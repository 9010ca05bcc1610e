/**
 * FedEx-LoRA (Singhal et al. 2025, "FedEx-LoRA: Exact Aggregation for Federated and Efficient Fine-Tuning of Large Language Models",
 * equations 5 and 6): A and B are averaged apart as in FedAvg, and what that is off by, the residual sum p_k B_k A_k - B A, is added
 * to the model. The paper adds it to the weight W; here it joins the extra adapter beside the pair (extra-adapter.ts), which is
 * frozen for the clients, so a quantized base stays as it is.
 *
 * Exact, to rounding, while the residuals' ranks, (K - 1) r a round, fit `extraRank`; from then on up to the discarded energy, which
 * each round records. The extra adapter and the pair together are at most as high in rank as the smallest adapted weight, so that
 * they can be joined to one file. r (d_in + d_out) numbers per weight go up; down go the pair and the residual of (K - 1) r, or
 * the extra adapter. Clients of different rank: no, since A and B are averaged number by number.
 */
import { meanResidual } from "../../adapter/extra-products.js";
import { highestRank } from "../../adapter/joined.js";
import type { AdapterLayout } from "../../adapter/layout.js";
import { adapterPairs, readProduct } from "../../adapter/pairs.js";
import { stateArray, type Strategy } from "../strategy.js";
import { sharedAdapters } from "../trained-adapter.js";
import { addBlocks, addBlockSizes, extraAdapters, EXTRA_DEFAULTS, extraMeasures, NO_EXTRA, withExtra } from "./extra-adapter.js";
import { createFedAvg } from "./fedavg.js";
import type { ExtraOptions } from "./options.js";

/** Server state: `adapter`, and that of extra-adapter.ts. Clients keep the extra adapter. */
export function createFedExLora({ extraRank }: ExtraOptions = EXTRA_DEFAULTS): Strategy {
  const fedAvg = createFedAvg();
  return {
    ...fedAvg,
    name: "fedex-lora",
    keepsFrozen: true,
    init: (weights) => ({ arrays: { ...NO_EXTRA.arrays, adapter: weights }, numbers: NO_EXTRA.numbers }),
    configure: (state, cohort, context) =>
      fedAvg.configure(state, cohort, context).map((task) => withExtra(task, state, context.layout)),
    aggregate: (state, updates, context) => {
      const { layout } = context;
      const mean = fedAvg.aggregate(state, updates, context);
      const adapters = sharedAdapters(stateArray(state, "adapter"), updates, layout);
      const shares = adapters.map(({ share }) => share);
      const residuals = adapterPairs(layout).map((pair) => meanResidual(adapters.map(({ weights }) => readProduct(weights, pair)), shares));
      const next = addBlocks(state, residuals, updates, context, rankCap(extraRank, layout));
      return { arrays: { ...next.arrays, ...mean.arrays }, numbers: next.numbers };
    },
    sizesAfter: (state, answered, context, allAnswer) => {
      const { layout, plan } = context;
      const blockRank = Math.max(0, Math.min(answered.length, plan.clientsPerRound) - 1) * layout.rank;
      return addBlockSizes(state, blockRank, answered, context, { rankCap: rankCap(extraRank, layout), allAnswer });
    },
    adapters: ({ server }, layout) => ({ kind: "global", weights: stateArray(server, "adapter"), ...extraAdapters(server, layout) }),
    measures: extraMeasures,
  };
}

/** The pair and the extra adapter fit into one file. */
function rankCap(extraRank: number, layout: AdapterLayout): number {
  return Math.min(extraRank, highestRank(layout) - layout.rank);
}
