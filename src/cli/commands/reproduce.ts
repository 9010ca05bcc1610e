/** `reproduce <run>`: trains a finished run again from its record and says whether the same bytes come out. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import { problemError } from "../../errors.js";
import { printable } from "../../report/format.js";
import type { Reproduction } from "../../run/reproduction.js";
import { outputOptions } from "../options.js";

const reproduceOptions = {
  ...outputOptions,
  out: { type: "string", requiresArg: true, describe: "new folder (default: runs/<name>-reproduced-<time>)" },
} as const;

type ReproduceArguments = InferredOptionTypes<typeof reproduceOptions> & { readonly run: string };

const EXAMPLE_LENGTH = 300;
const MAX_LISTED = 10;

export const reproduceCommand: CommandModule<object, ReproduceArguments> = {
  command: "reproduce <run>",
  describe: "train a finished run again from its record and say whether the bytes agree",
  builder: (argv) =>
    argv
      .positional("run", { type: "string", demandOption: true, describe: "folder of the run, or its name in ./runs" })
      .options(reproduceOptions)
      .example("$0 reproduce runs/my-study", "exit code 0: the same adapters and measurements; 3: others"),
  handler: async (values) => {
    const [{ runExperiment }, { loadConfig }, { defaultRunFolder, findRun, runPaths }, { readRunRecord }, { describeRunForShow }, { compareReproduction, reasonsToDiffer }, { showRun }] = await Promise.all([
      import("../../experiment.js"),
      import("../../config/load.js"),
      import("../../run/run-folder.js"),
      import("../../run/run-record.js"),
      import("../../run/overview.js"),
      import("../../run/reproduction.js"),
      import("../show-run.js"),
    ]);
    const paths = findRun(values.run);
    const { state } = describeRunForShow(paths).overview;
    if (state !== "finished") throw problemError("CONFIG_INVALID", { subject: `run ${values.run}`, expected: "a finished run", received: `one that is ${state}`, remedy: "Finish it with `fedllm-native resume`" });
    const { config } = await loadConfig({ file: paths.config });
    const like = readRunRecord(paths.record);
    const folder = values.out ?? defaultRunFolder(`${config.name}-reproduced`, new Date());
    await showRun(values, folder, (options) => runExperiment(config, folder, { ...options, like }));
    const again = runPaths(folder);
    const result = await compareReproduction(paths, again, { before: like, after: readRunRecord(again.record) });
    const reasons = reasonsToDiffer(config);
    if (values.json) process.stdout.write(`${JSON.stringify({ event: "reproduced", ...result, reasons })}\n`);
    else process.stdout.write(`${describe(result).join("\n")}\n`);
    if (result.isSame) return;
    throw problemError("NOT_REPRODUCED", { subject: `run ${values.run}`, expected: "the same adapters and measurements", received: `others in ${folder}`, ...(reasons.length === 0 ? {} : { remedy: reasons.join(" ") }) });
  },
};

function describe({ isSame, numAdapters, differentAdapters, tables, surroundings }: Reproduction): string[] {
  const numRows = tables.reduce((sum, table) => sum + table.numRows, 0);
  const listed = differentAdapters.slice(0, MAX_LISTED).map(printable).join(", ");
  const more = differentAdapters.length > MAX_LISTED ? " …" : "";
  return [
    "",
    `adapters: ${String(numAdapters - differentAdapters.length)} of ${String(numAdapters)} have the same bytes${differentAdapters.length === 0 ? "" : ` (others: ${listed}${more})`}`,
    ...tables.filter(({ numDifferent }) => numDifferent > 0).flatMap(({ table, numRows: rows, numDifferent, example }) => [
      `${table}: ${String(numDifferent)} of ${String(rows)} rows differ`,
      ...Object.entries(example ?? {}).map(([when, row]) => `  ${when}: ${printable(row).slice(0, EXAMPLE_LENGTH)}`),
    ]),
    ...surroundings.map((fact) => `differs: ${printable(fact)}`),
    isSame ? `Reproduced: the same bytes of all adapters, and the same ${String(numRows)} rows of measurements apart from times and memory.` : "Not reproduced.",
  ];
}
