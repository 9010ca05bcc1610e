/** A table of a study as HTML: sortable by its headings, rows marked with their arm for the filter. */
import { showCell } from "../study/render-table.js";
import type { Cell, StudyTable } from "../study/columns.js";
import { element, text } from "./html.js";

/** Columns that name the arm of a row. */
const ARM_COLUMNS = ["arm", "first"];

export function renderTable(table: StudyTable): string {
  const { name, title, columns, rows, notes } = table;
  const numberClass = (index: number) => (columns[index]?.kind === "text" ? undefined : "number");
  const heads = columns.map((column, index) => element("th", { scope: "col", class: numberClass(index) }, element("button", { type: "button" }, text(column.title))));
  const armIndex = columns.findIndex(({ key }) => ARM_COLUMNS.includes(key));
  const secondIndex = columns.findIndex(({ key }) => key === "second");
  const body = rows.map((row) => {
    const cells = columns.map((column, index) => {
      const cell = row[index] ?? null;
      const shown = text(showCell(cell, column));
      if (index === armIndex) return element("th", { scope: "row" }, shown);
      const verdict = column.key === "verdict" && (cell === "better" || cell === "worse") ? cell : undefined;
      return element("td", { class: verdict ?? numberClass(index), "data-value": sortValue(cell, column.kind), title: spreadOf(cell, (value) => column.format(value)) }, shown);
    });
    const arm = row[armIndex];
    const isBefore = arm === "before training";
    const second = row[secondIndex];
    return element("tr", { class: isBefore ? "before" : undefined, "data-series": typeof arm === "string" && !isBefore ? arm : undefined, "data-other-series": typeof second === "string" ? second : undefined }, ...cells);
  });
  const listed = notes.length === 0 ? "" : element("ul", { class: "notes" }, ...notes.map((note) => element("li", {}, text(note))));
  return (
    element("h3", { id: `table-${name}-title` }, text(title)) +
    element(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": `table-${name}-title` },
      element("table", { id: `table-${name}` }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body)),
    ) +
    listed
  );
}

/** What a column of numbers is sorted by; texts are sorted as they are shown. */
function sortValue(cell: Cell, kind: "text" | "number" | "estimate"): string | undefined {
  if (kind === "text") return undefined;
  if (cell === null || typeof cell === "string") return "";
  return String(typeof cell === "number" ? cell : cell.mean);
}

function spreadOf(cell: Cell, format: (value: number) => string): string | undefined {
  if (cell === null || typeof cell !== "object" || cell.count < 2) return undefined;
  return `${String(cell.count)} values, ${format(cell.min)} to ${format(cell.max)}`;
}
