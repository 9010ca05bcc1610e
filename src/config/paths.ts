/**
 * Where the files are that an experiment names. Paths in a file are relative to it, those of overrides to the working folder.
 * `dataset:NAME` is a data set of the catalogue below the working folder's `data`, `known:NAME` a base model below `models`.
 */
import { resolve } from "node:path";
import { locateDataset, isDatasetReference } from "./known-datasets.js";
import { isKnownModelReference, locateKnownModel } from "./known-models.js";
import { profileModelFields } from "./federation.js";
import { setValue, type ConfigOverride } from "./overrides.js";
import { valueAt } from "./problems.js";
import type { ChosenExperiment } from "./data-source.js";
import type { ParsedExperiment } from "./schema.js";
import { isStrategyFile } from "./strategy-file.js";

/** Fields that hold file paths; those written in the file are relative to the file, overrides to the working directory. */
const PATH_FIELDS = [["model"], ["data", "train"], ["data", "heldOutFile"], ["data", "serverFile"], ["data", "groups", "file"], ["training", "startAdapter"]] as const;
/** The question files of metrics, and a judge that is a file. */
function benchmarkFields({ evaluation: { benchmarks } }: ChosenExperiment): readonly (readonly string[])[] {
  const section = ["evaluation", "benchmarks"];
  return [...Object.keys(benchmarks?.questions ?? {}).map((metric) => [...section, "questions", metric]), [...section, "judge", "gguf"]];
}

/** The experiment with absolute paths. Throws CONFIG_INVALID for names that the catalogue and the list of models do not have. */
export function resolvePaths(
  parsed: ChosenExperiment,
  overrides: readonly ConfigOverride[],
  fileFolder: string,
  workingFolder: string,
): ChosenExperiment {
  const result = structuredClone(parsed);
  for (const field of [...PATH_FIELDS, ...profileModelFields(result), ...benchmarkFields(result)]) {
    const value = valueAt(result, field);
    if (typeof value !== "string" || value.startsWith("builtin:")) continue;
    if (isDatasetReference(value) || isKnownModelReference(value)) {
      const locate = isDatasetReference(value) ? locateDataset : locateKnownModel;
      setValue(result, { path: field, value: locate(value, workingFolder), origin: "path" });
      continue;
    }
    const overridden = overrides.some((entry) => entry.path.every((part, index) => field[index] === part));
    setValue(result, { path: field, value: resolve(overridden ? workingFolder : fileFolder, value), origin: "path" });
  }
  const locate = (strategy: string, ...field: readonly string[]): string => {
    if (!isStrategyFile(strategy)) return strategy;
    const overridden = overrides.some((entry) => entry.path.every((part, index) => ["arms", ...field][index] === part));
    return resolve(overridden ? workingFolder : fileFolder, strategy);
  };
  return { ...result, arms: locateStrategies(result.arms, locate) };
}

/** The arms with strategies from files named by absolute paths; the keys of byStrategy are as the list names them. */
function locateStrategies(
  arms: ParsedExperiment["arms"],
  locate: (strategy: string, ...field: readonly string[]) => string,
): ParsedExperiment["arms"] {
  if (Array.isArray(arms)) {
    return arms.map((arm, index) => ({ ...arm, strategy: locate(arm.strategy, String(index), "strategy") }));
  }
  const byStrategy = Object.entries(arms.byStrategy ?? {}).map(([strategy, differences]) => [locate(strategy, "byStrategy"), differences]);
  const strategies = arms.strategies.map((strategy, index) => locate(strategy, "strategies", String(index)));
  return { ...arms, strategies, ...(arms.byStrategy === undefined ? {} : { byStrategy: Object.fromEntries(byStrategy) as typeof arms.byStrategy }) };
}
