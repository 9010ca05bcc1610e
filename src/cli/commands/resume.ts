/** `resume <run>`: continues an interrupted run from its last checkpoints. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import { executionOf, executionOptions, outputOptions, trackingOptions } from "../options.js";
import { showRun } from "../show-run.js";

const resumeOptions = { ...outputOptions, ...executionOptions, ...trackingOptions } as const;

type ResumeArguments = InferredOptionTypes<typeof resumeOptions> & { run: string };

export const resumeCommand: CommandModule<object, ResumeArguments> = {
  command: "resume <run>",
  describe: "continue an interrupted run, as if it had never stopped",
  builder: (argv) =>
    argv.example("$0 resume runs/my-study", "goes on after Ctrl-C, a crash or a power cut, to the same bits")
      .positional("run", { type: "string", demandOption: true, describe: "folder of the run, or its name in ./runs" })
      .options(resumeOptions),
  handler: async (values) => {
    const execution = await executionOf(values);
    const { resumeExperiment } = await import("../../experiment.js");
    await showRun(values, values.run, (options) => resumeExperiment(values.run, { ...options, ...execution }));
  },
};
