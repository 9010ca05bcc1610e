/** `compare <runs...>`: what runs say together: quality with intervals and tests, costs, time to a quality, fairness. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import { problemError } from "../../errors.js";
import type { Study } from "../../report/study/study.js";
import type { StudyTable } from "../../report/study/columns.js";
import { studyFrom, studyOptions } from "../study-options.js";

const FORMATS = ["text", "markdown", "csv", "latex", "json"] as const;

const compareOptions = {
  ...studyOptions,
  format: { choices: FORMATS, default: "text" as const, describe: "csv needs a --table; json has the whole study" },
  table: { type: "string", requiresArg: true, describe: "only this table: quality, comparisons, costs, target, fairness, benchmarks, benchmark-comparisons, privacy, runs, clients or curves" },
} as const;

type CompareArguments = InferredOptionTypes<typeof compareOptions> & { readonly runs: string[] };

export const compareCommand: CommandModule<object, CompareArguments> = {
  command: "compare <runs..>",
  describe: "tables over one or several runs: quality with intervals and tests, costs, fairness",
  builder: (argv) =>
    argv
      .positional("runs", { type: "string", array: true, demandOption: true, describe: "folders or names of runs, or a folder of runs" })
      .options(compareOptions)
      .example("$0 compare runs/demo-*", "the same experiment with several seeds: means, 95 % intervals, paired tests")
      .example("$0 compare runs --against f16-fedavg", "every arm against one")
      .example("$0 compare runs --table comparisons --format latex", "one table for a paper"),
  handler: async (values) => {
    const [{ tablesOf }] = await Promise.all([import("../../report/study/tables.js")]);
    const study = await studyFrom(values.runs, values);
    process.stdout.write(await render(study, chooseTables(tablesOf(study), values), values));
  },
};

function chooseTables(tables: readonly StudyTable[], { table: name, format }: CompareArguments): readonly StudyTable[] {
  if (name === undefined) {
    if (format !== "csv") return tables.filter(({ isLong }) => isLong !== true);
    throw problemError("CONFIG_INVALID", { subject: "--format csv", expected: `a --table, one of ${tables.map((table) => table.name).join(", ")}`, received: "none" });
  }
  const chosen = tables.find((table) => table.name === name);
  if (chosen !== undefined) return [chosen];
  throw problemError("CONFIG_INVALID", { subject: "--table", expected: `one of ${tables.map((table) => table.name).join(", ")}`, received: JSON.stringify(name) });
}

async function render(study: Study, tables: readonly StudyTable[], { format, table }: CompareArguments): Promise<string> {
  const { jsonRows, renderCsv, renderLatex, renderMarkdown, renderText } = await import("../../report/study/render-table.js");
  const lines = (rendered: readonly (readonly string[])[]) => `${rendered.map((part) => part.join("\n")).join("\n\n")}\n`;
  switch (format) {
    case "json":
      return `${JSON.stringify(table === undefined || tables[0] === undefined ? study : jsonRows(tables[0]), null, 2)}\n`;
    case "csv":
      return tables.map(renderCsv).join("");
    case "latex":
      return lines(tables.map(renderLatex));
    case "markdown":
      return lines([answerOf(study), ...tables.map(renderMarkdown), ...notesOf(study)]);
    default:
      return lines([answerOf(study), ...tables.map(renderText), ...notesOf(study)]);
  }
}

function answerOf({ answer: { sentence, detail } }: Study): string[] {
  return [sentence, ...(detail === undefined ? [] : [detail])];
}

function notesOf({ notes }: Study): string[][] {
  return notes.length === 0 ? [] : [[...notes]];
}
