/** The strategies of an experiment's arms and their options: loaded, merged from the common ones, checked, made. */
import { problemError } from "../errors.js";
import { checkGroupable } from "../federated/groups.js";
import type { StrategyOptions } from "../federated/strategies/options.js";
import { knownOptions, resolveOptions, type StrategySource } from "../federated/strategies/registry.js";
import type { Strategy } from "../federated/strategy.js";
import { checkLinksConfig } from "./links.js";
import type { ArmConfig, ParsedExperiment } from "./schema.js";
import { loadStrategy, strategyLabel } from "./strategy-file.js";

/** By reference, as arms name them. */
export type StrategySources = ReadonlyMap<string, StrategySource>;

/** What an arm says about its strategy before the common options are merged in. */
export interface ArmStrategyInput {
  readonly strategy: string;
  readonly strategyOptions?: StrategyOptions | undefined;
}

/** Loads each strategy once. Throws CONFIG_INVALID as loadStrategy. */
export async function loadStrategies(references: Iterable<string>): Promise<StrategySources> {
  const sources = new Map<string, StrategySource>();
  for (const reference of references) {
    if (!sources.has(reference)) sources.set(reference, await loadStrategy(reference));
  }
  return sources;
}

/** A new strategy object for an arm of a resolved configuration. Throws CONFIG_INVALID as loadStrategy. */
export async function createArmStrategy({ strategy, strategyOptions }: Pick<ArmConfig, "strategy" | "strategyOptions">): Promise<Strategy> {
  return (await loadStrategy(strategy)).create(strategyOptions);
}

/**
 * The common options that the arm's strategy knows, then the arm's own, all of which it must know, then defaults. Throws
 * CONFIG_INVALID; a strategy from a file checks its options by being made once.
 */
export function mergeStrategyOptions(common: StrategyOptions, arm: ArmStrategyInput, name: string, source: StrategySource): StrategyOptions {
  const mine = arm.strategyOptions ?? {};
  const known = knownOptions(source, mine.reference ?? common.reference);
  const inherited = Object.fromEntries(Object.entries(common).filter(([option]) => known.includes(option)));
  const options = resolveOptions(strategyLabel(arm.strategy), source, { ...inherited, ...mine }, ` of arm ${name}`);
  source.create(options);
  return options;
}

/**
 * What an arm's settings cannot be with its strategy, refused before anything is loaded and not in the first round that
 * meets it. Throws CONFIG_INVALID.
 */
export function checkArmStrategy(arm: ArmConfig, strategy: Strategy): void {
  const { training, federation, strategyOptions, lora } = arm;
  if (federation.adapterPerGroup) checkGroupable(strategy);
  checkLinksConfig(arm, strategy);
  const refuse = (subject: string, expected: string, received: string, remedy?: string) =>
    problemError("CONFIG_INVALID", { subject: `${subject} of arm ${arm.name}`, expected, received, ...(remedy === undefined ? {} : { remedy }) });
  if (strategy.keepsFrozen === true && training.dpo?.reference === "start") {
    // What stands beside the trained adapter is a part of every policy with one, and the start adapter is older than it.
    throw refuse("training.dpo.reference", `base or round, because strategy ${strategy.name} keeps adapters beside the trained one`, "start");
  }
  if (strategy.trainsInner === true && training.loraPlusRatio !== 1) {
    throw refuse("training.loraPlusRatio", `1, because strategy ${strategy.name} trains matrices between A and B and neither of them`, String(training.loraPlusRatio));
  }
  const { clientRanks } = strategyOptions;
  const highest = Math.max(0, ...Object.values(clientRanks ?? {}));
  if (highest > lora.rank) {
    throw refuse("strategyOptions.clientRanks", `at most lora.rank (${String(lora.rank)})`, String(highest), "Raise lora.rank to the highest rank of a client");
  }
}

/** Throws CONFIG_INVALID for a strategy that trains at the server where the experiment has no data for it. */
export function checkServerData(arm: string, { name, serverSide }: Strategy, { data, training }: Pick<ParsedExperiment, "data" | "training">): void {
  if (serverSide === undefined) return;
  if (data.serverFile === undefined) {
    const expected = `a file with samples of the server's own, on which strategy ${name} of arm ${arm} trains`;
    throw problemError("CONFIG_INVALID", { subject: "data.serverFile", expected, received: "none" });
  }
  if (training.objective === "sft") return;
  const expected = `sft with strategy ${name} of arm ${arm}, whose server learns from answers`;
  throw problemError("CONFIG_INVALID", { subject: "training.objective", expected, received: training.objective });
}

/** A common option that no arm takes is a slip, not a setting. Throws CONFIG_INVALID. */
export function checkCommonOptions(common: StrategyOptions, arms: readonly ArmConfig[]): void {
  for (const [option, value] of Object.entries(common)) {
    if (arms.some(({ strategyOptions }) => Object.hasOwn(strategyOptions, option))) continue;
    const known = new Map(arms.map((arm) => [strategyLabel(arm.strategy), Object.keys(arm.strategyOptions).join(", ") || "none"]));
    throw problemError("CONFIG_INVALID", {
      subject: `strategyOptions.${option}`,
      expected: `an option of a strategy of this experiment (${[...known].map(([strategy, names]) => `${strategy}: ${names}`).join("; ")})`,
      received: typeof value === "object" ? JSON.stringify(value) : String(value),
    });
  }
}
