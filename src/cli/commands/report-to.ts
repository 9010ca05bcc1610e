/** `report-to <run> --to ...`: sends a run's measurements to TensorBoard, MLflow or a CSV file. */
import type { CommandModule } from "yargs";
import { FedllmError } from "../../errors.js";

interface ReportToArguments {
  readonly run: string;
  readonly to: string;
}

export const reportToCommand: CommandModule<object, ReportToArguments> = {
  command: "report-to <run>",
  describe: "send a run's measurements to TensorBoard, MLflow or a CSV file",
  builder: (argv) =>
    argv
      .positional("run", { type: "string", demandOption: true, describe: "folder of the run, or its name in ./runs" })
      .option("to", { type: "string", demandOption: true, requiresArg: true, describe: "tensorboard, mlflow, csv, joined by commas" })
      .example("$0 report-to runs/my-study --to tensorboard,csv", "writes tensorboard/ and metrics.csv into the run's folder")
      .example("MLFLOW_TRACKING_URI=http://127.0.0.1:5000 $0 report-to runs/my-study --to mlflow", "a run of MLflow for each arm"),
  handler: async ({ run, to }) => {
    const [{ findRun }, { openTracker, parseTrackers }] = await Promise.all([import("../../run/run-folder.js"), import("../tracking.js")]);
    const names = parseTrackers(to);
    const { folder } = findRun(run);
    const problems: string[] = [];
    const tracker = await openTracker(folder, names, (message) => problems.push(message));
    await tracker.finish("FINISHED");
    if (problems.length > 0) throw new FedllmError("IO_FAILED", problems.join("\n"));
    process.stdout.write(`${folder}: sent to ${names.join(", ")}\n`);
  },
};
