/** Runs or resumes with everything around it that people see: live view, Ctrl-C, the final table, the resume hint. */
import type { RunOptions, RunResult } from "../experiment.js";
import { isFedllmError } from "../errors.js";
import type { RunListener } from "../run/events.js";
import { listenForInterrupt } from "./interrupt.js";
import { createReporter } from "./reporter.js";
import type { OutputOptions, Reporter } from "./reporter.js";
import type { TrackingListener } from "./tracking.js";

/** Does the work and prints its result; rethrows its error after the hint how to go on. */
export async function showRun(
  output: OutputOptions & { readonly "report-to"?: string | undefined },
  folder: string,
  work: (options: RunOptions) => Promise<RunResult>,
): Promise<void> {
  const tracking = await openTracking(output["report-to"], (message) => {
    reporter.note(`warning: ${message}`);
  });
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
    const onEvent: RunListener = (event) => {
      reporter.onEvent(event);
      tracking?.onEvent(event);
    };
    const result = await work({ onEvent, signal: interrupt.signal });
    reporter.finish();
    await tracking?.finish("FINISHED");
    await printResult(result, reporter);
  } catch (error) {
    reporter.finish();
    await tracking?.finish(isFedllmError(error, "CANCELLED") ? "KILLED" : "FAILED");
    if (isFedllmError(error, "CANCELLED")) await noteHowToResume(folder, reporter);
    throw error;
  } finally {
    interrupt.dispose();
  }
}

/** Undefined: nobody asked for it. Throws CONFIG_INVALID. */
async function openTracking(names: string | undefined, onProblem: (message: string) => void): Promise<TrackingListener | undefined> {
  if (names === undefined) return undefined;
  const { TrackingListener: Listener, parseTrackers } = await import("./tracking.js");
  return new Listener(parseTrackers(names), onProblem);
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
