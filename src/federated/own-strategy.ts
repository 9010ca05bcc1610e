/**
 * Strategies that users write: what their file exports, what it is given to work with, and how it becomes a source of
 * strategies like an entry of the registry. Finding and loading the file is src/config/strategy-file.ts.
 */
import { addUpdate, subtractWeights } from "../adapter/weights.js";
import { FedllmError, problemError } from "../errors.js";
import { unweightedMeanUpdate } from "./aggregators/unweighted-mean.js";
import { weightedMeanUpdate } from "./aggregators/weighted-mean.js";
import { createServerOptimizer } from "./server-optimizer.js";
import { createFedAvg } from "./strategies/fedavg.js";
import type { StrategySource } from "./strategies/registry.js";
import { plainTask, stateArray, type Strategy } from "./strategy.js";

/** The parts that the built-in strategies are made of; given to `create`, so that a file need not import anything. */
export interface StrategyToolkit {
  readonly createFedAvg: typeof createFedAvg;
  readonly createServerOptimizer: typeof createServerOptimizer;
  readonly plainTask: typeof plainTask;
  readonly stateArray: typeof stateArray;
  readonly addUpdate: typeof addUpdate;
  readonly subtractWeights: typeof subtractWeights;
  readonly weightedMeanUpdate: typeof weightedMeanUpdate;
  readonly unweightedMeanUpdate: typeof unweightedMeanUpdate;
}

/** The default export of a strategy file. */
export interface StrategyDefinition<Options = undefined> {
  /**
   * Checks `strategyOptions.own` and gives what `create` gets, with defaults filled in; a schema of zod is such a thing. It throws
   * for wrong ones. Absent: the strategy has no options.
   */
  readonly options?: { parse(given: unknown): Options };
  create(options: Options, toolkit: StrategyToolkit): Strategy;
}

const TOOLKIT: StrategyToolkit = {
  createFedAvg,
  createServerOptimizer,
  plainTask,
  stateArray,
  addUpdate,
  subtractWeights,
  weightedMeanUpdate,
  unweightedMeanUpdate,
};

/** A new strategy of a definition, as in a run. Throws CONFIG_INVALID for options or a strategy of the wrong shape. */
export function createOwnStrategy<Options>(definition: StrategyDefinition<Options>, own: Readonly<Record<string, unknown>> = {}): Strategy {
  return ownStrategySource(definition, "the strategy").create({ own });
}

/** What a file exported, as a source of strategies. Throws CONFIG_INVALID when it is no definition; `file` names it in messages. */
export function ownStrategySource(exported: unknown, file: string): StrategySource {
  const definition = checkDefinition(exported, file);
  return {
    defaultsOf: () => ({ own: {} }),
    create: ({ own = {} }) => checkStrategy(definition.create(parseOptions(definition, own, file), TOOLKIT), file),
  };
}

function checkDefinition(exported: unknown, file: string): StrategyDefinition<unknown> {
  const parse = propertyOf(propertyOf(exported, "options"), "parse");
  const hasOptions = propertyOf(exported, "options") !== undefined;
  if (typeof propertyOf(exported, "create") === "function" && (!hasOptions || typeof parse === "function")) {
    return exported as StrategyDefinition<unknown>;
  }
  throw problemError("CONFIG_INVALID", {
    subject: file,
    expected: "a default export { create(options, toolkit), options?: { parse(given) } }",
    received: exported === undefined ? "no default export" : describeShape(exported),
    remedy: "docs/strategies.md shows an example",
  });
}

function parseOptions(definition: StrategyDefinition<unknown>, own: Readonly<Record<string, unknown>>, file: string): unknown {
  if (definition.options === undefined) {
    if (Object.keys(own).length === 0) return undefined;
    throw problemError("CONFIG_INVALID", {
      subject: "strategyOptions.own",
      expected: `no options: ${file} has none`,
      received: JSON.stringify(own),
    });
  }
  try {
    return definition.options.parse(own);
  } catch (error) {
    if (error instanceof FedllmError) throw error;
    const expected = `options that ${file} accepts (${error instanceof Error ? error.message : String(error)})`;
    throw problemError("CONFIG_INVALID", { subject: "strategyOptions.own", expected, received: JSON.stringify(own) }, error);
  }
}

/** Type of each field of a Strategy that must be there. */
const FIELDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  name: (value) => typeof value === "string" && value !== "",
  participants: (value) => value === "clients" || value === "pooled",
  cohort: (value) => value === "sampled" || value === "fixed",
  exchangesWeights: (value) => typeof value === "boolean",
  clientSide: (value) =>
    value === undefined || (isFunction(propertyOf(value, "begin")) && isFunction(propertyOf(value, "finish"))),
  init: isFunction,
  configure: isFunction,
  aggregate: isFunction,
  adapters: isFunction,
};

function checkStrategy(made: unknown, file: string): Strategy {
  const wrong = Object.entries(FIELDS).find(([field, isRight]) => !isRight(propertyOf(made, field)));
  if (wrong === undefined) return checkAsynchronous(made as Strategy, file);
  throw problemError("CONFIG_INVALID", {
    subject: file,
    expected: `create to return a Strategy, with ${Object.keys(FIELDS).join(", ")}`,
    received: `${wrong[0]}: ${describeShape(propertyOf(made, wrong[0]))}`,
    remedy: "Start from toolkit.createFedAvg() and replace what differs",
  });
}

/** Between an asynchronous server's versions nothing of a client is kept, so what its half would remember would be lost. */
function checkAsynchronous(strategy: Strategy, file: string): Strategy {
  if (strategy.asynchronous === undefined || strategy.clientSide === undefined) return strategy;
  throw problemError("CONFIG_INVALID", {
    subject: file,
    expected: "no clientSide where the strategy is asynchronous, since its clients keep nothing",
    received: "asynchronous and clientSide",
  });
}

function isFunction(value: unknown): boolean {
  return typeof value === "function";
}

function propertyOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function describeShape(value: unknown): string {
  if (typeof value === "object" && value !== null) return `an object with ${Object.keys(value).join(", ") || "no fields"}`;
  return typeof value === "string" ? JSON.stringify(value) : value === undefined ? "undefined" : `a ${typeof value}`;
}
