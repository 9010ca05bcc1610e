import { expect, test } from "vitest";
import { createStrategy, STRATEGY_NAMES } from "../../../../src/federated/strategies/registry.js";

test("every name gives the strategy of that name", () => {
  expect(STRATEGY_NAMES).toEqual(["local", "fedavg", "centralized"]);
  expect(STRATEGY_NAMES.map((name) => createStrategy(name).name)).toEqual(STRATEGY_NAMES);
});

test("an unknown name is a CONFIG_INVALID that lists the known ones", () => {
  expect(() => createStrategy("fedavgg")).toThrow(
    'strategy: expected one of local, fedavg, centralized, received "fedavgg"',
  );
});
