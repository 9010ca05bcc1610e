/** Options that several commands share, and how configuration flags become overrides of the experiment. */
import type { Argv, InferredOptionTypes, Options } from "yargs";
import { problemError } from "../errors.js";
import type { ConfigOverride } from "../config/load.js";
import type { RunOptions } from "../experiment.js";

interface ConfigFlag {
  /** Dotted path in the experiment. */
  readonly field: string;
  readonly type: "string" | "number" | "array" | "boolean";
  /** The value becomes a list of one. */
  readonly asList?: boolean;
  readonly describe: string;
}

/** A flag per often changed field; every other field is reached by --set. */
const CONFIG_FLAGS: Readonly<Record<string, ConfigFlag>> = {
  name: { field: "name", type: "string", describe: "name of the run" },
  seed: { field: "seed", type: "number", describe: "seed of every random draw" },
  model: { field: "model", type: "string", describe: "GGUF file of the base model, or builtin:fedllm-tiny" },
  data: { field: "data.train", type: "string", describe: "client data file" },
  synthetic: { field: "data.synthetic", type: "boolean", describe: "the experiment's synthetic data (data.generated) instead of its data file" },
  "held-out": { field: "data.heldOutFile", type: "string", describe: "file of held-out samples" },
  "server-data": { field: "data.serverFile", type: "string", describe: "file of the server's own samples, for strategies that train there" },
  template: { field: "data.template", type: "string", describe: "alpaca, vicuna_v1.1 or chat, none with objective dpo" },
  objective: { field: "training.objective", type: "string", describe: "sft, or dpo to learn from pairs of answers" },
  "start-adapter": { field: "training.startAdapter", type: "string", describe: "GGUF adapter, or run (runs/NAME#ARM), where training begins" },
  "num-rounds": { field: "training.numRounds", type: "number", describe: "rounds" },
  "clients-per-round": { field: "training.clientsPerRound", type: "number", describe: "clients drawn per round" },
  "local-steps": { field: "training.localSteps", type: "number", describe: "optimizer steps per client and round" },
  "num-threads": { field: "numThreads", type: "number", describe: "compute threads" },
  device: { field: "device", type: "string", describe: "auto, cpu, vulkan:0, cuda:0, metal or a name as `doctor` lists it" },
  deterministic: { field: "deterministic", type: "boolean", describe: "compute in F32 only; no choice among faster kernels" },
  precisions: { field: "arms.precisions", type: "array", describe: "base model precisions to compare" },
  strategies: { field: "arms.strategies", type: "array", describe: "strategies to compare, by name or file" },
  seeds: { field: "arms.seeds", type: "array", describe: "seeds with which each arm is trained; data, its division and held-out samples stay those of --seed" },
  strategy: { field: "arms.strategies", type: "string", asList: true, describe: "the one strategy to run: a name, or a file such as ./my-strategy.ts" },
};

const configOptions: Record<string, Options> = {
  ...Object.fromEntries(
    Object.entries(CONFIG_FLAGS).map(([flag, { type, describe }]) => [
      flag,
      { type, describe, group: "Experiment (flags override the file):", ...(type === "boolean" ? {} : { requiresArg: true }) },
    ]),
  ),
  set: {
    type: "string",
    array: true,
    nargs: 1,
    describe: "any field, for example --set training.optimizer.beta2=0.99; may be repeated",
    group: "Experiment (flags override the file):",
    requiresArg: true,
  },
};

/** Names of the configuration flags, for suggestions. */
export const CONFIG_OPTION_NAMES: readonly string[] = Object.keys(configOptions);

/** Flags that choose what is printed. */
export const outputOptions = {
  json: { type: "boolean", default: false, describe: "one JSON event per line on standard output" },
  quiet: { type: "boolean", default: false, describe: "only the result and errors" },
} as const satisfies Record<string, Options>;

/** How a run is carried out, which changes no result. */
export const executionOptions = {
  "parallel-arms": { type: "string", requiresArg: true, describe: "arms at work at once, a number (cut to what memory holds) or auto (as many as cores have room for, see --num-threads); default: 1" },
  workers: { type: "number", requiresArg: true, describe: "train clients in so many processes on this machine at once (cut to what memory holds); default: one after another in this one" },
  "worker-devices": { type: "string", requiresArg: true, describe: "devices of the workers, joined by commas, for example cuda:0,cuda:1; one after another, default: that of --device for all" },
} as const satisfies Record<string, Options>;

/** What of them a run takes; more than one arm at once and workers are refused later, when memory has been looked at. Throws CONFIG_INVALID. */
export async function executionOf(values: {
  readonly "parallel-arms"?: string | undefined;
  readonly workers?: number | undefined;
  readonly "worker-devices"?: string | undefined;
}): Promise<Pick<RunOptions, "parallelArms" | "executor">> {
  const { workers, "worker-devices": devices } = values;
  const arms = parallelArmsOf(values["parallel-arms"]);
  if (workers === undefined) {
    if (devices === undefined) return arms;
    throw problemError("CONFIG_INVALID", { subject: "--worker-devices", expected: "--workers with it", received: "none" });
  }
  if (!Number.isInteger(workers) || workers < 1 || workers > 1024) {
    throw problemError("CONFIG_INVALID", { subject: "--workers", expected: "a number from 1 to 1024", received: String(workers) });
  }
  const list = devices?.split(",").map((device) => device.trim());
  if (list?.includes("") === true) throw problemError("CONFIG_INVALID", { subject: "--worker-devices", expected: "devices joined by commas", received: JSON.stringify(devices) });
  const { processExecutor } = await import("../executor/processes/process-executor.js");
  return { ...arms, executor: processExecutor({ numWorkers: workers, ...(list === undefined ? {} : { devices: list }) }) };
}

/** Throws CONFIG_INVALID for what is neither a number of arms nor auto. */
function parallelArmsOf(text: string | undefined): { readonly parallelArms?: number | "auto" } {
  if (text === undefined) return {};
  if (text === "auto") return { parallelArms: text };
  const count = Number(text);
  if (/^\d+$/.test(text) && count >= 1 && count <= 1024) return { parallelArms: count };
  throw problemError("CONFIG_INVALID", { subject: "--parallel-arms", expected: "a number from 1 to 1024, or auto", received: JSON.stringify(text) });
}

/** Where measurements go beside the run's database. */
export const trackingOptions = {
  "report-to": { type: "string", requiresArg: true, describe: "also send measurements to tensorboard, mlflow, csv (joined by commas) while the run goes" },
} as const satisfies Record<string, Options>;

export type OutputArguments = InferredOptionTypes<typeof outputOptions>;

/** Adds the positional experiment file and all configuration flags. */
export function withConfigOptions<T>(argv: Argv<T>): Argv<T & { experiment: string | undefined }> {
  return argv
    .positional("experiment", { type: "string", describe: "experiment file (YAML), or NAME or NAME/VARIANT of one below ./experiments or of the package; without it the built-in demonstration" })
    .options(configOptions) as unknown as Argv<T & { experiment: string | undefined }>;
}

/** Overrides from parsed arguments: flags first, then --set, so that the more exact one wins. Throws CONFIG_INVALID. */
export async function overridesFrom(values: Readonly<Record<string, unknown>>): Promise<ConfigOverride[]> {
  const { parseSetOption } = await import("../config/load.js");
  const flags = Object.entries(CONFIG_FLAGS).flatMap(([flag, { field, asList }]): ConfigOverride[] => {
    const value = values[flag];
    if (value === undefined) return [];
    const read = flag === "seeds" ? seedsOf(value) : asList === true ? [value] : value;
    return [{ path: field.split("."), value: read, origin: `--${flag}` }];
  });
  const settings = Array.isArray(values["set"]) ? values["set"].map((text) => parseSetOption(String(text))) : [];
  return [...flags, ...settings];
}

/** Seeds as --seeds gives them, with commas or spaces between them. Throws CONFIG_INVALID. */
export function seedsOf(value: unknown): number[] {
  const texts = (Array.isArray(value) ? value : []).flatMap((entry) => String(entry).split(","));
  return texts.map((text) => {
    if (/^\d+$/.test(text)) return Number(text);
    throw problemError("CONFIG_INVALID", { subject: "--seeds", expected: "whole numbers of at least 0", received: JSON.stringify(text) });
  });
}

/** Reads the experiment of the arguments, or the demonstration; `further` overrides go before all others. */
export async function loadConfigFrom(values: Readonly<Record<string, unknown>>, further: readonly ConfigOverride[] = []) {
  const [{ loadConfig }, { demoExperimentPath, locateExperiment }, overrides] = await Promise.all([
    import("../config/load.js"),
    import("../config/builtin.js"),
    overridesFrom(values),
  ]);
  const named = values["experiment"];
  return loadConfig({ ...(typeof named === "string" ? locateExperiment(named) : { file: demoExperimentPath() }), overrides: [...overrides, ...further] });
}
