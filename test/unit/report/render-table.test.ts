/** Goal: one table says the same in every form, and no text from a run is taken for anything but text. */
import { parquetReadObjects } from "hyparquet";
import { expect, test } from "vitest";
import { escapeLatex, jsonRows, renderCsv, renderLatex, renderMarkdown, renderParquet, renderText } from "../../../src/report/study/render-table.js";
import type { StudyTable } from "../../../src/report/study/columns.js";

const table: StudyTable = {
  name: "quality",
  title: "Loss & more",
  notes: ["5 % of it."],
  columns: [
    { key: "client", title: "client", kind: "text", format: String },
    { key: "num", title: "samples", kind: "number", format: (value) => value.toFixed(0) },
    { key: "loss", title: "loss", kind: "estimate", format: (value) => value.toFixed(2) },
  ],
  rows: [
    ["ana", 3, { count: 2, mean: 0.5, low: 0.4, high: 0.6, min: 0.45, max: 0.55 }],
    ['=HYPERLINK("x")|_<b>\u001b[31m', null, { count: 1, mean: 0.123, min: 0.123, max: 0.123 }],
    ["none", 1.25, null],
  ],
};

test("terminal and Markdown show means with half their interval, and dashes", () => {
  expect(renderText(table)).toEqual([
    "Loss & more",
    "client                     samples         loss",
    "ana                              3  0.50 ± 0.10",
    '=HYPERLINK("x")|_<b>�[31m        -         0.12',
    "none                             1            -",
    "5 % of it.",
  ]);
  const markdown = renderMarkdown(table);
  expect(markdown[0]).toBe("## Loss & more");
  expect(markdown).toContain('| =HYPERLINK("x")\\|_&lt;b>�[31m | - | 0.12 |');
});

test("LaTeX prints every special character as it is", () => {
  expect(escapeLatex("a_b & 5 % of $x^2 ~ {#}\\ ± <|>")).toBe("a\\_b \\& 5 \\% of \\$x\\textasciicircum{}2 \\textasciitilde{} \\{\\#\\}\\textbackslash{} $\\pm$ \\textless{}\\textbar{}\\textgreater{}");
  const lines = renderLatex(table);
  expect(lines).toContain("  \\caption{Loss \\& more. 5 \\% of it.}");
  expect(lines).toContain("    ana & 3 & 0.50 $\\pm$ 0.10 \\\\");
  expect(lines).toContain("  \\begin{tabular}{lrr}");
});

test("CSV has the stored values, an estimate's parts as columns, and no formulas", () => {
  expect(renderCsv(table)).toBe(
    ["client,num,loss,loss_low,loss_high,loss_count", "ana,3,0.5,0.4,0.6,2", '"\'=HYPERLINK(""x"")|_<b>\u001b[31m",,0.123,,,1', "none,1.25,,,,", ""].join("\r\n"),
  );
});

test("JSON and Parquet have the same rows, read back by another reader", async () => {
  const bytes = await renderParquet(table);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  const read = await parquetReadObjects({ file });
  expect(read).toEqual(jsonRows(table));
  expect(read[0]).toEqual({ client: "ana", num: 3, loss: 0.5, loss_low: 0.4, loss_high: 0.6, loss_count: 2 });
});
