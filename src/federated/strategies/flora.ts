/**
 * FLoRA (Wang et al. 2024, "FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations", section 3):
 * the server stacks the clients' factors, A = [A_1; ..; A_K] and B = [p_1 B_1, .., p_K B_K], so that B A = sum p_k B_k A_k; the stack is
 * added to the model, and clients begin again with a random A and B = 0. The paper adds it to the weight W; here it joins the
 * extra adapter beside the pair (extra-adapter.ts), which is frozen for the clients, so a quantized base stays as it is.
 *
 * Exact, to rounding, while the stacks, sum r_k a round, fit `extraRank` (at most the smallest dimension of an adapted weight); from
 * then on up to the discarded energy, which each round records. Clients may differ in rank (`clientRanks`), with the common scale
 * loraAlpha / rank. r_k (d_in + d_out) numbers per weight go up; down goes the stack of sum r_k, or the extra adapter. The pair does
 * not travel: round 1 begins with the initial one, which all have, and a later round's A is the initial A with a sign for each
 * number from a hash of the round, which is again uniform and independent of the earlier ones' directions.
 */
import { createHash } from "node:crypto";
import { highestRank } from "../../adapter/joined.js";
import type { AdapterLayout } from "../../adapter/layout.js";
import { adapterPairs, readProduct } from "../../adapter/pairs.js";
import { stackProducts } from "../../adapter/product-space.js";
import { gatherSlice, scatterSlice, uniformRanks, type AdapterSlice } from "../../adapter/slice.js";
import { rankOfClient, sliceOfRank } from "../client-ranks.js";
import { plainTask, stateArray, type Strategy } from "../strategy.js";
import { sharedAdapters } from "../trained-adapter.js";
import { addBlocks, addBlockSizes, extraAdapters, EXTRA_DEFAULTS, extraMeasures, NO_EXTRA, withExtra } from "./extra-adapter.js";
import { createFedAvg } from "./fedavg.js";
import type { StackOptions } from "./options.js";

export const FLORA_DEFAULTS: StackOptions = { ...EXTRA_DEFAULTS, clientRanks: [] };

/** Server state: `adapter`, which the next round begins with, `initial`, and that of extra-adapter.ts. Clients keep the extra adapter. */
export function createFlora({ extraRank, clientRanks }: StackOptions = FLORA_DEFAULTS): Strategy {
  return {
    ...createFedAvg(),
    name: "flora",
    changesBasis: true,
    keepsFrozen: true,
    init: (weights) => ({ arrays: { ...NO_EXTRA.arrays, adapter: weights, initial: weights }, numbers: NO_EXTRA.numbers }),
    configure: (state, cohort, context) => {
      const { layout } = context;
      const adapter = stateArray(state, "adapter");
      return cohort.map((member) => {
        const answerSlice = sliceOfRank(layout, rankOfClient(member.clientId, clientRanks, layout));
        const known = answerSlice === undefined ? adapter : onlySlice(adapter, layout, answerSlice);
        const start = { ...plainTask(member, new Float32Array(0), context), slice: noNumbers(layout), known };
        return withExtra(answerSlice === undefined ? start : { ...start, answerSlice }, state, layout);
      });
    },
    aggregate: (state, updates, context) => {
      const { layout, round } = context;
      const initial = stateArray(state, "initial");
      const adapters = sharedAdapters(stateArray(state, "adapter"), updates, layout);
      const shares = adapters.map(({ share }) => share);
      const stacks = adapterPairs(layout).map((pair) =>
        stackProducts(adapters.map(({ weights, rank }) => readProduct(weights, pair, rank)), shares),
      );
      const next = addBlocks(state, stacks, updates, context, Math.min(extraRank, highestRank(layout)));
      return { arrays: { ...next.arrays, adapter: freshAdapter(initial, layout, round + 1), initial }, numbers: next.numbers };
    },
    sizesAfter: (state, answered, context, allAnswer) => {
      const { layout, plan } = context;
      const ranks = answered.map(({ clientId }) => rankOfClient(clientId, clientRanks, layout)).sort((left, right) => right - left);
      const blockRank = ranks.slice(0, plan.clientsPerRound).reduce((sum, rank) => sum + rank, 0);
      return addBlockSizes(state, blockRank, answered, context, { rankCap: Math.min(extraRank, highestRank(layout)), allAnswer });
    },
    adapters: ({ server }, layout) => ({ kind: "global", weights: stateArray(server, "adapter"), ...extraAdapters(server, layout) }),
    measures: extraMeasures,
  };
}

/** The pair that a round from the second on begins with: signs on the initial A, and a zero B. */
export function freshAdapter(initial: Float32Array, layout: AdapterLayout, round: number): Float32Array {
  const weights = new Float32Array(initial.length);
  for (const { name, a, dIn, rank } of adapterPairs(layout)) {
    let signs: Buffer | undefined;
    for (let i = 0; i < dIn * rank; i++) {
      // A hash has 256 signs.
      if (i % 256 === 0) signs = createHash("sha256").update(JSON.stringify(["flora", round, name, i])).digest();
      const isNegative = (((signs?.[(i % 256) >> 3] ?? 0) >> (i % 8)) & 1) === 1;
      weights[a.offset + i] = (isNegative ? -1 : 1) * (initial[a.offset + i] ?? 0);
    }
  }
  return weights;
}

/** The adapter with everything outside of the slice zero. */
function onlySlice(adapter: Float32Array, layout: AdapterLayout, slice: AdapterSlice): Float32Array {
  return scatterSlice(new Float32Array(layout.numParameters), layout, slice, gatherSlice(adapter, layout, slice));
}

function noNumbers(layout: AdapterLayout): AdapterSlice {
  return { half: "both", ranks: uniformRanks(layout, 0) };
}
