/**
 * FedBiOT (Wu et al. 2024, arXiv 2406.17706): offsite tuning whose emulator is aligned with the model round by round. The server has
 * the model M and data of its own, clients get the emulator, which lacks layers, and train an adapter w on its last layers. A
 * second adapter e on the emulator's other layers belongs to the server. With h_b the emulator's states behind a layer, h*_b the
 * model's behind the layer it was copied from, and p, q the next-token distributions of emulator and model, both with w:
 *   server, before a round, w fixed:  min over e of  hiddenWeight * sum_b ||h_b - h*_b||^2 / ||h*_b||^2
 *                                                    + divergenceWeight * KL(q || p) + (alignMu / 2) |e - e_start|^2
 *   clients, e fixed:                 min over w of  F_k(w, e) + (proximalMu / 2) |w - w_start|^2
 * and the server averages w as FedAvg does. Plain compares only the last b, layerwise each. KL is over the whole vocabulary, at
 * supervised positions. The proximal terms have gradients (in the released code the clients' has none) and compare the factors
 * A and B as they are. Where 27 of 28 released settings switch the divergence off, here it is on.
 *
 * Cost per round and client: w both ways as in FedAvg, and e to the client, once per alignment; the emulator's file is handed out once.
 * Exactness: w is FedAvg's mean of what clients trained; without alignment steps this is FedOT on the last layers, bit for bit.
 */
import { layersOf, layoutOfRank, targetModulesOf } from "../../adapter/joined.js";
import type { AdapterLayout } from "../../adapter/layout.js";
import { layoutBelow } from "../../adapter/other-layers.js";
import { assert } from "../../util/assert.js";
import type { AlignmentResult, AlignmentTask } from "../alignment.js";
import type { FrozenAdapter } from "../local-trainer.js";
import type { NamedState, TrainTask } from "../protocol.js";
import { oneByOne, stateArray, type Aggregate, type RoundContext, type Strategy } from "../strategy.js";
import { createFedProx } from "./fedprox.js";
import type { AlignedOptions } from "./options.js";

export const FEDBIOT_DEFAULTS: AlignedOptions = {
  lastLayers: 2,
  dropRate: 0.5,
  proximalMu: 0.01,
  hiddenLoss: "plain",
  hiddenWeight: 1,
  divergenceWeight: 0.9,
  firstAlignSteps: 500,
  alignSteps: 10,
  alignEvery: 1,
  alignMu: 0,
  alignLearningRate: 5e-4,
  emulatorRank: 16,
};

/**
 * Server state: `adapter`; `emulator`, the other adapter's weights, empty before the first alignment; the round of the last alignment,
 * how far emulator and model were apart in it, and which alignment each client has. Clients keep nothing but the emulator's adapter.
 */
export function createFedBiOt(options: AlignedOptions = FEDBIOT_DEFAULTS): Strategy {
  const fedProx = createFedProx(options);
  const { lastLayers, dropRate } = options;
  return {
    ...fedProx,
    name: "fedbiot",
    emulator: { firstLayers: 0, lastLayers, dropRate },
    serverSide: {
      task: (state, context) => alignmentOf(options, state, context),
      finish: (state, result, { round }) => withAlignment(state, result, round),
    },
    init: (weights) => ({ arrays: { adapter: weights, emulator: new Float32Array(0) }, numbers: { alignedIn: 0 } }),
    configure: (state, cohort, context) =>
      fedProx.configure(state, cohort, context).map((task) => withEmulatorAdapter(task, state, context.layout, options)),
    aggregate: noteClients(fedProx.aggregate),
    sizesAfter: (state, answered, _context, allAnswer) =>
      allAnswer ? withClients(state, answered.map(({ clientId }) => clientId)) : state,
    adapters: ({ server }, layout) => ({
      kind: "global",
      weights: stateArray(server, "adapter"),
      ...(isAligned(server) ? { inEmulator: [emulatorAdapter(server, layout, options)] } : {}),
    }),
    measures: ({ numbers }) => Object.fromEntries(Object.entries(numbers).filter(([name]) => name.startsWith("alignment_"))),
  };
}

/** Long before round 1, short before every `alignEvery`-th later one; with alignEvery 0 the emulator stays as it was in round 1. */
function alignmentOf(options: AlignedOptions, state: NamedState, { round, plan, layout }: RoundContext): AlignmentTask | undefined {
  const { firstAlignSteps, alignSteps, alignEvery } = options;
  const isDue = round === 1 || (alignEvery > 0 && (round - 1) % alignEvery === 0);
  const localSteps = round === 1 ? firstAlignSteps : alignSteps;
  if (!isDue || localSteps === 0) return undefined;
  return {
    adapter: adapterOptions(layout, options),
    ...(isAligned(state) ? { weights: stateArray(state, "emulator") } : {}),
    numWeights: layoutBelow(layout, options.emulatorRank).numParameters,
    globalWeights: stateArray(state, "adapter"),
    hiddenLoss: options.hiddenLoss,
    hiddenWeight: options.hiddenWeight,
    divergenceWeight: options.divergenceWeight,
    proximalMu: options.alignMu,
    localSteps,
    batchSize: plan.batchSize,
    learningRate: options.alignLearningRate,
    sampleSeed: round - 1,
  };
}

function withAlignment(state: NamedState, { weights, first, last }: AlignmentResult, round: number): NamedState {
  return {
    arrays: { ...state.arrays, emulator: weights },
    numbers: {
      ...state.numbers,
      alignedIn: round,
      alignment_hidden_before: first.hidden,
      alignment_hidden: last.hidden,
      alignment_divergence_before: first.divergence,
      alignment_divergence: last.divergence,
    },
  };
}

/** The task on the aligned emulator; its adapter is sent to a client that does not have it from this alignment. */
function withEmulatorAdapter(task: TrainTask, state: NamedState, layout: AdapterLayout, options: AlignedOptions): TrainTask {
  if (!isAligned(state)) return task;
  const adapter = emulatorAdapter(state, layout, options);
  const hasIt = state.numbers[alignmentName(task.clientId)] === state.numbers["alignedIn"];
  return { ...task, frozenAdapters: [adapter], ...(hasIt ? {} : { sentFrozen: adapter.weights }) };
}

function emulatorAdapter(state: NamedState, layout: AdapterLayout, options: AlignedOptions): FrozenAdapter {
  return { ...adapterOptions(layout, options), weights: stateArray(state, "emulator") };
}

/** By the emulator's numbers: all layers below the clients' adapter. */
function adapterOptions(layout: AdapterLayout, { emulatorRank: rank }: AlignedOptions): AlignmentTask["adapter"] {
  const { loraAlpha } = layoutOfRank(layout, rank);
  const { layers = [] } = layersOf(layoutBelow(layout, rank));
  return { rank, loraAlpha, targetModules: targetModulesOf(layout), layers };
}

function isAligned({ numbers }: NamedState): boolean {
  return numbers["alignedIn"] !== 0;
}

/** The inner aggregation, with the rest of the state kept and the clients that answered noted as up to date. */
function noteClients({ start }: Aggregate): Aggregate {
  return oneByOne((state, context) => {
    assert(start !== undefined, "FedProx takes updates one by one");
    const inner = start(state, context);
    const clientIds: string[] = [];
    return {
      add: (update) => {
        clientIds.push(update.clientId);
        inner.add(update);
      },
      finish: () => {
        const { arrays } = inner.finish();
        return withClients({ arrays: { ...state.arrays, ...arrays }, numbers: state.numbers }, clientIds);
      },
    };
  });
}

function withClients(state: NamedState, clientIds: readonly string[]): NamedState {
  if (!isAligned(state)) return state;
  const have = clientIds.map((clientId) => [alignmentName(clientId), state.numbers["alignedIn"] ?? 0] as const);
  return { ...state, numbers: { ...state.numbers, ...Object.fromEntries(have) } };
}

function alignmentName(clientId: string): string {
  return `alignment of client ${clientId}`;
}
