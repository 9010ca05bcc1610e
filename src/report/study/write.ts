/**
 * A study as files: the page, every table in five forms, every figure as SVG and PNG, and the study itself as JSON. Files of an earlier
 * report in the same folder are replaced one by one, each atomically.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { renderPng } from "../../figures/png.js";
import { writeFileAtomic } from "../../util/atomic-file.js";
import { renderPage } from "../page/page.js";
import { drawStudy } from "./figures.js";
import { jsonRows, renderCsv, renderLatex, renderMarkdown, renderParquet } from "./render-table.js";
import type { Study } from "./study.js";
import { withoutMachinePaths } from "./paths.js";
import { tablesOf } from "./tables.js";
import type { StudyTable } from "./columns.js";

export interface WrittenReport {
  readonly page: string;
  readonly numTables: number;
  readonly numFigures: number;
}

/** Writes all files into a folder. Throws IO_FAILED where one cannot be written. */
export async function writeReport(study: Study, out: string): Promise<WrittenReport> {
  const folder = resolve(out);
  const tables = tablesOf(study);
  const figures = drawStudy(study);
  for (const name of ["tables", "figures"]) await mkdir(join(folder, name), { recursive: true });
  for (const table of tables) await writeTable(table, join(folder, "tables", table.name));
  for (const { name, svg } of figures) {
    await writeFileAtomic(join(folder, "figures", `${name}.svg`), svg);
    await writeFileAtomic(join(folder, "figures", `${name}.png`), [await renderPng(svg)]);
  }
  await writeFileAtomic(join(folder, "study.json"), `${JSON.stringify(withoutMachinePaths(study))}\n`);
  const page = await writePage(study, join(folder, "index.html"));
  return { page, numTables: tables.length, numFigures: figures.length };
}

/** Writes the page alone; links to adapters are relative to it. Returns its absolute path. */
export async function writePage(study: Study, file: string): Promise<string> {
  const path = resolve(file);
  await mkdir(dirname(path), { recursive: true });
  const hrefOf = ({ folder }: { readonly folder: string }, name: string) => relative(dirname(path), resolve(folder, name)).split(sep).join("/");
  await writeFileAtomic(path, renderPage(withoutMachinePaths(study), { hrefOf }));
  return path;
}

async function writeTable(table: StudyTable, path: string): Promise<void> {
  await writeFileAtomic(`${path}.csv`, renderCsv(table));
  await writeFileAtomic(`${path}.json`, `${JSON.stringify(jsonRows(table), null, 1)}\n`);
  await writeFileAtomic(`${path}.parquet`, [await renderParquet(table)]);
  // Thousands of rows are for programs.
  if (table.isLong === true) return;
  await writeFileAtomic(`${path}.md`, `${renderMarkdown(table).join("\n")}\n`);
  await writeFileAtomic(`${path}.tex`, `${renderLatex(table).join("\n")}\n`);
}
