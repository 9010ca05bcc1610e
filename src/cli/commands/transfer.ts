/** `transfer <run>`: judges each arm's adapter on the base model in every precision of the run. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import { outputOptions } from "../options.js";
import { showRun } from "../show-run.js";

type TransferArguments = InferredOptionTypes<typeof outputOptions> & { run: string };

export const transferCommand: CommandModule<object, TransferArguments> = {
  command: "transfer <run>",
  describe: "judge each arm's adapter on the base model in every precision of the run",
  builder: (argv) =>
    argv
      .positional("run", { type: "string", demandOption: true, describe: "folder of the run, or its name in ./runs" })
      .options(outputOptions)
      .example("$0 transfer runs/demo-20260101-120000", "adds a matrix to the run's tables; arms that are not finished are finished first"),
  handler: async (values) => {
    const { resumeExperiment } = await import("../../experiment.js");
    await showRun(values, values.run, (options) => resumeExperiment(values.run, { ...options, transfer: true }));
  },
};
