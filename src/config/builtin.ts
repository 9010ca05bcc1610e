/** What the package brings along: the tiny base model and the demonstration experiment, found from any working folder. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { problemError } from "../errors.js";
import { suggest } from "./suggest.js";

/** Folder of our package.json: two levels up both from src/config and from dist/config. */
const PACKAGE_ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");

const BUILTIN_MODELS: ReadonlyMap<string, string> = new Map([["fedllm-tiny", "models/fedllm-tiny-f16.gguf"]]);
const BUILTIN_PREFIX = "builtin:";
const EXPERIMENT_FILE = "experiment.yaml";

/** The experiment that `run` takes when none is named. */
export function demoExperimentPath(): string {
  return join(PACKAGE_ROOT, "experiments", "demo", "experiment.yaml");
}

/** An experiment file, and the variant of it that was asked for. */
export interface LocatedExperiment {
  readonly file: string;
  readonly variant?: string;
}

/**
 * What a name on the command line stands for: a file, a folder with an experiment.yaml, or the same below ./experiments or among the
 * package's own; followed by a slash and a variant, if the whole is none of these. What is not found is taken as a file.
 */
export function locateExperiment(reference: string, workingFolder = "."): LocatedExperiment {
  const whole = experimentFileAt(reference, workingFolder);
  if (whole !== undefined) return { file: whole };
  const [, name = "", variant = ""] = /^(.+)[/\\]([^/\\]+)$/u.exec(reference) ?? [];
  const file = name === "" ? undefined : experimentFileAt(name, workingFolder);
  return file === undefined ? { file: resolve(workingFolder, reference) } : { file, variant };
}

/** Names of the package's own experiments. */
export function builtinExperiments(): string[] {
  const folder = join(PACKAGE_ROOT, "experiments");
  return readdirSync(folder).filter((name) => existsSync(join(folder, name, EXPERIMENT_FILE)));
}

function experimentFileAt(reference: string, workingFolder: string): string | undefined {
  const places = [resolve(workingFolder, reference), resolve(workingFolder, "experiments", reference), resolve(PACKAGE_ROOT, "experiments", reference)];
  return places.flatMap((place) => [place, join(place, EXPERIMENT_FILE)]).find((place) => existsSync(place) && statSync(place).isFile());
}

/** Absolute path of a model as the configuration names it. Throws CONFIG_INVALID for an unknown built-in or a missing file. */
export function resolveModelPath(model: string): string {
  const path = model.startsWith(BUILTIN_PREFIX) ? builtinModelPath(model.slice(BUILTIN_PREFIX.length)) : model;
  if (existsSync(path)) return path;
  throw problemError("CONFIG_INVALID", {
    subject: "model",
    expected: "a GGUF file",
    received: `${path}, which does not exist`,
    remedy: `Name another file with --model (GGUF files are on Hugging Face; llama.cpp's convert_hf_to_gguf.py makes them of other models), or use ${BUILTIN_PREFIX}${[...BUILTIN_MODELS.keys()].join(", ")}`,
  });
}

function builtinModelPath(name: string): string {
  const file = BUILTIN_MODELS.get(name);
  if (file !== undefined) return join(PACKAGE_ROOT, file);
  const close = suggest(name, [...BUILTIN_MODELS.keys()]);
  throw problemError("CONFIG_INVALID", {
    subject: "model",
    expected: `one of the built-in models ${[...BUILTIN_MODELS.keys()].join(", ")}`,
    received: JSON.stringify(name),
    ...(close === undefined ? {} : { remedy: `Did you mean ${BUILTIN_PREFIX}${close}?` }),
  });
}
