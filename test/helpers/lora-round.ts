/** One round of a method on random adapters in pairs of several shapes, and the dense matrices it is compared with. */
import type { AdapterLayout } from "../../src/adapter/layout.js";
import { adapterPairs, readProduct } from "../../src/adapter/pairs.js";
import type { Matrix } from "../../src/adapter/matrix.js";
import { sliceLength, type AdapterSlice } from "../../src/adapter/slice.js";
import { makeOptions } from "../../src/contract/federation.js";
import type { ClientUpdate, NamedState, TrainTask } from "../../src/federated/protocol.js";
import type { RoundContext, Strategy } from "../../src/federated/strategy.js";
import { trainedAdapter } from "../../src/federated/trained-adapter.js";
import { makeUpdate } from "./client-update.js";
import { dense, denseSum, makeUniform } from "./dense.js";
import { pairLayout } from "./pair-layout.js";

/** Two layers and an output, of rank 3, with loraAlpha / rank = 2. */
export const loraLayout: AdapterLayout = pairLayout(3, [
  ["blk.0.attn_q.weight", 8, 6],
  ["blk.0.attn_v.weight", 8, 5],
  ["blk.1.attn_q.weight", 7, 9],
]);

/** As an adapter starts: random A, zero B. */
export function initialAdapter(seed = 0): Float32Array {
  const random = makeUniform(seed);
  const weights = Float32Array.from({ length: loraLayout.numParameters }, random);
  for (const { b, rank, dOut } of adapterPairs(loraLayout)) weights.fill(0, b.offset, b.offset + rank * dOut);
  return weights;
}

export function loraContext(round = 1): RoundContext {
  return { round, plan: makeOptions().plan, numClients: SIZES.size, layout: loraLayout };
}

/** Client ids and their data sizes. */
export const SIZES: ReadonlyMap<string, number> = new Map([
  ["ana", 1],
  ["ben", 2],
  ["cem", 5],
]);
export const SHARES = [1 / 8, 2 / 8, 5 / 8];

export interface LoraRound {
  readonly before: NamedState;
  readonly tasks: readonly TrainTask[];
  readonly updates: readonly ClientUpdate[];
  readonly after: NamedState;
  /** What each client had after training. */
  readonly trained: readonly Float32Array[];
}

/** A round in which every client moves what it answers with by random numbers. */
export function runLoraRound(strategy: Strategy, before: NamedState, round = 1, size = 1): LoraRound {
  const context = loraContext(round);
  const members = [...SIZES].map(([clientId, numExamples]) => ({ clientId, numExamples }));
  const tasks = strategy.configure(before, members, context);
  const updates = tasks.map((task, k) => randomAnswer(task, makeUniform(100 * round + k), size));
  const global = before.arrays["adapter"] ?? new Float32Array(0);
  return {
    before,
    tasks,
    updates,
    after: strategy.aggregate(before, updates, context),
    trained: updates.map((update) => trainedAdapter(global, update, loraLayout)),
  };
}

function randomAnswer({ clientId, numExamples, answerSlice }: TrainTask, random: () => number, size: number): ClientUpdate {
  const slice: AdapterSlice = answerSlice ?? { half: "both" };
  const update = makeUpdate(clientId, numExamples, Array.from({ length: sliceLength(loraLayout, slice) }, () => size * random()));
  return answerSlice === undefined ? update : { ...update, slice };
}

/** The dense B A of every pair. */
export function denseProducts(weights: Float32Array): readonly Matrix[] {
  return adapterPairs(loraLayout).map((pair) => dense(readProduct(weights, pair)));
}

/** sum p_k B_k A_k of every pair, computed densely. */
export function denseMeans(trained: readonly Float32Array[], shares: readonly number[] = SHARES): readonly Matrix[] {
  const products = trained.map(denseProducts);
  return adapterPairs(loraLayout).map((_, index) =>
    denseSum(
      products.map((matrices) => {
        const matrix = matrices[index];
        if (matrix === undefined) throw new Error("every adapter has all pairs");
        return matrix;
      }),
      shares,
    ),
  );
}

export function adapterOf(state: NamedState): Float32Array {
  const adapter = state.arrays["adapter"];
  if (adapter === undefined) throw new Error("the server has an adapter");
  return adapter;
}
