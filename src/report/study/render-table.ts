/**
 * One table in every form. Terminal, Markdown and LaTeX show estimates as `mean ± half of the 95 % interval`; CSV, JSON and Parquet, which
 * programs read, have the stored values and an estimate's parts as columns of their own.
 */
import { formatMarkdownTable, formatTable, printable } from "../format.js";
import type { Column } from "../format.js";
import { formatEstimate } from "./numbers.js";
import type { Cell, StudyColumn, StudyTable } from "./columns.js";

/** A cell as people read it; what was not measured is a dash. */
export function showCell(cell: Cell, column: StudyColumn): string {
  if (cell === null) return "-";
  if (typeof cell === "string") return printable(cell);
  if (typeof cell === "number") return column.format(cell);
  const { formatHalf } = column;
  if (formatHalf === undefined || cell.low === undefined || cell.high === undefined) return formatEstimate(cell, column.format);
  return `${column.format(cell.mean)} ± ${formatHalf((cell.high - cell.low) / 2)}`;
}

function shownTable({ columns, rows }: StudyTable): { readonly titles: Column[]; readonly cells: string[][] } {
  return {
    titles: columns.map(({ title, kind }) => ({ title, align: kind === "text" ? ("left" as const) : ("right" as const) })),
    cells: rows.map((row) => columns.map((column, index) => showCell(row[index] ?? null, column))),
  };
}

/** Title, aligned columns, notes. */
export function renderText(table: StudyTable): string[] {
  const { titles, cells } = shownTable(table);
  return [table.title, ...formatTable(titles, cells), ...table.notes];
}

export function renderMarkdown(table: StudyTable): string[] {
  const { titles, cells } = shownTable(table);
  const escaped = cells.map((row) => row.map((cell) => cell.replaceAll("\\", "\\\\").replaceAll("<", "&lt;").replaceAll("*", "\\*")));
  return [`## ${table.title}`, "", ...formatMarkdownTable(titles, escaped), "", ...table.notes.map((note) => `- ${note}`)];
}

const LATEX_SPECIAL: Readonly<Record<string, string>> = {
  "\\": "\\textbackslash{}",
  "{": "\\{",
  "}": "\\}",
  $: "\\$",
  "&": "\\&",
  "#": "\\#",
  "%": "\\%",
  _: "\\_",
  "^": "\\textasciicircum{}",
  "~": "\\textasciitilde{}",
  "<": "\\textless{}",
  ">": "\\textgreater{}",
  "|": "\\textbar{}",
  "±": "$\\pm$",
};

/** A text that LaTeX prints as it is. */
export function escapeLatex(text: string): string {
  return text.replaceAll(/[\\{}$&#%_^~<>|±]/gu, (character) => LATEX_SPECIAL[character] ?? character);
}

/** A `table` with booktabs' rules. */
export function renderLatex(table: StudyTable): string[] {
  const { titles, cells } = shownTable(table);
  const line = (row: readonly string[]) => `    ${row.map(escapeLatex).join(" & ")} \\\\`;
  return [
    "% needs \\usepackage{booktabs}",
    "\\begin{table}",
    "  \\centering",
    `  \\caption{${escapeLatex(table.title)}. ${table.notes.map(escapeLatex).join(" ")}}`,
    `  \\label{tab:${table.name}}`,
    `  \\begin{tabular}{${titles.map(({ align }) => (align === "right" ? "r" : "l")).join("")}}`,
    "    \\toprule",
    line(titles.map(({ title }) => title)),
    "    \\midrule",
    ...cells.map(line),
    "    \\bottomrule",
    "  \\end{tabular}",
    "\\end{table}",
  ];
}

/** Raw columns: an estimate becomes its mean, the ends of its interval and its count. */
export interface RawColumn {
  readonly key: string;
  readonly kind: "text" | "number";
  readonly values: readonly (string | number | null)[];
}

export function rawColumns({ columns, rows }: StudyTable): RawColumn[] {
  return columns.flatMap(({ key, kind }, index): RawColumn[] => {
    const cells = rows.map((row) => row[index] ?? null);
    if (kind !== "estimate") return [{ key, kind, values: cells.map((cell) => (typeof cell === "object" ? null : cell)) }];
    const part = (suffix: string, valueOf: (cell: Exclude<Cell, string | number | null>) => number | undefined): RawColumn => ({
      key: `${key}${suffix}`,
      kind: "number",
      values: cells.map((cell) => (typeof cell === "object" && cell !== null ? valueOf(cell) ?? null : null)),
    });
    return [part("", ({ mean }) => mean), part("_low", ({ low }) => low), part("_high", ({ high }) => high), part("_count", ({ count }) => count)];
  });
}

/** RFC 4180, with a line of names; what was not measured is empty. */
export function renderCsv(table: StudyTable): string {
  const columns = rawColumns(table);
  const lines = [columns.map(({ key }) => key), ...table.rows.map((_, row) => columns.map(({ values }) => values[row] ?? null))];
  return lines.map((line) => `${line.map(csvField).join(",")}\r\n`).join("");
}

/** Texts that a spreadsheet would take for a formula get an apostrophe before them, since client ids come from data files. */
function csvField(value: string | number | null): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/u.test(value) ? `'${value}` : value;
  return /[",\r\n]/u.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** An array of objects. */
export function jsonRows(table: StudyTable): Record<string, string | number | null>[] {
  const columns = rawColumns(table);
  return table.rows.map((_, row) => Object.fromEntries(columns.map(({ key, values }) => [key, values[row] ?? null])));
}

/** A Parquet file; texts as UTF-8, numbers as doubles, what was not measured as null. */
export async function renderParquet(table: StudyTable): Promise<Uint8Array> {
  const { parquetWriteBuffer } = await import("hyparquet-writer");
  const columnData = rawColumns(table).map(({ key, kind, values }) => ({ name: key, data: [...values], type: kind === "text" ? ("STRING" as const) : ("DOUBLE" as const), nullable: true }));
  return new Uint8Array(parquetWriteBuffer({ columnData }));
}
