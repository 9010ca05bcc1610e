/**
 * Runs the suite of strategies for each one of the registry, and for the textbook form of those that have one. The
 * adaptive methods scale every coordinate of a change, so with them even a sole client does not train as if alone.
 */
import { expect, test } from "vitest";
import { STRATEGY_NAMES } from "../../src/federated/strategies/registry.js";
import { describeStrategy, type StrategyCase } from "./strategy.case.js";

const CASES: readonly (readonly [name: string, strategyCase: StrategyCase])[] = [
  ["local", { equalsLocalWith: {} }],
  ["fedavg", { equalsLocalWith: {} }],
  ["fedprox", { equalsLocalWith: { proximalMu: 0 } }],
  ["scaffold", { equalsLocalWith: {} }],
  ["fedavgm", { equalsLocalWith: { beta1: 0 } }],
  ["fedavgm", { options: { reference: "textbook" }, equalsLocalWith: { reference: "textbook", beta1: 0 } }],
  ["fedadagrad", {}],
  ["fedyogi", {}],
  ["fedyogi", { options: { reference: "textbook" } }],
  ["fedadam", {}],
  ["fedadam", { options: { reference: "textbook" } }],
  ["centralized", { equalsLocalWith: {} }],
];

test("every registered strategy goes through the suite", () => {
  expect(new Set(CASES.map(([name]) => name))).toEqual(new Set(STRATEGY_NAMES));
});

for (const [name, strategyCase] of CASES) describeStrategy(name, strategyCase);
