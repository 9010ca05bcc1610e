/**
 * The adapter that a server keeps beside the trained pair, because a quantized base takes nothing in: the running sum of what each
 * round adds to the model, at most `extraRank` in rank. It is a part of the server's state, of every client's training and of every
 * result. Until the cap is reached the blocks of the rounds stand side by side and nothing is lost; then the sum is cut to the
 * nearest product of that rank (compact SVD), and the state says which part of its energy was discarded.
 *
 * What travels: a client that was in the round before has the sum of that time, and gets the round's block, to which it does
 * what the server did, from the same single-precision numbers and so to the same bits. A client that was away gets the whole
 * sum instead, which is never more than the cap; so does everybody when the block is the larger one.
 */
import { appendProduct } from "../../adapter/extra-products.js";
import { layersOf, layoutOfRank, targetModulesOf } from "../../adapter/joined.js";
import type { AdapterLayout } from "../../adapter/layout.js";
import { adapterPairs, readProduct, writeProduct, type AdapterPair } from "../../adapter/pairs.js";
import type { Product } from "../../adapter/product-space.js";
import type { FrozenAdapter } from "../local-trainer.js";
import type { ClientUpdate, CohortMember, NamedState, TrainTask } from "../protocol.js";
import { stateArray, type RoundContext } from "../strategy.js";
import { mapPairs } from "../trained-adapter.js";
import type { ExtraOptions } from "./options.js";

export const EXTRA_DEFAULTS: ExtraOptions = { extraRank: 64 };

/** The state's part before round 1: `extra` and the last round's `block`, each as an adapter of its own rank. */
export const NO_EXTRA: NamedState = {
  arrays: { extra: new Float32Array(0), block: new Float32Array(0) },
  numbers: { extraRank: 0, blockRank: 0, discardedEnergy: 0 },
};

/** The sum as an adapter with the scale of the trained one; none while nothing was added. */
export function extraAdapters(state: NamedState, layout: AdapterLayout): { readonly frozen?: readonly FrozenAdapter[] } {
  const rank = state.numbers["extraRank"] ?? 0;
  if (rank === 0) return {};
  const { loraAlpha } = layoutOfRank(layout, rank);
  return { frozen: [{ rank, loraAlpha, targetModules: targetModulesOf(layout), ...layersOf(layout), weights: stateArray(state, "extra") }] };
}

/** The task with the sum, and what of it this client has to be sent. */
export function withExtra(task: TrainTask, state: NamedState, layout: AdapterLayout): TrainTask {
  const { frozen } = extraAdapters(state, layout);
  if (frozen === undefined) return task;
  const [extra, block] = [stateArray(state, "extra"), stateArray(state, "block")];
  const wasThere = state.numbers[lastRoundName(task.clientId)] === task.round - 1;
  return { ...task, frozenAdapters: frozen, sentFrozen: wasThere && block.length < extra.length ? block : extra };
}

/** The state's next part: the sum with a round's blocks (one per pair, of one rank) added, and who is up to date. */
export function addBlocks(
  state: NamedState,
  blocks: readonly Product[],
  updates: readonly ClientUpdate[],
  { round, layout }: RoundContext,
  rankCap: number,
): NamedState {
  const blockRank = blocks.reduce((most, { a }) => Math.max(most, a.rows), 0);
  const blockLayout = layoutOfRank(layout, blockRank);
  const block = mapPairs(blockLayout, (pair, index, target) => {
    const product = blocks[index];
    if (product !== undefined) writeProduct(target, pair, product);
  });
  const sums = addRounded(state, { layout: blockLayout, weights: block }, layout, rankCap);
  const present = updates.map(({ clientId }) => [lastRoundName(clientId), round] as const);
  return {
    arrays: { extra: sums.weights, block },
    numbers: { ...state.numbers, ...Object.fromEntries(present), extraRank: sums.rank, blockRank, discardedEnergy: sums.discardedEnergy },
  };
}

/** The state's next part as addBlocks makes it, in its sizes: for blocks of that rank. Without `allAnswer` nobody is known to be up to date. */
export function addBlockSizes(
  state: NamedState,
  blockRank: number,
  answered: readonly CohortMember[],
  { round, layout }: RoundContext,
  { rankCap, allAnswer }: { readonly rankCap: number; readonly allAnswer: boolean },
): NamedState {
  const extraRank = Math.min(rankCap, (state.numbers["extraRank"] ?? 0) + blockRank);
  const zeros = (rank: number) => new Float32Array(layoutOfRank(layout, rank).numParameters);
  const present = allAnswer ? answered.map(({ clientId }) => [lastRoundName(clientId), round] as const) : [];
  return {
    arrays: { ...state.arrays, extra: zeros(extraRank), block: zeros(blockRank) },
    numbers: { ...state.numbers, ...Object.fromEntries(present), extraRank, blockRank },
  };
}

/** The measures of a state: which part of the sum's energy the last round lost to the cap. */
export function extraMeasures({ numbers }: NamedState): Readonly<Record<string, number>> {
  return { discarded_energy: numbers["discardedEnergy"] ?? 0 };
}

/** From the numbers as they are sent, so that a client comes to the same sum. */
function addRounded(
  state: NamedState,
  block: { readonly layout: AdapterLayout; readonly weights: Float32Array },
  layout: AdapterLayout,
  rankCap: number,
): { readonly rank: number; readonly weights: Float32Array; readonly discardedEnergy: number } {
  const formerRank = state.numbers["extraRank"] ?? 0;
  const former = stateArray(state, "extra");
  if (block.weights.length === 0) return { rank: formerRank, weights: former, discardedEnergy: 0 };
  const formerPairs = adapterPairs(layoutOfRank(layout, formerRank));
  const formerSum = (pair: AdapterPair | undefined) => (formerRank === 0 || pair === undefined ? undefined : readProduct(former, pair));
  const sums = adapterPairs(block.layout).map((pair, index) =>
    appendProduct(formerSum(formerPairs[index]), readProduct(block.weights, pair), rankCap),
  );
  const rank = sums.reduce((most, { product }) => Math.max(most, product.a.rows), 0);
  const weights = mapPairs(layoutOfRank(layout, rank), (pair, index, target) => {
    const sum = sums[index];
    if (sum !== undefined) writeProduct(target, pair, sum.product);
  });
  const total = sums.reduce((sum, { energy }) => sum + energy.total, 0);
  const discarded = sums.reduce((sum, { energy }) => sum + energy.discarded, 0);
  return { rank, weights, discardedEnergy: total > 0 ? discarded / total : 0 };
}

function lastRoundName(clientId: string): string {
  return `last round of client ${clientId}`;
}
