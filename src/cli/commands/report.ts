/** `report <runs...>`: the tables and figures of `compare` as files. */
import { join } from "node:path";
import type { CommandModule, InferredOptionTypes } from "yargs";
import { studyFrom, studyOptions } from "../study-options.js";

const reportOptions = {
  ...studyOptions,
  out: { type: "string", requiresArg: true, describe: "folder of the report (default: reports/NAME)" },
  title: { type: "string", requiresArg: true, describe: "title of the report (default: the names of the experiments)" },
} as const;

type ReportArguments = InferredOptionTypes<typeof reportOptions> & { readonly runs: string[] };

export const reportCommand: CommandModule<object, ReportArguments> = {
  command: "report <runs..>",
  describe: "writes what runs say together: tables (CSV, Markdown, LaTeX, JSON, Parquet) and figures (SVG, PNG)",
  builder: (argv) =>
    argv
      .positional("runs", { type: "string", array: true, demandOption: true, describe: "folders or names of runs, or a folder of runs" })
      .options(reportOptions)
      .example("$0 report runs/demo-*", "the same experiment with several seeds, in reports/demo"),
  handler: async (values) => {
    const { writeReport } = await import("../../report/study/write.js");
    const study = await studyFrom(values.runs, values);
    const written = await writeReport(study, values.out ?? join("reports", folderName(study.runs.map(({ record }) => record.name))));
    const lines = [study.answer.sentence, "", `${written.folder}: ${String(written.numTables)} tables, ${String(written.numFigures)} figures`];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

/** Names of experiments are safe as file names. */
function folderName(names: readonly string[]): string {
  return [...new Set(names)].slice(0, 3).join("-") || "study";
}
