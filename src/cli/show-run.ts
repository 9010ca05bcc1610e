/** Runs or resumes with everything around it that people see: live view, Ctrl-C, the final table, the resume hint. */
import type { RunOptions, RunResult } from "../experiment.js";
import { isFedllmError } from "../errors.js";
import { listenForInterrupt } from "./interrupt.js";
import { createReporter } from "./reporter.js";
import type { OutputOptions, Reporter } from "./reporter.js";

/** Does the work and prints its result; rethrows its error after the hint how to go on. */
export async function showRun(
  output: OutputOptions,
  folder: string,
  work: (options: RunOptions) => Promise<RunResult>,
): Promise<void> {
  const reporter = createReporter(output);
  const interrupt = listenForInterrupt({
    onFirst: () => {
      reporter.note("stopping after this micro-batch; press Ctrl-C again to end at once");
    },
    onSecond: () => {
      reporter.finish();
    },
  });
  try {
    const result = await work({ onEvent: reporter.onEvent, signal: interrupt.signal });
    reporter.finish();
    await printResult(result, reporter);
  } catch (error) {
    reporter.finish();
    if (isFedllmError(error, "CANCELLED")) await noteHowToResume(folder, reporter);
    throw error;
  } finally {
    interrupt.dispose();
  }
}

async function printResult({ paths, record, summary }: RunResult, reporter: Reporter): Promise<void> {
  const { formatSummary, summaryNotes } = await import("../report/summary.js");
  if (reporter.mode === "json") {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event: "summary", ...summary })}\n`);
  }
  const lines = ["", ...formatSummary(summary), "", ...summaryNotes(record, summary), `Everything is in ${paths.folder}`];
  const stream = reporter.mode === "json" ? process.stderr : process.stdout;
  stream.write(`${lines.join("\n")}\n`);
}

async function noteHowToResume(nameOrFolder: string, reporter: Reporter): Promise<void> {
  const { findRun } = await import("../run/run-folder.js");
  try {
    const { folder } = findRun(nameOrFolder);
    reporter.note(`The state is saved. Continue with: fedllm-native resume ${quoteForShell(folder)}`);
  } catch {
    reporter.note("Nothing was trained yet; start again with the same command.");
  }
}

function quoteForShell(path: string): string {
  return /^[A-Za-z0-9_./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
