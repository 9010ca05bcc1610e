/**
 * FFA-LoRA (Sun et al. 2024, "Improving LoRA in Privacy-preserving Federated Learning", section 4): A stays as it was drawn,
 * the same for all; only B is trained, sent and averaged: B <- B + sum p_k (B_k - B).
 * Exact: sum p_k (B_k A) = (sum p_k B_k) A, to the rounding of B. Every client makes A from the run's seed (or was given it with
 * the start adapter before round 1), so r d_out numbers per weight travel in each direction instead of r (d_in + d_out). Clients of different rank: no, since each would train
 * other columns of B and a mean over all would mix trained and untouched ones.
 */
import { addUpdate } from "../../adapter/weights.js";
import { gatherSlice, scatterSlice, type AdapterSlice } from "../../adapter/slice.js";
import { aggregateMean, byDataSize } from "../aggregators/mean.js";
import { plainTask, stateArray, type Strategy } from "../strategy.js";
import { createFedAvg } from "./fedavg.js";

const B_HALF: AdapterSlice = { half: "b" };

/** Server state: `adapter`, of which A never changes. Clients keep nothing. */
export function createFfaLora(): Strategy {
  return {
    ...createFedAvg(),
    name: "ffa-lora",
    keepsInitial: true,
    configure: (state, cohort, context) => {
      const known = stateArray(state, "adapter");
      const weights = gatherSlice(known, context.layout, B_HALF);
      return cohort.map((member) => ({
        ...plainTask(member, weights, context),
        slice: B_HALF,
        // Of this only A is used: what every client has before round 1.
        known,
        trainable: "b",
        answerSlice: B_HALF,
      }));
    },
    aggregate: aggregateMean(byDataSize, (state, mean, { layout }) => {
      const adapter = stateArray(state, "adapter");
      const b = addUpdate(gatherSlice(adapter, layout, B_HALF), mean);
      return { arrays: { adapter: scatterSlice(adapter, layout, B_HALF, b) }, numbers: {} };
    }),
  };
}
