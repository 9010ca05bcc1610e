/**
 * Variants of an experiment: sections of its file under `variants`, by name, and the strategies, each of which is the variant in
 * which it is the only one. The variant's name becomes a part of the run's.
 */
import { STRATEGY_NAMES, knownOptions, registeredStrategy } from "../federated/strategies/registry.js";
import { problemError } from "../errors.js";
import { mergeRaw } from "./overrides.js";
import { suggest } from "./suggest.js";

/** The raw experiment with a variant's differences and without the list of variants. Throws CONFIG_INVALID for an unknown variant. */
export function applyVariant(given: unknown, variant: string | undefined): unknown {
  if (!isSection(given)) return given;
  const { variants, ...rest } = given;
  if (variant === undefined) return rest;
  const written = isSection(variants) ? variants : {};
  const isWritten = Object.hasOwn(written, variant);
  const differences = isWritten ? written[variant] : strategyVariant(rest, variant);
  if (differences === undefined) throw unknownVariant(variant, [...strategiesOf(rest), ...Object.keys(written)]);
  const { name = "experiment" } = rest;
  const common = isWritten ? rest : { ...rest, ...optionsFor(variant, rest) };
  return mergeRaw({ ...common, name: `${String(name)}-${variant}` }, differences);
}

/** The file's options for all arms without those that only strategies take which the variant leaves out. */
function optionsFor(strategy: string, { strategyOptions }: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  if (!isSection(strategyOptions)) return {};
  const known = knownOptions(registeredStrategy(strategy));
  return { strategyOptions: Object.fromEntries(Object.entries(strategyOptions).filter(([option]) => known.includes(option))) };
}

/** Names of the variants that an experiment's file lists, and of the strategies that it compares. */
export function variantNames(given: unknown): string[] {
  if (!isSection(given)) return [];
  const { variants, ...rest } = given;
  return [...strategiesOf(rest), ...(isSection(variants) ? Object.keys(variants) : [])];
}

function strategyVariant({ arms }: Readonly<Record<string, unknown>>, strategy: string): unknown {
  if (!(STRATEGY_NAMES).includes(strategy)) return undefined;
  if (!Array.isArray(arms)) return { arms: { strategies: [strategy] } };
  const mine = arms.filter((arm) => isSection(arm) && arm["strategy"] === strategy);
  return mine.length === 0 ? undefined : { arms: mine };
}

function strategiesOf({ arms }: Readonly<Record<string, unknown>>): string[] {
  const named: readonly unknown[] = Array.isArray(arms)
    ? arms.map((arm: unknown) => (isSection(arm) ? arm["strategy"] : undefined))
    : isSection(arms) && Array.isArray(arms["strategies"])
      ? arms["strategies"]
      : [];
  return [...new Set(named.filter((name): name is string => typeof name === "string"))];
}

function unknownVariant(variant: string, known: readonly string[]): Error {
  const close = suggest(variant, [...known, ...STRATEGY_NAMES]);
  return problemError("CONFIG_INVALID", {
    subject: "experiment",
    expected: `one of its variants (${known.join(", ")}) or another strategy`,
    received: JSON.stringify(variant),
    ...(close === undefined ? {} : { remedy: `Did you mean ${close}?` }),
  });
}

function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
