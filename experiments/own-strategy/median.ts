/**
 * A strategy of one's own: FedAvg whose server takes the median of the clients' weights instead of their mean, one
 * coordinate at a time (Yin et al. 2018), and moves towards it by a rate. Try it:
 *   npx fedllm-native run --strategy ./median.ts --set strategyOptions.own.rate=0.5
 */
import type { StrategyDefinition } from "fedllm-native";

const median: StrategyDefinition<{ readonly rate: number }> = {
  options: {
    parse(given) {
      const { rate = 1 } = given as { rate?: unknown };
      if (typeof rate === "number" && rate > 0) return { rate };
      throw new Error("rate: a number above 0");
    },
  },
  create: ({ rate }, { createFedAvg, stateArray, addUpdate }) => ({
    ...createFedAvg(),
    name: "median",
    aggregate: (state, updates) => {
      const weights = stateArray(state, "adapter");
      const change = Float64Array.from(weights, (_, i) => rate * middle(updates.map(({ update }) => update[i] ?? 0)));
      return { arrays: { adapter: addUpdate(weights, change) }, numbers: {} };
    },
  }),
};

export default median;

function middle(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[half] ?? 0) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2;
}
