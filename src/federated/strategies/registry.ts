/** The only place that knows the strategies by name. */
import { problemError } from "../../errors.js";
import type { Strategy } from "../strategy.js";
import { createCentralized } from "./centralized.js";
import { createFedAvg } from "./fedavg.js";
import { createLocal } from "./local.js";

const STRATEGIES: ReadonlyMap<string, () => Strategy> = new Map([
  ["local", createLocal],
  ["fedavg", createFedAvg],
  ["centralized", createCentralized],
]);

/** All names, in the order in which tables list them. */
export const STRATEGY_NAMES: readonly string[] = [...STRATEGIES.keys()];

/** A new strategy object; throws CONFIG_INVALID for an unknown name and lists the known ones. */
export function createStrategy(name: string): Strategy {
  const create = STRATEGIES.get(name);
  if (create !== undefined) return create();
  throw problemError("CONFIG_INVALID", {
    subject: "strategy",
    expected: `one of ${STRATEGY_NAMES.join(", ")}`,
    received: JSON.stringify(name),
  });
}
