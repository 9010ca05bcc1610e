/** `eval <target>`: how good models and adapters are by named metrics, and what was found so far. */
import { availableParallelism } from "node:os";
import type { Argv, CommandModule, InferredOptionTypes } from "yargs";
import { TEMPLATE_NAMES } from "../../data/prompt-template.js";
import { PRECISION_NAMES } from "../../config/names.js";
import { isFedllmError } from "../../errors.js";
import type { EvaluateResult } from "../../run/evaluate.js";
import { SANDBOX_BACKENDS } from "../../sandbox/names.js";
import { listenForInterrupt } from "../interrupt.js";
import { createStepProgress } from "../step-progress.js";
import { judgeOptions, readEvalSettings } from "../eval-options.js";
import { compareCommand } from "./eval-compare.js";
import { metricsCommand } from "./eval-metrics.js";
import { showCommand } from "./eval-show.js";

const evalOptions = {
  metrics: { type: "string", requiresArg: true, demandOption: true, describe: "metrics by name, separated by commas; `eval metrics` lists them" },
  arm: { type: "string", array: true, nargs: 1, requiresArg: true, describe: "arm of the run, may be repeated (default: all; none: no arm)" },
  round: { type: "number", requiresArg: true, describe: "common adapter after a round that was kept (default: the last)" },
  client: { type: "string", array: true, nargs: 1, requiresArg: true, describe: "adapter of a client, may be repeated, or all (default: the common adapter; where there is none, all clients')" },
  base: { type: "boolean", default: false, describe: "the base model too" },
  precision: { type: "string", array: true, nargs: 1, choices: PRECISION_NAMES, requiresArg: true, describe: "judge on the base model in this precision, may be repeated (default: the arm's own)" },
  model: { type: "string", requiresArg: true, describe: "base model of an adapter file" },
  limit: { type: "number", requiresArg: true, describe: "at most so many items of each metric, drawn by the seed" },
  seed: { type: "number", requiresArg: true, describe: "of sampling and of choices (default: the run's, or 2023); 0 is a seed" },
  template: { choices: [...TEMPLATE_NAMES, "none"] as const, requiresArg: true, describe: "how conversations are written (default: the run's, or alpaca)" },
  context: { type: "number", requiresArg: true, describe: "tokens of prompt and answer (default: 2048, at most the model's)" },
  sequences: { type: "number", requiresArg: true, describe: "answers written at once (default: 8)" },
  device: { type: "string", requiresArg: true, describe: "auto, cpu, vulkan:0, cuda:0, metal or a name as `doctor` lists it" },
  threads: { type: "number", default: availableParallelism(), requiresArg: true, describe: "compute threads" },
  questions: { type: "string", array: true, nargs: 1, requiresArg: true, describe: "METRIC=FILE: questions of your own, may be repeated" },
  "metric-option": { type: "string", array: true, nargs: 1, requiresArg: true, describe: "METRIC.KEY=VALUE, may be repeated" },
  ...judgeOptions,
  "allow-code-execution": { type: "boolean", default: false, describe: "run programs that the model writes, in a sandbox on this machine" },
  sandbox: { choices: SANDBOX_BACKENDS, requiresArg: true, describe: "what runs them (default: auto, the first that works)" },
  "sandbox-command": { type: "string", array: true, requiresArg: true, describe: "a wrapper of your own instead: program and arguments" },
  out: { type: "string", requiresArg: true, describe: "database of the results (default: evaluation.sqlite in the run's folder, or here)" },
  json: { type: "boolean", default: false, describe: "print the results as one JSON value" },
} as const;

export type EvalArguments = InferredOptionTypes<typeof evalOptions> & { readonly target: string };

const runCommand: CommandModule<object, EvalArguments> = {
  command: "$0 <target>",
  describe: "answers and scores of a run's adapters, an adapter or a model, by metrics",
  builder: (argv: Argv) =>
    argv
      .positional("target", { type: "string", demandOption: true, describe: "run (folder or name), GGUF adapter with --model, GGUF model, or builtin:fedllm-tiny" })
      .options(evalOptions)
      .example("$0 eval runs/demo --metrics heldout,reply --base", "all arms and their base models on what clients hold out")
      .example("$0 eval runs/demo --arm q4_k_m-fedavg --precision F16 --metrics heldout", "an adapter on another precision than its own")
      .example("$0 eval adapter.gguf --model base.gguf --metrics heldout --questions heldout=clients.json", "files without a run")
      .example("$0 eval compare runs/demo#f16-fedavg runs/demo#q4_k_m-fedavg", "two subjects item by item"),
  handler: async (values) => {
    const { evaluate } = await import("../../run/evaluate.js");
    const request = await readEvalSettings(values);
    const progress = createStepProgress();
    const interrupt = listenForInterrupt({
      onFirst: () => process.stderr.write("\nStopping; the same command goes on from here.\n"),
      onSecond: () => undefined,
    });
    try {
      const result = await evaluate(request, {
        onProgress: (subject, metric, { phase, ...counts }) => {
          progress.update({ step: `${subject}: ${metric}, ${phase}`, ...counts });
        },
        onNote: (line) => process.stderr.write(`${line}\n`),
        signal: interrupt.signal,
      });
      progress.finish();
      await printResults(result, values.json);
    } catch (error) {
      progress.finish();
      if (isFedllmError(error, "CANCELLED")) process.stderr.write("What was answered and scored is kept.\n");
      throw error;
    } finally {
      interrupt.dispose();
    }
  },
};

export const evalCommand: CommandModule = {
  command: "eval",
  describe: "how good models and adapters are: metrics with intervals, paired comparisons",
  builder: (argv: Argv) => argv.command(runCommand).command(showCommand).command(compareCommand).command(metricsCommand),
  handler: () => undefined,
};

async function printResults({ databasePath, results, numUnscored }: EvaluateResult, asJson: boolean): Promise<void> {
  const { describeResults } = await import("../eval-results.js");
  const lines = await describeResults(databasePath, results, asJson ? "json" : "text");
  process.stdout.write(`${lines.join("\n")}\n`);
  if (numUnscored > 0) process.stderr.write(`${String(numUnscored)} answers could not be scored; the same command tries them again. \`eval show\` has the reasons.\n`);
  if (!asJson) process.stderr.write(`Every answer and score is in ${databasePath}\n`);
}
