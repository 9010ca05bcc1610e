/** `run [experiment]`: starts a run, or with --dry-run says what it would do. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import type { ExperimentConfig } from "../../config/schema.js";
import type { ArmEstimate, ExperimentPlan } from "../../run/plan.js";
import { describeMemoryPlan } from "../../report/memory-plan.js";
import { formatBytes, formatCount, formatTable } from "../../report/format.js";
import { executionOf, executionOptions, loadConfigFrom, outputOptions, withConfigOptions, trackingOptions } from "../options.js";
import { showRun } from "../show-run.js";

const runOptions = {
  ...outputOptions,
  ...trackingOptions,
  ...executionOptions,
  out: { type: "string", requiresArg: true, describe: "folder of the run (default: runs/<name>-<time>)" },
  plan: { type: "boolean", default: false, describe: "measure the machine first, and keep what is predicted with the run beside what happens" },
  "dry-run": { type: "boolean", default: false, describe: "say what would be done, and do nothing" },
} as const;

type RunArguments = InferredOptionTypes<typeof runOptions> & { experiment: string | undefined };

export const runCommand: CommandModule<object, RunArguments> = {
  command: "run [experiment]",
  describe: "train all arms of an experiment; without a file the built-in demonstration",
  builder: (argv) =>
    withConfigOptions(argv)
      .options(runOptions)
      .example("$0 run --precisions F16 Q4_0 --strategies fedavg ffa-lora --seeds 0 1 2", "the demonstration as a grid of twelve arms")
      .example("$0 run experiment.yaml --num-threads 1 --parallel-arms auto", "small models: one arm per core")
      .example("$0 run experiment.yaml --report-to tensorboard,csv", "measurements for other programs while it goes"),
  handler: async (values) => {
    const execution = await executionOf(values);
    const { config } = await loadConfigFrom({ ...values });
    if (values["dry-run"]) {
      printPlan(await makePlan(config), values.json);
      return;
    }
    const [{ runExperiment }, { defaultRunFolder }] = await Promise.all([
      import("../../experiment.js"),
      import("../../run/run-folder.js"),
    ]);
    const folder = values.out ?? defaultRunFolder(config.name, new Date());
    const predictions = values.plan ? await predict(config, (execution.parallelArms ?? 1) !== 1) : {};
    await showRun(values, folder, (options) => runExperiment(config, folder, { ...options, ...execution, ...predictions }));
  },
};

/** Memory is predicted for arms one after another only: with several at once the peak is that of all of them. */
async function predict(config: ExperimentConfig, atOnce: boolean) {
  const [{ makeForecast }, { predictionRows }] = await Promise.all([import("./plan.js"), import("../../run/forecast.js")]);
  const { forecast } = await makeForecast(config, process.cwd());
  return { predictions: predictionRows(forecast.arms).filter(({ quantity }) => !atOnce || quantity !== "peak_memory_bytes") };
}

async function makePlan(config: Awaited<ReturnType<typeof loadConfigFrom>>["config"]): Promise<ExperimentPlan> {
  const [{ memoryRequests, planExperiment }, { createNativeEngine }, { resolveModelPath }, { missingInputs }] = await Promise.all([
    import("../../run/plan.js"),
    import("../../run/native-engine.js"),
    import("../../config/builtin.js"),
    import("../../run/planned-model.js"),
  ]);
  if (missingInputs(config).model !== undefined) return planExperiment(config);
  const onProgress = (line: string) => {
    process.stderr.write(`${line}\n`);
  };
  const workload = { path: resolveModelPath(config.model), requests: memoryRequests(config) };
  const { numThreads, device, hiddenStateCache } = config;
  return planExperiment(config, await createNativeEngine({ numThreads, device, hiddenStateCache, workload, onProgress }));
}

function printPlan(plan: ExperimentPlan, asJson: boolean): void {
  if (asJson) {
    process.stdout.write(`${JSON.stringify(plan)}\n`);
    return;
  }
  const { data } = plan;
  const titles = ["rounds", "clients/round", "trainable", "steps", "tokens (est.)", "bytes/round", "bytes in all", "weights", "memory (pred.)"];
  const lines = [
    `${plan.name}: model ${plan.model}`,
    `${formatCount(data.numClients)} clients, ${formatCount(data.numSamples)} training and ${formatCount(data.numHeldOut)} held-out samples; ` +
      `${String(data.numTruncated)} truncated, ${String(data.numDropped)} dropped, ${String(data.numBad)} unreadable`,
    "",
    ...formatTable(
      [{ title: "arm" }, ...titles.map((title) => ({ title, align: "right" as const }))],
      plan.arms.map((arm) => [
        arm.name,
        String(arm.numRounds),
        String(arm.clientsPerRound),
        formatCount(arm.trainableParameters),
        formatCount(arm.numSteps),
        formatCount(arm.estimatedTokens),
        atMost(arm, arm.bytesPerRound),
        atMost(arm, arm.bytesInAll),
        formatBytes(arm.weightBytes),
        arm.predictedMemoryBytes === undefined ? "-" : formatBytes(arm.predictedMemoryBytes),
      ]),
    ),
    "",
    ...memoryLines(plan.arms),
    ...plan.notes.map((note) => `note: ${note}`),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** One line for all arms that fit into memory in the same way; the program's own size, which grows while arms are planned, is the first one's. */
function memoryLines(arms: readonly ArmEstimate[]): string[] {
  const groups = new Map<string, { readonly names: string[]; readonly words: string }>();
  for (const { name, memory } of arms) {
    if (memory === undefined) continue;
    const key = describeMemoryPlan({ ...memory, limitBytes: 0, parts: { ...memory.parts, process: 0 } });
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { names: [name], words: describeMemoryPlan(memory) });
    else group.names.push(name);
  }
  return [...groups.values()].map(({ names: [first = "", ...others], words }) => {
    const more = others.length > MAX_NAMED ? ` and ${String(others.length)} more` : others.map((name) => `, ${name}`).join("");
    return `${first}${more}: ${words}`;
  });
}

/** Arms that are named beside the first one of a memory plan. */
const MAX_NAMED = 3;

function atMost({ bytesAreUpperBound }: ArmEstimate, bytes: number): string {
  return bytesAreUpperBound ? `up to ${formatBytes(bytes)}` : formatBytes(bytes);
}
