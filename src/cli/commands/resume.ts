/** `resume <run>`: continues an interrupted run from its last checkpoints. */
import type { CommandModule } from "yargs";
import { outputOptions } from "../options.js";
import type { OutputArguments } from "../options.js";
import { showRun } from "../show-run.js";

type ResumeArguments = OutputArguments & { run: string };

export const resumeCommand: CommandModule<object, ResumeArguments> = {
  command: "resume <run>",
  describe: "continue an interrupted run, as if it had never stopped",
  builder: (argv) =>
    argv
      .positional("run", { type: "string", demandOption: true, describe: "folder of the run, or its name in ./runs" })
      .options(outputOptions),
  handler: async (values) => {
    const { resumeExperiment } = await import("../../experiment.js");
    await showRun(values, values.run, (options) => resumeExperiment(values.run, options));
  },
};
