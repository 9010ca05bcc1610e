import { expect, test } from "vitest";
import { createStrategy, resolveStrategyOptions, STRATEGY_NAMES } from "../../../../src/federated/strategies/registry.js";

/** As FedLLM-Bench spells them on its command line, without its private variant. */
const BENCHMARK_NAMES = ["local", "fedavg", "fedprox", "scaffold", "fedavgm", "fedadagrad", "fedyogi", "fedadam"];

const LORA_NAMES = ["ffa-lora", "rolora", "fedsa-lora", "flexlora", "florist", "hetlora", "lora-fair", "fedsvd"];

test("every name gives the strategy of that name", () => {
  expect(STRATEGY_NAMES).toEqual(expect.arrayContaining([...BENCHMARK_NAMES, ...LORA_NAMES, "centralized"]));
  expect(STRATEGY_NAMES.map((name) => createStrategy(name).name)).toEqual(STRATEGY_NAMES);
});

test("all eight baselines can be chosen by name, FedAdagrad too, which a misspelt name kept out of OpenFedLLM", () => {
  for (const name of BENCHMARK_NAMES) expect(createStrategy(name).name).toBe(name);
});

test("an unknown name is a CONFIG_INVALID that lists the known ones", () => {
  expect(() => createStrategy("fedavgg")).toThrow(
    `strategy: expected one of ${STRATEGY_NAMES.join(", ")}, received "fedavgg"`,
  );
});

test("the defaults are FedLLM-Bench's, and for its missing methods the papers' or stated", () => {
  const adaptive = { reference: "fedllm-bench", serverLearningRate: 1e-3, tau: 1e-3, beta1: 0.5, beta2: 0.99 };
  expect([...BENCHMARK_NAMES, ...LORA_NAMES, "centralized"].map((name) => [name, resolveStrategyOptions(name, {})])).toEqual([
    ["local", {}],
    ["fedavg", {}],
    ["fedprox", { proximalMu: 0.01 }],
    ["scaffold", {}],
    ["fedavgm", { reference: "fedllm-bench", beta1: 0.5 }],
    ["fedadagrad", { serverLearningRate: 1e-3, tau: 1e-3 }],
    ["fedyogi", adaptive],
    ["fedadam", adaptive],
    ["ffa-lora", {}],
    ["rolora", {}],
    ["fedsa-lora", {}],
    ["flexlora", { clientRanks: [] }],
    ["florist", { clientRanks: [], energy: 0.99 }],
    ["hetlora", { clientRanks: [], pruneFactor: 0.9, pruneLambda: 0.001 }],
    ["lora-fair", { fairLambda: 0.01 }],
    ["fedsvd", {}],
    ["centralized", {}],
  ]);
});

test("options replace defaults, also by 0, and what is undefined does not", () => {
  expect(resolveStrategyOptions("fedprox", { proximalMu: 0 })).toEqual({ proximalMu: 0 });
  expect(resolveStrategyOptions("fedprox", { proximalMu: undefined })).toEqual({ proximalMu: 0.01 });
  const textbook = { reference: "textbook", serverLearningRate: 0.5 } as const;
  expect(resolveStrategyOptions("fedavgm", textbook)).toEqual({ ...textbook, beta1: 0.5 });
});

test("an option the strategy does not know is refused with the strategy and the options it knows", () => {
  expect(() => createStrategy("fedprox", { beta1: 0.9 })).toThrow(
    "strategyOptions.beta1: expected an option of strategy fedprox (proximalMu), received 0.9",
  );
  expect(() => createStrategy("scaffold", { tau: 1 })).toThrow("expected no options: strategy scaffold has none, received 1");
  expect(() => createStrategy("fedavgm", { serverLearningRate: 0.1 })).toThrow(
    "expected an option of strategy fedavgm (reference, beta1), received 0.1. It belongs to the form reference: textbook",
  );
});

test.each(["fedavg", "ffa-lora", "rolora", "fedsa-lora", "lora-fair", "fedsvd"])(
  "%s refuses clients of different rank and names the methods that take them",
  (name) => {
    expect(() => createStrategy(name, { clientRanks: [1, 2] })).toThrow(
      "Clients of different rank need a method that pads or decomposes: flexlora, florist, hetlora",
    );
  },
);

test.each([
  ["flexlora", { clientRanks: [0] }, "strategyOptions.clientRanks"],
  ["flexlora", { clientRanks: { ana: 1.5 } }, "strategyOptions.clientRanks"],
  ["florist", { energy: 0 }, "strategyOptions.energy: expected a value within bounds"],
  ["florist", { energy: 1.1 }, "strategyOptions.energy: expected a value within bounds"],
  ["hetlora", { pruneFactor: 0 }, "strategyOptions.pruneFactor: expected a value within bounds"],
  ["hetlora", { pruneLambda: -1 }, "strategyOptions.pruneLambda: expected a value within bounds"],
  ["lora-fair", { fairLambda: 0 }, "strategyOptions.fairLambda: expected a value within bounds"],
  ["fedprox", { proximalMu: -0.1 }, "strategyOptions.proximalMu: expected a value within bounds"],
  ["fedprox", { proximalMu: Number.NaN }, "strategyOptions.proximalMu: expected a value within bounds"],
  ["fedadam", { beta2: 1 }, "strategyOptions.beta2: expected a value within bounds"],
  ["fedadam", { tau: 0 }, "strategyOptions.tau: expected a value within bounds"],
  ["fedyogi", { serverLearningRate: 0 }, "strategyOptions.serverLearningRate: expected a value within bounds"],
])("a value out of bounds is refused: %s %j", (name, options, message) => {
  expect(() => createStrategy(name, options)).toThrow(message);
});
