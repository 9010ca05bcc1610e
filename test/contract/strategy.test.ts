/** Runs the suite of strategies for each one of the registry. */
import { STRATEGY_NAMES } from "../../src/federated/strategies/registry.js";
import { describeStrategy } from "./strategy.case.js";

for (const name of STRATEGY_NAMES) describeStrategy(name);
