/**
 * HetLoRA (Cho et al. 2024, "Heterogeneous LoRA for Federated Fine-tuning of On-Device Foundation Models", section 3): clients
 * have ranks of their own (`clientRanks`).
 *   down: the first r_k rows of A and columns of B (truncation)
 *   up, sparsity-weighted: A <- sum q_k A_k, B <- sum q_k B_k with lower ranks padded by zeros, q_k = S_k / sum S_j and
 *     S_k = ||B_k A_k||_F over all weights of the model, by the Gram identity
 *   at the client, rank self-pruning: with the tail being the directions from floor(pruneFactor r_k) on, the loss gets
 *     pruneLambda ||B tail|| ||A tail||; when that product of norms, summed over weights, ends below where it began, the client
 *     cuts its rank to floor(pruneFactor r_k), at least 1, and answers in the new rank.
 * The penalty's gradient is taken where the round starts and applied beside the optimizer's step, as AdamW does with weight
 * decay; the paper differentiates it in every step.
 *
 * Not exact: factors are averaged apart, and zeros dilute the higher directions. r_k (d_in + d_out) numbers per weight travel in
 * each direction.
 */
import { adapterPairs, readProduct, writeProduct } from "../../adapter/pairs.js";
import { dot, rowRange, type Matrix } from "../../adapter/matrix.js";
import { squaredNorm } from "../../adapter/product-space.js";
import type { AdapterLayout } from "../../adapter/layout.js";
import { gatherSlice, scatterSlice, uniformRanks, type AdapterSlice } from "../../adapter/slice.js";
import { WeightedSum } from "../../adapter/weighted-sum.js";
import { assert } from "../../util/assert.js";
import { rankOfClient } from "../client-ranks.js";
import type { TrainTask } from "../protocol.js";
import { oneByOne, plainTask, stateArray, type ClientSide, type Strategy } from "../strategy.js";
import { trainedAdapter } from "../trained-adapter.js";
import { createFedAvg } from "./fedavg.js";
import type { PruningOptions } from "./options.js";

export const HETLORA_DEFAULTS: PruningOptions = { clientRanks: [], pruneFactor: 0.9, pruneLambda: 0.001 };

/** Server state: `adapter`, and the rank of each client that pruned its own. Clients keep nothing. */
export function createHetLora(options: PruningOptions = HETLORA_DEFAULTS): Strategy {
  return {
    ...createFedAvg(),
    name: "hetlora",
    changesBasis: true,
    sizesVary: options.pruneFactor < 1,
    clientSide: makeClientSide(options),
    configure: (state, cohort, context) =>
      cohort.map((member) => {
        const { layout } = context;
        const rank = state.numbers[rankName(member.clientId)] ?? rankOfClient(member.clientId, options.clientRanks, layout);
        const slice: AdapterSlice = { half: "both", ranks: uniformRanks(layout, rank) };
        const weights = gatherSlice(stateArray(state, "adapter"), layout, slice);
        return { ...plainTask(member, weights, context), slice, answerSlice: slice };
      }),
    aggregate: oneByOne((state, { layout }) => {
      const global = stateArray(state, "adapter");
      const sum = new WeightedSum();
      const numbers: Record<string, number> = { ...state.numbers };
      let total = 0;
      return {
        add: (update) => {
          const trained = trainedAdapter(global, update, layout);
          const norm = adapterNorm(trained, layout);
          total += norm;
          sum.add(norm, trained);
          const rank = Math.max(...(update.slice?.ranks ?? [layout.rank]));
          if (rank < rankOfClient(update.clientId, options.clientRanks, layout)) numbers[rankName(update.clientId)] = rank;
        },
        // Where nobody learned anything all weights are zero, and the adapter stays.
        finish: () => ({ arrays: { adapter: total === 0 ? global : Float32Array.from(sum.mean()) }, numbers }),
      };
    }),
    clientWeight: (update, state, { layout }) => adapterNorm(trainedAdapter(stateArray(state, "adapter"), update, layout), layout),
  };
}

function rankName(clientId: string): string {
  return `rank of client ${clientId}`;
}

function adapterNorm(weights: Float32Array, layout: AdapterLayout): number {
  return Math.sqrt(adapterPairs(layout).reduce((sum, pair) => sum + squaredNorm(readProduct(weights, pair)), 0));
}

function makeClientSide({ pruneFactor, pruneLambda }: PruningOptions): ClientSide {
  return {
    begin: (task, _ownState, layout) => {
      const rank = rankOfTask(task);
      const start = prunedRank(rank, pruneFactor);
      if (pruneLambda === 0 || start === rank) return task;
      return { ...task, gradientOffset: penaltyGradient(startOf(task, layout), layout, { start, end: rank }, pruneLambda) };
    },
    finish: (task, { startWeights, trainedWeights, layout }) => {
      const rank = rankOfTask(task);
      const start = prunedRank(rank, pruneFactor);
      const range = { start, end: rank };
      const prunes = start < rank && tailNorm(trainedWeights, layout, range) < tailNorm(startWeights, layout, range);
      return prunes ? { answerSlice: { half: "both", ranks: uniformRanks(layout, start) } } : {};
    },
  };
}

/** The tail of a pair's directions. */
interface Tail {
  readonly start: number;
  /** One after the last. */
  readonly end: number;
}

function rankOfTask({ slice }: TrainTask): number {
  assert(slice?.ranks !== undefined, "a task of HetLoRA has ranks");
  return Math.max(...slice.ranks);
}

function prunedRank(rank: number, factor: number): number {
  return Math.max(1, Math.floor(factor * rank));
}

function startOf({ weights, slice }: TrainTask, layout: AdapterLayout): Float32Array {
  assert(slice !== undefined, "a task of HetLoRA has a slice");
  return scatterSlice(new Float32Array(layout.numParameters), layout, slice, weights);
}

/** Sum over pairs of ||B tail|| ||A tail||. */
function tailNorm(weights: Float32Array, layout: AdapterLayout, tail: Tail): number {
  return adapterPairs(layout).reduce((sum, pair) => {
    const { a, bt } = readProduct(weights, pair);
    return sum + norm(tailOf(a, tail)) * norm(tailOf(bt, tail));
  }, 0);
}

/** lambda d(sum of ||B tail|| ||A tail||) / dw; zero where one of the norms is. */
export function penaltyGradient(weights: Float32Array, layout: AdapterLayout, tail: Tail, lambda: number): Float32Array {
  const gradient = new Float32Array(layout.numParameters);
  for (const pair of adapterPairs(layout)) {
    const { a, bt } = readProduct(weights, pair);
    const [normA, normB] = [norm(tailOf(a, tail)), norm(tailOf(bt, tail))];
    if (normA === 0 || normB === 0) continue;
    const slope = (matrix: Matrix, own: number, other: number): Matrix => ({
      ...matrix,
      data: matrix.data.map((value, i) => (isInTail(i, matrix, tail) ? (lambda * other * value) / own : 0)),
    });
    writeProduct(gradient, pair, { a: slope(a, normA, normB), bt: slope(bt, normB, normA) });
  }
  return gradient;
}

function tailOf(matrix: Matrix, { start, end }: Tail): Matrix {
  return rowRange(matrix, Math.min(start, matrix.rows), Math.min(end, matrix.rows));
}

function isInTail(index: number, { cols }: Matrix, { start, end }: Tail): boolean {
  return index >= start * cols && index < end * cols;
}

function norm({ data }: Matrix): number {
  return Math.sqrt(dot(data, data));
}
