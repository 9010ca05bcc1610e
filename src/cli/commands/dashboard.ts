/** `dashboard [runs...]`: the page of `report`, live, on this machine. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import { RUNS_FOLDER } from "../../run/run-folder.js";
import { listenForInterrupt } from "../interrupt.js";
import { optionsFrom, studyOptions } from "../study-options.js";

const dashboardOptions = {
  ...studyOptions,
  host: { type: "string", default: "127.0.0.1", requiresArg: true, describe: "one of this machine's own addresses; others are refused" },
  port: { type: "number", default: 0, requiresArg: true, describe: "0: any free one" },
} as const;

type DashboardArguments = InferredOptionTypes<typeof dashboardOptions> & { readonly runs: string[] };

export const dashboardCommand: CommandModule<object, DashboardArguments> = {
  command: "dashboard [runs..]",
  describe: "the page of `report`, live from running and finished runs, in a browser on this machine",
  builder: (argv) =>
    argv
      .positional("runs", { type: "string", array: true, default: [RUNS_FOLDER], describe: "folders or names of runs, or folders of runs, which may get more of them" })
      .options(dashboardOptions)
      .example("$0 dashboard", "all runs below ./runs")
      .example("$0 dashboard runs/my-study", "one run, while it runs"),
  handler: async (values) => {
    const [{ ensureSqlite }, { LiveStudy }, { startDashboard }] = await Promise.all([
      import("../../metrics/ensure-sqlite.js"),
      import("../../report/dashboard/live-study.js"),
      import("../../report/dashboard/server.js"),
    ]);
    await ensureSqlite({ onProgress: (line) => process.stderr.write(`${line}\n`) });
    const live = new LiveStudy(values.runs, optionsFrom(values));
    // Wrong options are said at once and not on the page.
    await live.read();
    const dashboard = await startDashboard(live, values);
    process.stdout.write(`${dashboard.url}\nOpen this address in a browser of this machine; Ctrl-C ends it.\n`);
    await new Promise<void>((resolve) => {
      const interrupt = listenForInterrupt({
        onFirst: () => {
          interrupt.dispose();
          resolve();
        },
        onSecond: () => undefined,
      });
    });
    await dashboard.stop();
  },
};
