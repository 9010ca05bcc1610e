/** `sweep [experiment]`: an experiment with all combinations of some fields' values, as runs in one folder, and a table of them. */
import { join } from "node:path";
import type { CommandModule, InferredOptionTypes } from "yargs";
import { isFedllmError, problemError } from "../../errors.js";
import type { SweepCell } from "../../sweep.js";
import { listenForInterrupt } from "../interrupt.js";
import { executionOf, executionOptions, loadConfigFrom, outputOptions, seedsOf, withConfigOptions } from "../options.js";
import { createReporter } from "../reporter.js";

const sweepOptions = {
  ...outputOptions,
  ...executionOptions,
  grid: { type: "string", array: true, nargs: 1, requiresArg: true, describe: "a field and its values, for example --grid lora.rank=4,8; may be repeated" },
  out: { type: "string", requiresArg: true, describe: "folder of the sweep (default: sweeps/<name>); a second sweep into it runs only what is missing" },
} as const;

type SweepArguments = InferredOptionTypes<typeof sweepOptions> & { experiment: string | undefined };

export const sweepCommand: CommandModule<object, SweepArguments> = {
  command: "sweep [experiment]",
  describe: "run an experiment with all combinations of some fields' values",
  builder: (argv) =>
    withConfigOptions(argv)
      .options(sweepOptions)
      .example("$0 sweep --grid training.initialLearningRate=1e-3,3e-3 --grid lora.rank=4,8 --seeds 0,1,2", "twelve runs of the demonstration, the best first")
      .example("$0 sweep --grid lora.rank=4,8,16 --seeds 0,1,2", "later: only what rank 16 adds"),
  handler: async (values) => {
    const { parseGridOption, runSweep, sweepCells } = await import("../../sweep.js");
    const execution = await executionOf(values);
    // Here seeds are runs, not arms of one.
    const { seeds, ...given } = { ...values } as Readonly<Record<string, unknown>>;
    const fields = (values.grid ?? []).map(parseGridOption);
    const cells = sweepCells(fields, seedsOf(seeds));
    if (fields.length === 0 && seeds === undefined) throw problemError("CONFIG_INVALID", { subject: "sweep", expected: "--grid or --seeds", received: "neither" });
    const planned = [];
    for (const cell of cells) planned.push({ cell, ...(await loadConfigFrom(given, cell.overrides)) });
    const folder = values.out ?? join("sweeps", planned[0]?.config.name ?? "experiment");
    const reporter = createReporter({ ...values, quiet: true });
    const interrupt = listenForInterrupt({
      onFirst: () => {
        reporter.note("stopping after this micro-batch; press Ctrl-C again to end at once");
      },
      onSecond: () => undefined,
    });
    try {
      await runSweep(folder, planned, {
        ...execution,
        signal: interrupt.signal,
        onEvent: reporter.onEvent,
        onCell: (cell, state, position) => {
          if (!values.quiet) reporter.note(`${String(position + 1)} of ${String(cells.length)}: ${cell.name} (${state})`);
        },
      });
      await printTable(folder, cells, values.json);
    } catch (error) {
      if (isFedllmError(error, "CANCELLED")) reporter.note("What was trained is saved. The same command goes on.");
      throw error;
    } finally {
      interrupt.dispose();
      reporter.finish();
    }
  },
};

async function printTable(folder: string, cells: readonly SweepCell[], asJson: boolean): Promise<void> {
  const { formatSweep, sweepLines } = await import("../../report/sweep-table.js");
  const lines = sweepLines(folder, cells);
  process.stdout.write(asJson ? `${JSON.stringify({ event: "sweep", folder, lines })}\n` : `${formatSweep(lines).join("\n")}\nRuns are in ${folder}; fedllm-native compare ${folder} says more\n`);
}
