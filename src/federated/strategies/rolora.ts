/**
 * RoLoRA (Chen et al. 2024, "Robust Federated Finetuning of Foundation Models via Alternating Minimization of LoRA",
 * algorithm 1): in odd rounds clients train and send B with A fixed, in even rounds A with B fixed; what was trained is
 * averaged. B is first, because B starts at zero and then A has no gradient.
 * Exact in every round: the fixed half is the same at all clients, so the mean of the products is the product with the mean.
 * Up go r d_out or r d_in numbers per weight. Down go both halves: a client that was not drawn in the last rounds has neither.
 * Clients of different rank: no, as with FFA-LoRA.
 */
import { addUpdate } from "../../adapter/weights.js";
import { gatherSlice, scatterSlice, type AdapterSlice } from "../../adapter/slice.js";
import { aggregateMean, byDataSize } from "../aggregators/mean.js";
import { stateArray, type Strategy } from "../strategy.js";
import { createFedAvg } from "./fedavg.js";

/** Server state: `adapter`. Clients keep nothing. */
export function createRoLora(): Strategy {
  const fedAvg = createFedAvg();
  return {
    ...fedAvg,
    name: "rolora",
    configure: (state, cohort, context) => {
      const answerSlice = trainedHalf(context.round);
      return fedAvg.configure(state, cohort, context).map((task) => ({ ...task, trainable: answerSlice.half, answerSlice }));
    },
    aggregate: aggregateMean(byDataSize, (state, mean, { layout, round }) => {
      const adapter = stateArray(state, "adapter");
      const half = trainedHalf(round);
      const next = addUpdate(gatherSlice(adapter, layout, half), mean);
      return { arrays: { adapter: scatterSlice(adapter, layout, half, next) }, numbers: {} };
    }),
  };
}

function trainedHalf(round: number): AdapterSlice {
  return { half: round % 2 === 1 ? "b" : "a" };
}
