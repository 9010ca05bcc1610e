/** Options of the commands that read samples out of files of any form, and how they report what was read. */
import type { Argv } from "yargs";
import { FORM_NAMES } from "../data/import/forms.js";
import type { FormName } from "../data/import/forms.js";
import type { ImportProblem, SampleStreamOptions } from "../data/import/sample-stream.js";
import type { WrittenDataset } from "../data/import/write-federated.js";
import { formatBytes, formatCount, printable } from "../report/format.js";

export interface ImportArguments {
  readonly files: readonly string[];
  readonly form: FormName | undefined;
  readonly map: readonly string[];
  readonly keep: readonly string[];
  readonly columns: string | undefined;
  readonly out: string;
  readonly overwrite: boolean;
  readonly json: boolean;
}

/** Adds the files and how they are read and written. */
export function withImportOptions<T>(argv: Argv<T>): Argv<T & ImportArguments> {
  return argv
    .positional("files", { type: "string", array: true, demandOption: true, describe: "JSON, JSON Lines, CSV, TSV, scripts as .txt (each also .gz), Parquet" })
    .option("out", { type: "string", demandOption: true, requiresArg: true, describe: "file to write: .json or .jsonl, also with .gz" })
    .option("form", { choices: FORM_NAMES, requiresArg: true, describe: "form of the records; default: what their fields say" })
    .option("map", { type: "string", array: true, nargs: 1, default: [], describe: "field=source, for example response=answers.0.text; may be repeated" })
    .option("keep", { type: "string", array: true, nargs: 1, default: [], describe: "a further field that samples keep, for example language; may be repeated" })
    .option("columns", { type: "string", requiresArg: true, describe: "names of the columns of CSV files without a line of names, separated by commas" })
    .option("overwrite", { type: "boolean", default: false, describe: "replace files that are there" })
    .option("json", { type: "boolean", default: false, describe: "print the result as one JSON value" });
}

/** The same for the library. Throws CONFIG_INVALID. */
export async function importOptionsFrom(values: ImportArguments): Promise<SampleStreamOptions> {
  const { parseFieldMap } = await import("../data/import/field-map.js");
  return {
    files: values.files,
    map: parseFieldMap(values.map),
    keep: values.keep,
    ...(values.form === undefined ? {} : { form: values.form }),
    ...(values.columns === undefined ? {} : { columns: values.columns.split(",") }),
  };
}

/** A count of bytes on one line of a terminal, at most four times a second; nothing elsewhere. */
export function createByteProgress(label: string, stream: { readonly isTTY?: boolean; write(text: string): boolean } = process.stderr) {
  let shownAt = 0;
  return {
    update: (numBytes: number, total?: number) => {
      const now = performance.now();
      if (stream.isTTY !== true || now - shownAt < 250) return;
      shownAt = now;
      stream.write(`\r\u001b[K${label} ${formatBytes(numBytes)}${total === undefined ? "" : ` of ${formatBytes(total)}`}`);
    },
    finish: () => {
      if (shownAt > 0) stream.write("\r\u001b[K");
    },
  };
}

/** "data.json: 5 clients, 12 samples, 3.4 kB, SHA-256 …". */
export function describeWritten({ path, numClients, numSamples, numBytes, sha256 }: WrittenDataset): string {
  return `${path}: ${formatCount(numClients)} clients, ${formatCount(numSamples)} samples, ${formatBytes(numBytes)}, SHA-256 ${sha256}`;
}

const SHOWN_PROBLEMS_MAX = 20;

/** What was left out, line by line. */
export function describeProblems(problems: readonly ImportProblem[], numProblems: number, describe: (problem: ImportProblem) => string): string[] {
  const shown = problems.slice(0, SHOWN_PROBLEMS_MAX).map((problem) => `  ${printable(describe(problem))}`);
  const more = numProblems > shown.length ? [`  … ${String(numProblems - shown.length)} more`] : [];
  return [`${String(numProblems)} problems${numProblems === 0 ? "" : ":"}`, ...shown, ...more];
}
