/** `plan [experiment]`: measures this machine for a few seconds and says what a run would cost, and what would make it fit. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import type { ExperimentConfig } from "../../config/schema.js";
import { problemError } from "../../errors.js";
import { formatBytes, formatCount, formatDuration, formatTable } from "../../report/format.js";
import type { Forecast, ForecastTotal, Limits, Proposal } from "../../run/forecast.js";
import { loadConfigFrom, withConfigOptions } from "../options.js";

const planOptions = {
  "max-memory": { type: "string", requiresArg: true, describe: "most memory, for example 8GB or 512MB" },
  "max-time": { type: "string", requiresArg: true, describe: "most time, for example 2h, 30m or 45s" },
  "max-disk": { type: "string", requiresArg: true, describe: "most disk for adapters and checkpoints, for example 1GB" },
  json: { type: "boolean", default: false, describe: "the forecast as one JSON object" },
} as const;

type PlanArguments = InferredOptionTypes<typeof planOptions> & { experiment: string | undefined };

export const planCommand: CommandModule<object, PlanArguments> = {
  command: "plan [experiment]",
  describe: "measure this machine for a few seconds and predict what a run would cost",
  builder: (argv) =>
    withConfigOptions(argv)
      .options(planOptions)
      .example("$0 plan experiment.yaml", "time, memory, bytes, disk and energy per arm and in all")
      .example("$0 plan experiment.yaml --max-time 2h --max-memory 8GB", "and changes that would make it fit")
      .example("$0 run experiment.yaml --plan", "the same before a run, kept with it beside what happened"),
  handler: async (values) => {
    const limits = limitsOf(values);
    const { config } = await loadConfigFrom({ ...values });
    const { proposeChanges, totalOf } = await import("../../run/forecast.js");
    const { engine, forecast } = await makeForecast(config, process.cwd());
    const total = totalOf(forecast.arms);
    const proposals = await proposeChanges(config, engine, forecast, limits);
    process.stdout.write(values.json ? `${JSON.stringify({ ...forecast, total, limits, proposals })}\n` : `${describe(forecast, total, limits, proposals).join("\n")}\n`);
  },
};

/** Measures and predicts. Throws MODEL_LOAD_FAILED and what loading data throws: without both there is nothing to measure. */
export async function makeForecast(config: ExperimentConfig, folder: string) {
  const [{ memoryRequests }, { createNativeEngine }, { resolveModelPath }, { forecastExperiment, measureDevice }] = await Promise.all([
    import("../../run/plan.js"),
    import("../../run/native-engine.js"),
    import("../../config/builtin.js"),
    import("../../run/forecast.js"),
  ]);
  const workload = { path: resolveModelPath(config.model), requests: memoryRequests(config) };
  const { numThreads, device, hiddenStateCache } = config;
  const onProgress = (line: string) => {
    process.stderr.write(`${line}\n`);
  };
  const engine = await createNativeEngine({ numThreads, device, hiddenStateCache, workload, onProgress });
  const forecast = await forecastExperiment(config, engine, await measureDevice(config, engine, folder));
  return { engine, forecast };
}

function describe({ plan, arms, measure }: Forecast, total: ForecastTotal, limits: Limits, proposals: readonly Proposal[]): string[] {
  const right = ["tokens", "sent", "peak memory", "disk (at least)", "time", "from", "to", "energy"].map((title) => ({ title, align: "right" as const }));
  const rows = arms.map((arm) => [
    arm.arm,
    formatCount(arm.tokens),
    formatBytes(arm.uploadBytes + arm.downloadBytes),
    arm.peakMemoryBytes === undefined ? "-" : formatBytes(arm.peakMemoryBytes),
    formatBytes(arm.diskBytes),
    ...[arm.timeMs.value, arm.timeMs.low, arm.timeMs.high].map(formatDuration),
    arm.energyJoules === undefined ? "-" : `${formatCount(Math.round(arm.energyJoules.value))} J`,
  ]);
  const fits = Object.keys(limits).length === 0 ? [] : [proposals.length === 0 && isWithin(total, limits) ? "It fits." : "It does not fit."];
  return [
    ...formatTable([{ title: "arm" }, ...right], rows),
    "",
    `In all, one arm after another: ${describeTotal(total)}`,
    `Measured: ${measure.trainTokensPerSecond.map((speed) => formatCount(Math.round(speed))).join(", ")} tokens/s in training steps, disk ${formatBytes(measure.diskBytesPerSecond)}/s. ` +
      "Times reach from the fastest to the slowest step and a quarter further; where weights have another precision than the source's, from half to twice.",
    ...plan.notes.map((note) => `note: ${note}`),
    ...fits,
    ...proposals.map(({ change, total: after, fits: isEnough }) => `- ${change}: ${describeTotal(after)}${isEnough ? ", which fits" : ""}`),
  ];
}

function describeTotal({ timeMs, peakMemoryBytes, diskBytes }: ForecastTotal): string {
  return `${formatDuration(timeMs)}, ${formatBytes(peakMemoryBytes)} of memory, at least ${formatBytes(diskBytes)} of disk`;
}

function isWithin(total: ForecastTotal, limits: Limits): boolean {
  return (Object.keys(limits) as (keyof ForecastTotal)[]).every((name) => total[name] <= (limits[name] ?? 0));
}

const BYTE_UNITS: Readonly<Record<string, number>> = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 };
const TIME_UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function limitsOf(values: Pick<PlanArguments, "max-memory" | "max-time" | "max-disk">): Limits {
  const memory = amountOf("max-memory", values["max-memory"], BYTE_UNITS);
  const time = amountOf("max-time", values["max-time"], TIME_UNITS);
  const disk = amountOf("max-disk", values["max-disk"], BYTE_UNITS);
  return {
    ...(memory === undefined ? {} : { peakMemoryBytes: memory }),
    ...(time === undefined ? {} : { timeMs: time }),
    ...(disk === undefined ? {} : { diskBytes: disk }),
  };
}

function amountOf(option: string, text: string | undefined, units: Readonly<Record<string, number>>): number | undefined {
  if (text === undefined) return undefined;
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([a-z]+)$/i.exec(text) ?? [];
  const factor = unit === undefined ? undefined : units[unit.toLowerCase()];
  if (number !== undefined && factor !== undefined) return Number(number) * factor;
  throw problemError("CONFIG_INVALID", { subject: `--${option}`, expected: `a number with one of the units ${Object.keys(units).join(", ")}`, received: JSON.stringify(text) });
}
