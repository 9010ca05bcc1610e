/** `report <runs...>`: one page, and the tables and figures of `compare` as files. */
import { join } from "node:path";
import type { CommandModule, InferredOptionTypes } from "yargs";
import type { WrittenReport } from "../../report/study/write.js";
import { studyFrom, studyOptions } from "../study-options.js";

const reportOptions = {
  ...studyOptions,
  out: { type: "string", requiresArg: true, describe: "folder of the report, or a file NAME.html for the page alone (default: reports/NAME)" },
  title: { type: "string", requiresArg: true, describe: "title of the report (default: the names of the experiments)" },
} as const;

type ReportArguments = InferredOptionTypes<typeof reportOptions> & { readonly runs: string[] };

export const reportCommand: CommandModule<object, ReportArguments> = {
  command: "report <runs..>",
  describe: "writes what runs say together: a page, tables (CSV, Markdown, LaTeX, JSON, Parquet) and figures (SVG, PNG)",
  builder: (argv) =>
    argv
      .positional("runs", { type: "string", array: true, demandOption: true, describe: "folders or names of runs, or a folder of runs" })
      .options(reportOptions)
      .example("$0 report runs/demo-*", "the same experiment with several seeds, in reports/demo")
      .example("$0 report runs/demo-1 --out demo.html", "one page to send to somebody"),
  handler: async (values) => {
    const { writePage, writeReport } = await import("../../report/study/write.js");
    const study = await studyFrom(values.runs, values);
    const out = values.out ?? join("reports", folderName(study.runs.map(({ record }) => record.name)));
    const written = out.endsWith(".html") ? await writePage(study, out) : describeFiles(await writeReport(study, out));
    process.stdout.write(`${study.answer.sentence}\n\n${written}\n`);
  },
};

function describeFiles({ page, numTables, numFigures }: WrittenReport): string {
  return `${page}: everything on one page; beside it ${String(numTables)} tables and ${String(numFigures)} figures as files`;
}

/** Names of experiments are safe as file names unless somebody edited a record. */
function folderName(names: readonly string[]): string {
  return [...new Set(names)].slice(0, 3).join("-").replaceAll(/[^A-Za-z0-9._-]|^\.+/gu, "_") || "study";
}
