/** One page with all figures and the table of clients, which needs nothing beside itself: no network, no script. */
import type { Distribution } from "../../data/statistics.js";
import type { AnalysisReport } from "../report.js";
import { escapeText } from "../../figures/svg.js";
import type { Figure } from "../../figures/svg.js";

const STYLE = `
:root{color-scheme:light dark}
body{margin:0 auto;max-width:1360px;padding:16px;font:16px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:0 0 8px}
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:24px}
figure{margin:0;min-width:0}figcaption{font-size:.9rem;color:#555}svg{width:100%;height:auto;display:block}
.table{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}th,td{padding:4px 10px;text-align:right;border-bottom:1px solid #ccc;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}figcaption{color:#b5b5b5}th,td{border-color:#444}}
`.replaceAll("\n", "");

const TABLE_CLIENTS_MAX = 200;

export function renderPage(report: AnalysisReport, figures: readonly Figure[]): string {
  const { dataset, overall, model } = report;
  const seen = model === undefined ? "" : ` Model: ${escapeText(model.name)}.`;
  const drawn = figures.map(
    ({ title, description, svg }) => `<figure><h2>${escapeText(title)}</h2>${svg}<figcaption>${escapeText(description)}</figcaption></figure>`,
  );
  return [
    "<!doctype html>",
    `<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">`,
    `<title>${escapeText(dataset.name)}: what is in the data</title><style>${STYLE}</style></head><body>`,
    `<h1>${escapeText(dataset.name)}: what is in the data</h1>`,
    `<p>${String(overall.numSamples)} ${dataset.kind} samples of ${String(dataset.numClients)} clients.${seen}</p>`,
    `<main>${drawn.join("\n")}</main>`,
    renderTable(report),
    "</body></html>\n",
  ].join("\n");
}

function renderTable({ clients }: AnalysisReport): string {
  const largest = [...clients].sort((left, right) => right.numSamples - left.numSamples).slice(0, TABLE_CLIENTS_MAX);
  const head = ["client", "samples", "language", "instruction characters", "response characters", "IFD"].map((name, index) => (index < 3 ? name : `${name}: median (quartiles)`));
  const rows = largest.map((client) => [
    client.id,
    String(client.numSamples),
    client.languages[0]?.name ?? "",
    quartilesOf(client.instructionCharacters, 0),
    quartilesOf(client.responseCharacters, 0),
    quartilesOf(client.quality?.ifd, 2),
  ]);
  const note = largest.length < clients.length ? `, the ${String(largest.length)} largest of ${String(clients.length)}` : "";
  const line = (cells: readonly string[], tag: string) => `<tr>${cells.map((cell) => `<${tag}>${escapeText(cell)}</${tag}>`).join("")}</tr>`;
  return `<h2>Clients${note}</h2><div class="table" tabindex="0"><table><thead>${line(head, "th")}</thead><tbody>${rows.map((row) => line(row, "td")).join("")}</tbody></table></div>`;
}

/** "24 (13 to 29)"; nothing of nothing. */
function quartilesOf(distribution: Distribution | undefined, digits: number): string {
  if (distribution === undefined) return "";
  const [median, low, high] = [distribution.median, distribution.quartile1, distribution.quartile3].map((value) => value.toFixed(digits));
  return `${median ?? ""} (${low ?? ""} to ${high ?? ""})`;
}
