/** Aggregation by a mean of the updates, formed one by one: for a method that needs nothing else of a round's updates. */
import { WeightedSum } from "../../adapter/weighted-sum.js";
import type { ClientUpdate, NamedState } from "../protocol.js";
import { oneByOne, type Aggregate, type RoundContext } from "../strategy.js";

/** `next` makes the next state of the last one and sum(weight * update) / sum(weight), in double precision. */
export function aggregateMean(
  weightOf: (update: ClientUpdate) => number,
  next: (state: NamedState, mean: Float64Array, context: RoundContext) => NamedState,
): Aggregate {
  const aggregate = oneByOne((state, context) => {
    const sum = new WeightedSum();
    return {
      add: (update) => {
        sum.add(weightOf(update), update.update);
      },
      finish: () => next(state, sum.mean(), context),
    };
  });
  return Object.assign(aggregate, { fromMean: next });
}

/** Each client counts by the full size of its data. */
export function byDataSize({ numExamples }: ClientUpdate): number {
  return numExamples;
}

/** Each client counts once. */
export function equally(): number {
  return 1;
}
