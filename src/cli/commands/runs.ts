/** `runs list|show|rm`: the runs below ./runs (or another folder), what one of them measured, and removing one. */
import type { Argv, CommandModule } from "yargs";
import { problemError } from "../../errors.js";
import { formatTable, printable } from "../../report/format.js";
import type { RunOverview } from "../../run/overview.js";

export const runsCommand: CommandModule = {
  command: "runs",
  describe: "list, show or remove runs",
  builder: (argv: Argv) =>
    argv.command(listCommand).command(showCommand).command(removeCommand).demandCommand(1, "Which action: list, show or rm?"),
  handler: () => undefined,
};

const runPositional = { type: "string", demandOption: true, describe: "folder of the run, or its name in ./runs" } as const;

const listCommand: CommandModule<object, { folder: string; json: boolean }> = {
  command: "list [folder]",
  describe: "runs with their state",
  builder: (argv) =>
    argv.example("$0 runs list", "runs below ./runs with what is finished of them")
      .positional("folder", { type: "string", default: "runs", describe: "where to look" })
      .option("json", { type: "boolean", default: false, describe: "print a JSON array" }),
  handler: async ({ folder, json }) => {
    const { listRuns } = await import("../../run/overview.js");
    const runs = await listRuns(folder);
    if (json) {
      process.stdout.write(`${JSON.stringify(runs, null, 2)}\n`);
      return;
    }
    if (runs.length === 0) {
      process.stdout.write(`no runs in ${folder}\n`);
      return;
    }
    const columns = [{ title: "run" }, { title: "state" }, { title: "started" }, { title: "arms" }, { title: "progress" }];
    const lines = formatTable(columns, runs.map(overviewCells));
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

function overviewCells(run: RunOverview): string[] {
  const rounds = run.arms.reduce((sum, arm) => sum + arm.lastRound, 0);
  const all = run.arms.reduce((sum, arm) => sum + arm.numRounds, 0);
  const done = run.arms.filter((arm) => arm.isFinished).length;
  return [
    printable(run.folderName),
    run.state,
    run.startedAt ?? "",
    `${String(done)}/${String(run.arms.length)}`,
    `${String(rounds)}/${String(all)} rounds`,
  ];
}

const showCommand: CommandModule<object, { run: string; json: boolean }> = {
  command: "show <run>",
  describe: "table, arms and events of a run",
  builder: (argv) =>
    argv.example("$0 runs show my-study", "the table, and what happened when")
      .positional("run", runPositional)
      .option("json", { type: "boolean", default: false, describe: "print one JSON value" }),
  handler: async ({ run, json }) => {
    const [{ findRun }, { describeRunForShow }] = await Promise.all([
      import("../../run/run-folder.js"),
      import("../../run/overview.js"),
    ]);
    const shown = describeRunForShow(findRun(run));
    if (json) {
      process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`);
      return;
    }
    const { formatSummary } = await import("../../report/summary.js");
    const { overview, summary, events } = shown;
    const arms = overview.arms.map((arm) => [
      arm.name,
      `${String(arm.lastRound)}/${String(arm.numRounds)}`,
      arm.isFinished ? "finished" : arm.lastRound > 0 ? "begun" : "waiting",
    ]);
    const lines = [
      `${overview.folder}: ${overview.state}`,
      "",
      ...formatTable([{ title: "arm" }, { title: "rounds", align: "right" }, { title: "" }], arms),
      ...(summary.rows.length === 0 ? [] : ["", ...formatSummary(summary)]),
      ...(events.length === 0 ? [] : ["", "Events:", ...events.map((event) => `  ${printable(event)}`)]),
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

const removeCommand: CommandModule<object, { run: string; yes: boolean }> = {
  command: "rm <run>",
  describe: "remove a run's folder with everything in it",
  builder: (argv) =>
    argv.example("$0 runs rm my-study --yes", "without asking, for scripts")
      .positional("run", runPositional)
      .option("yes", { alias: "y", type: "boolean", default: false, describe: "do not ask" }),
  handler: async ({ run, yes }) => {
    const [{ findRun, removeRun }, { acquireRunLock }, { ensureSqlite }] = await Promise.all([
      import("../../run/run-folder.js"),
      import("../../util/lock-file.js"),
      import("../../metrics/ensure-sqlite.js"),
    ]);
    const paths = findRun(run);
    if (!yes && !(await confirmRemoval(paths.folder))) return;
    await ensureSqlite();
    // A run at work must not lose its folder.
    const lock = acquireRunLock(paths.folder);
    try {
      await removeRun(paths);
    } finally {
      lock.release();
    }
    process.stdout.write(`removed ${paths.folder}\n`);
  },
};

async function confirmRemoval(folder: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw problemError("CONFIG_INVALID", {
      subject: "runs rm",
      expected: "--yes, as there is no terminal to ask on",
      received: "no --yes",
    });
  }
  const { createInterface } = await import("node:readline/promises");
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await prompt.question(`Remove ${folder} with everything in it? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    prompt.close();
  }
}
