/**
 * FedSA-LoRA (Guo et al. 2025, "Selective Aggregation for Low-Rank Adaptation in Federated Learning", section 3): clients
 * train both halves; A is sent and averaged, A <- A + sum p_k (A_k - A), and B never leaves its client.
 * The mean of A is exact. There is no adapter for all: client k has the product B_k A, and each client's is evaluated and
 * saved. r d_in numbers per weight travel in each direction; a client's first start (A and B) comes from the run's seed
 * or the start adapter, which all have before round 1.
 * A client that was never drawn has no B and no adapter. Clients of different rank: no, since rows of A of lower ranks would be
 * averaged with rows that others never trained.
 */
import { addUpdate } from "../../adapter/weights.js";
import { gatherSlice, scatterSlice, type AdapterSlice } from "../../adapter/slice.js";
import { aggregateMean, byDataSize } from "../aggregators/mean.js";
import { plainTask, stateArray, type Strategy } from "../strategy.js";
import { createFedAvg } from "./fedavg.js";

const A_HALF: AdapterSlice = { half: "a" };
const B_HALF: AdapterSlice = { half: "b" };

/** Server state: `adapter`, whose B stays the initial one. Client state: `b`, its own half. */
export function createFedSaLora(): Strategy {
  return {
    ...createFedAvg(),
    name: "fedsa-lora",
    keepsInitial: true,
    clientSide: {
      begin: (task, ownState, layout) => {
        const { known } = task;
        if (ownState === undefined || known === undefined) return task;
        return { ...task, known: scatterSlice(known, layout, B_HALF, stateArray(ownState, "b")) };
      },
      finish: (_task, { trainedWeights, layout }) => ({
        nextState: { arrays: { b: gatherSlice(trainedWeights, layout, B_HALF) }, numbers: {} },
      }),
    },
    configure: (state, cohort, context) => {
      const known = stateArray(state, "adapter");
      const weights = gatherSlice(known, context.layout, A_HALF);
      return cohort.map((member) => ({ ...plainTask(member, weights, context), slice: A_HALF, known, answerSlice: A_HALF }));
    },
    aggregate: aggregateMean(byDataSize, (state, mean, { layout }) => {
      const adapter = stateArray(state, "adapter");
      const a = addUpdate(gatherSlice(adapter, layout, A_HALF), mean);
      return { arrays: { adapter: scatterSlice(adapter, layout, A_HALF, a) }, numbers: {} };
    }),
    adapters: ({ server, clients }, layout) => ({
      kind: "perClient",
      weights: new Map(
        [...clients].map(([clientId, state]) => [
          clientId,
          scatterSlice(stateArray(server, "adapter"), layout, B_HALF, stateArray(state, "b")),
        ]),
      ),
    }),
  };
}
