/** The only place that knows the strategies by name, and which options each of them knows. */
import { problemError } from "../../errors.js";
import type { Strategy } from "../strategy.js";
import { createCentralized } from "./centralized.js";
import { createDitto, DITTO_DEFAULTS } from "./ditto.js";
import { createFedAdagrad, FEDADAGRAD_DEFAULTS } from "./fedadagrad.js";
import { createFedAdam, fedAdamDefaults } from "./fedadam.js";
import { createFedAsync, FEDASYNC_DEFAULTS } from "./fedasync.js";
import { createFedAvg } from "./fedavg.js";
import { createFedAvgM, fedAvgMDefaults } from "./fedavgm.js";
import { createFedBiOt, FEDBIOT_DEFAULTS } from "./fedbiot.js";
import { createFedBuff, FEDBUFF_DEFAULTS } from "./fedbuff.js";
import { createFedExLora } from "./fedex-lora.js";
import { EXTRA_DEFAULTS } from "./extra-adapter.js";
import { createFlora, FLORA_DEFAULTS } from "./flora.js";
import { createFedDpa, FEDDPA_DEFAULTS } from "./feddpa.js";
import { createFedOt, FEDOT_DEFAULTS } from "./fedot.js";
import { createFedProx, FEDPROX_DEFAULTS } from "./fedprox.js";
import { createFedYogi, fedYogiDefaults } from "./fedyogi.js";
import { createFedSb } from "./fed-sb.js";
import { createFedSaLora } from "./fedsa-lora.js";
import { createFedSvd } from "./fedsvd.js";
import { createFfaLora } from "./ffa-lora.js";
import { createFlexLora, FLEXLORA_DEFAULTS } from "./flexlora.js";
import { createFlorist, FLORIST_DEFAULTS } from "./florist.js";
import { createHetLora, HETLORA_DEFAULTS } from "./hetlora.js";
import { createLocal } from "./local.js";
import { DEFAULT_REFERENCE, strategyOptionsSchema, type Reference, type StrategyOptions } from "./options.js";
import { createLoraFair, LORA_FAIR_DEFAULTS } from "./lora-fair.js";
import { createRoLora } from "./rolora.js";
import { createScaffold } from "./scaffold.js";

/** A strategy that can be made: one of the registry, or one from a user's file. */
export interface StrategySource {
  /** All options the strategy knows in the form of that reference, with their defaults. */
  readonly defaultsOf: (reference: Reference) => StrategyOptions;
  /** From options that are complete. */
  readonly create: (options: StrategyOptions) => Strategy;
}

const STRATEGIES: ReadonlyMap<string, StrategySource> = new Map([
  ["local", withoutOptions(createLocal)],
  ["fedavg", withoutOptions(createFedAvg)],
  ["fedprox", withOptions(() => FEDPROX_DEFAULTS, createFedProx)],
  ["scaffold", withoutOptions(createScaffold)],
  ["fedavgm", withOptions(fedAvgMDefaults, createFedAvgM)],
  ["fedadagrad", withOptions(() => FEDADAGRAD_DEFAULTS, createFedAdagrad)],
  ["fedyogi", withOptions(fedYogiDefaults, createFedYogi)],
  ["fedadam", withOptions(fedAdamDefaults, createFedAdam)],
  ["fedasync", withOptions(() => FEDASYNC_DEFAULTS, createFedAsync)],
  ["fedbuff", withOptions(() => FEDBUFF_DEFAULTS, createFedBuff)],
  ["ffa-lora", withoutOptions(createFfaLora)],
  ["rolora", withoutOptions(createRoLora)],
  ["fedsa-lora", withoutOptions(createFedSaLora)],
  ["flexlora", withOptions(() => FLEXLORA_DEFAULTS, createFlexLora)],
  ["florist", withOptions(() => FLORIST_DEFAULTS, createFlorist)],
  ["hetlora", withOptions(() => HETLORA_DEFAULTS, createHetLora)],
  ["lora-fair", withOptions(() => LORA_FAIR_DEFAULTS, createLoraFair)],
  ["fedex-lora", withOptions(() => EXTRA_DEFAULTS, createFedExLora)],
  ["flora", withOptions(() => FLORA_DEFAULTS, createFlora)],
  ["fed-sb", withoutOptions(createFedSb)],
  ["fedsvd", withoutOptions(createFedSvd)],
  ["fedot", withOptions(() => FEDOT_DEFAULTS, createFedOt)],
  ["fedbiot", withOptions(() => FEDBIOT_DEFAULTS, createFedBiOt)],
  ["ditto", withOptions(() => DITTO_DEFAULTS, createDitto)],
  ["feddpa", withOptions(() => FEDDPA_DEFAULTS, createFedDpa)],
  ["centralized", withoutOptions(createCentralized)],
]);

/** All names, in the order in which tables list them. */
export const STRATEGY_NAMES: readonly string[] = [...STRATEGIES.keys()];

/** What an experiment runs that names no strategy. */
export const DEFAULT_STRATEGY = "fedavg";

/** Baselines without a federation: every client alone, and all data in one place. */
export const UNFEDERATED_STRATEGIES: readonly string[] = ["local", "centralized"];

/** What a first experiment compares: every client alone, and the method that all others are measured by. */
export const FIRST_STRATEGIES: readonly string[] = ["local", DEFAULT_STRATEGY];

/**
 * A new strategy object; options that are left out take their defaults. Throws CONFIG_INVALID for an unknown name and
 * for the options that {@link resolveStrategyOptions} refuses.
 */
export function createStrategy(name: string, options: StrategyOptions = {}): Strategy {
  return registeredStrategy(name).create(resolveStrategyOptions(name, options));
}

/** The options of a strategy of the registry with its defaults filled in; as resolveOptions. */
export function resolveStrategyOptions(name: string, options: StrategyOptions, place = ""): StrategyOptions {
  return resolveOptions(name, registeredStrategy(name), options, place);
}

/**
 * The options with the strategy's defaults filled in. Throws CONFIG_INVALID for an option the strategy does not know (in
 * the form of the chosen reference) and for a value out of bounds; `place` says whose options they are.
 */
export function resolveOptions(name: string, source: StrategySource, options: StrategyOptions, place = ""): StrategyOptions {
  const { reference } = options;
  const known = knownOptions(source, reference);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [option, value] of given) {
    if (known.includes(option)) continue;
    const textbook = knownOptions(source, "textbook");
    throw problemError("CONFIG_INVALID", {
      subject: `strategyOptions.${option}${place}`,
      expected: known.length === 0 ? `no options: strategy ${name} has none` : `an option of strategy ${name} (${known.join(", ")})`,
      received: JSON.stringify(value),
      ...remedyFor(option, textbook),
    });
  }
  const checked = strategyOptionsSchema.safeParse(Object.fromEntries(given));
  if (!checked.success) {
    const [issue] = checked.error.issues;
    const field = issue?.path.join(".") ?? "";
    throw problemError("CONFIG_INVALID", {
      subject: `strategyOptions.${field}${place}`,
      expected: `a value within bounds (${issue?.message ?? "unknown"})`,
      received: String(new Map<string, unknown>(given).get(field)),
    });
  }
  return { ...source.defaultsOf(reference ?? DEFAULT_REFERENCE), ...checked.data };
}

/** Names of the options a strategy knows in the form of a reference. */
export function knownOptions(source: StrategySource, reference: Reference = DEFAULT_REFERENCE): readonly string[] {
  return Object.keys(source.defaultsOf(reference));
}

/** The strategy of that name. Throws CONFIG_INVALID for an unknown one. */
export function registeredStrategy(name: string): StrategySource {
  const entry = STRATEGIES.get(name);
  if (entry !== undefined) return entry;
  throw problemError("CONFIG_INVALID", {
    subject: "strategy",
    expected: `one of ${STRATEGY_NAMES.join(", ")}`,
    received: JSON.stringify(name),
  });
}

function remedyFor(option: string, textbook: readonly string[]): { readonly remedy?: string } {
  if (textbook.includes(option)) return { remedy: "It belongs to the form reference: textbook" };
  // Averaging factors number by number needs the same rank everywhere.
  if (option !== "clientRanks") return {};
  const names = STRATEGY_NAMES.filter((name) => knownOptions(registeredStrategy(name)).includes(option));
  return { remedy: `Clients of different rank need a method that pads or decomposes: ${names.join(", ")}` };
}

function withoutOptions(create: () => Strategy): StrategySource {
  return { defaultsOf: () => ({}), create };
}

function withOptions<Options extends StrategyOptions>(
  defaultsOf: (reference: Reference) => Options,
  create: (options: Options) => Strategy,
): StrategySource {
  // What comes here was resolved: the defaults of the same entry with some values replaced.
  return { defaultsOf, create: (options) => create(options as Options) };
}
