/**
 * FedDPA (Yang et al. 2024, "Dual-Personalizing Adapter for Federated Foundation Models") with a fixed weight: the server has
 * FedAvg's global adapter w, and beside it each client keeps a local adapter v_k of its own, which never leaves it. A client's model is
 *   W + g s B_w A_w + s B_k A_k
 * with s = loraAlpha / rank and g the option globalWeight, 0.5 by default; the weight 1 - g that the paper gives the local adapter is
 * absorbed in B_k, which starts at 0. In each of its rounds a client trains w as in FedAvg, then v_k on the same samples with the w
 * it got frozen beside it. Server, rounds and bytes are FedAvg's, bit for bit; a client computes twice as much.
 * The paper also weighs the two at inference by how close each input is to the client's training inputs: with similaritySamples
 * clients' adapters are judged so (evaluation/input-weights.ts). A GGUF adapter cannot express it, so a client's file has the fixed
 * weight. v_k starts with the A of the first w that the client gets.
 */
import { gatherSlice, scatterSlice, type AdapterSlice } from "../../adapter/slice.js";
import { layersOf, targetModulesOf } from "../../adapter/joined.js";
import type { AdapterLayout } from "../../adapter/layout.js";
import { problemError } from "../../errors.js";
import { assert } from "../../util/assert.js";
import type { FrozenAdapter } from "../local-trainer.js";
import { stateArray, type Strategy } from "../strategy.js";
import { createFedAvg } from "./fedavg.js";
import type { DualOptions } from "./options.js";

export const FEDDPA_DEFAULTS: DualOptions = { globalWeight: 0.5, similaritySamples: 0 };

const B_HALF: AdapterSlice = { half: "b" };

/**
 * Server state: `adapter`. Client state: `adapter`, its local one, from its first accepted round. Throws CONFIG_INVALID for weights by
 * input without a fixed weight to train the local adapter with.
 */
export function createFedDpa({ globalWeight, similaritySamples }: DualOptions = FEDDPA_DEFAULTS): Strategy {
  if (similaritySamples > 0 && globalWeight === 1) {
    throw problemError("CONFIG_INVALID", { subject: "strategyOptions.globalWeight", expected: "below 1 with similaritySamples", received: "1" });
  }
  const beside = (weights: Float32Array, layout: AdapterLayout): readonly FrozenAdapter[] => [
    { rank: layout.rank, loraAlpha: globalWeight * layout.loraAlpha, targetModules: targetModulesOf(layout), ...layersOf(layout), weights },
  ];
  return {
    ...createFedAvg(),
    name: "feddpa",
    keepsFrozen: true,
    clientSide: {
      begin: (task) => task,
      personalTask: (task, ownState, layout) => ({
        ...task,
        weights: ownState === undefined ? withoutProduct(task.weights, layout) : stateArray(ownState, "adapter"),
        frozenAdapters: beside(task.weights, layout),
      }),
      finish: (_task, { personalWeights }) => {
        assert(personalWeights !== undefined, "a client with a personal task has trained its adapter");
        return { nextState: { arrays: { adapter: personalWeights }, numbers: {} } };
      },
    },
    adapters: ({ server, clients }, layout) => ({
      kind: "perClient",
      shared: { kind: "global", weights: stateArray(server, "adapter") },
      frozen: beside(stateArray(server, "adapter"), layout),
      weights: new Map([...clients].map(([clientId, state]) => [clientId, stateArray(state, "adapter")])),
      ...(similaritySamples === 0 ? {} : { byInput: { numSamples: similaritySamples, globalWeight } }),
    }),
  };
}

/** The same A with B = 0. */
function withoutProduct(weights: Float32Array, layout: AdapterLayout): Float32Array {
  return scatterSlice(weights, layout, B_HALF, new Float32Array(gatherSlice(weights, layout, B_HALF).length));
}
