/**
 * A study as one HTML file that needs nothing beside itself: no network, and a policy that forbids it. The answer comes first, with
 * one figure; the rest in the order of questions. Without a script everything is there to read; with it tables can be sorted, arms hidden,
 * values read off figures, and each client has a view of its own. The dashboard shows the same page and renews its content.
 */
import { readFileSync } from "node:fs";
import { FIGURE_STYLE, withoutStyle } from "../../figures/svg.js";
import type { Figure } from "../../figures/svg.js";
import { drawStudy, stylesOf } from "../study/figures.js";
import { formatPValue, formatValue, signed } from "../study/numbers.js";
import type { Study, StudyMetric } from "../study/study.js";
import { tablesOf } from "../study/tables.js";
import { clientData, renderClients } from "./client-section.js";
import { contentHash, element, embedJson, text } from "./html.js";
import { renderRun } from "./run-section.js";
import type { HrefOf } from "./run-section.js";
import { renderSwatch } from "./swatch.js";
import { renderTable } from "./table.js";

export interface PageOptions {
  readonly hrefOf: HrefOf;
  /** Of the dashboard: address of the live page, name of the state it shows, and what it says of the runs' progress as markup. */
  readonly live?: { readonly address: string; readonly version: string; readonly progress: string };
}

const asset = (name: string): string => readFileSync(new URL(name, import.meta.url), "utf8");

export function renderPage(study: Study, { hrefOf, live }: PageOptions): string {
  const style = asset("./style.css") + FIGURE_STYLE;
  const script = asset("./browser-script.js");
  const policy = [
    "default-src 'none'",
    `style-src ${contentHash(style)}`,
    `script-src ${contentHash(script)}`,
    ...(live === undefined ? [] : ["connect-src 'self'"]),
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return [
    "<!doctype html>",
    `<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">`,
    `<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">`,
    `<title>${text(study.title)}: what quantized federation loses and saves</title><style>${style}</style></head>`,
    `<body${live === undefined ? "" : ` data-live="${text(live.address)}" data-version="${text(live.version)}"`}><a class="skip" href="#answer">To the answer</a>`,
    `<header class="top"><div class="wrap"><h1 id="title">${text(study.title)}</h1><p class="facts" id="facts">${text(factsOf(study))}</p>${live === undefined ? "" : renderLive(live.progress)}</div></header>`,
    renderContents(study),
    `<main class="wrap">${element("div", { id: "content" }, renderContent(study, hrefOf))}<section id="client-page" hidden aria-label="client"></section></main>`,
    `<footer class="wrap">Made by fedllm-native ${text([...new Set(study.runs.map(({ record }) => record.versions.fedllmNative))].join(", "))}. Every number is a query over the runs' metrics.sqlite.</footer>`,
    `<div id="tip" role="presentation" hidden></div><p id="status" role="status" class="skip"></p><p id="figure-keys" hidden>Left and right arrow keys read the values.</p>`,
    `<script type="application/json" id="study-data">${embedJson(clientData(study))}</script><script>${script}</script></body></html>\n`,
  ].join("\n");
}

function renderLive(progress: string): string {
  return element("div", { class: "live" }, element("div", { id: "live" }, progress), element("p", { id: "connection", role: "status" }, "connecting"));
}

function factsOf({ runs, arms, clients }: Study): string {
  const count = (number: number, what: string) => `${String(number)} ${what}${number === 1 ? "" : "s"}`;
  const seeds = [...new Set(arms.flatMap(({ cells }) => cells.map(({ seed }) => seed)))].sort((left, right) => left - right);
  const started = runs.map(({ record }) => record.startedAt).sort()[0];
  return [
    count(runs.length, "run"),
    count(arms.length, "arm"),
    count(new Set(clients.map(({ clientId }) => clientId)).size, "client"),
    `seed${seeds.length === 1 ? "" : "s"} ${seeds.slice(0, 8).join(", ")}${seeds.length > 8 ? " …" : ""}`,
    ...(started === undefined ? [] : [`started ${started.slice(0, 16).replace("T", " ")} UTC`]),
  ].join(" · ");
}

const SECTIONS = [
  ["answer", "Answer"],
  ["quality", "Quality"],
  ["comparisons", "Comparisons"],
  ["transfer", "Transfer"],
  ["costs", "Costs"],
  ["benchmarks", "Benchmarks"],
  ["privacy", "Privacy"],
  ["clients", "Clients"],
  ["runs", "Runs"],
] as const;

function renderContents({ benchmarks, privacy, transfer }: Study): string {
  const absent = new Set([...(benchmarks.length === 0 ? ["benchmarks"] : []), ...(privacy.length === 0 ? ["privacy"] : []), ...(transfer === undefined ? ["transfer"] : [])]);
  const sections = SECTIONS.filter(([id]) => !absent.has(id));
  return element("nav", { class: "toc", "aria-label": "sections" }, element("div", { class: "wrap" }, element("ul", {}, ...sections.map(([id, title]) => element("li", {}, element("a", { href: `#${id}` }, title))))));
}

function renderContent(study: Study, hrefOf: HrefOf): string {
  const figures = drawStudy(study);
  const tables = new Map(tablesOf(study).map((table) => [table.name, renderTable(table)]));
  const table = (name: string) => tables.get(name) ?? "";
  const figuresOf = (wanted: (figure: Figure) => boolean) => renderFigures(figures.slice(1).filter(wanted));
  const isAbout = (...names: readonly string[]) => (figure: Figure) => names.includes(figure.name);
  const others = isAbout("quality-memory", "clients", "client-map", "answer");
  const section = (id: string, title: string, ...content: readonly string[]) => (content.every((part) => part === "") ? "" : element("section", { id, "aria-labelledby": `${id}-title` }, element("h2", { id: `${id}-title` }, title), ...content));
  return [
    renderAnswer(study, figures[0]),
    renderFilter(study),
    section("quality", "Quality", table("quality"), figuresOf((figure) => !others(figure))),
    section("comparisons", "Comparisons", table("main-effects"), renderComparisons(study)),
    section("transfer", "Transfer", table("transfer-average"), table("transfer"), onDemand("transfer-by-pair", "What the change of the base model costs", table("transfer-differences"))),
    section("costs", "Costs", table("costs"), figuresOf(isAbout("quality-memory")), table("target"), table("predicted")),
    section("benchmarks", "Benchmarks", table("benchmarks"), table("benchmark-comparisons")),
    section("privacy", "Privacy", table("privacy")),
    section("clients", "Clients", table("fairness"), figuresOf(isAbout("clients", "client-map")), renderClients(study)),
    section("runs", "Runs", table("runs"), ...study.runs.map((run) => renderRun(run, hrefOf))),
  ].join("\n");
}

/** The main metric at once, the others on demand. */
function renderComparisons(study: Study): string {
  const [main, ...others] = study.metrics;
  const tableOf = (metrics: readonly StudyMetric[], name: string) => {
    const comparisons = study.comparisons.filter(({ metric }) => metrics.some((one) => one.metric === metric));
    const found = tablesOf({ ...study, comparisons }).find((table) => table.name === "comparisons");
    return found === undefined ? "" : renderTable({ ...found, name, notes: name === "comparisons" ? found.notes : [] });
  };
  if (main === undefined) return "";
  const rest = tableOf(others, "other-comparisons");
  return tableOf([main], "comparisons") + onDemand("comparisons-of-others", "The same for the other metrics", rest);
}

/** What is shown when its title is clicked; nothing without content. */
function onDemand(id: string, title: string, content: string): string {
  return content === "" ? "" : element("details", { id }, element("summary", {}, title), content);
}

function renderAnswer(study: Study, figure: Figure | undefined): string {
  const { sentence, detail } = study.answer;
  const warnings = study.notes.length === 0 ? "" : element("div", { class: "warnings", role: "note" }, element("ul", {}, ...study.notes.map((note) => element("li", {}, text(note)))));
  const words = element("div", {}, element("p", { class: "answer" }, text(sentence)), detail === undefined ? "" : element("p", {}, text(detail)), renderTiles(study), warnings);
  const drawn = figure === undefined ? "" : renderFigure(figure);
  return element("section", { id: "answer", "aria-labelledby": "answer-title" }, element("h2", { id: "answer-title", class: "skip" }, "Answer"), element("div", { class: "hero" }, words, drawn));
}

function renderTiles({ answer: { focus, effect }, metrics, arms }: Study): string {
  const [main] = metrics;
  if (focus === undefined || main === undefined) return "";
  const { weights, peakMemory } = focus;
  const { change, adjustedPValue } = effect === undefined ? focus : { ...effect, change: effect.difference };
  const half = change.high === undefined ? "" : `± ${formatValue(change.high - change.mean, main)}, `;
  const test = adjustedPValue === undefined ? "no test" : `p = ${formatPValue(adjustedPValue)}`;
  const tile = (title: string, value: string, small: string) => element("div", { class: "tile" }, element("dt", {}, text(title)), element("dd", {}, text(value), element("small", {}, text(small))));
  const saved = (part: number) => `${part <= 1 ? "−" : "+"}${String(Math.round(Math.abs(1 - part) * 100))} %`;
  const precisionOf = (name: string) => arms.find(({ arm }) => arm === name)?.precision ?? name;
  const against = `${precisionOf(focus.arm)} against ${precisionOf(focus.reference)}`;
  return element(
    "dl",
    { class: "tiles" },
    tile(`change of the ${plainTitle(main)}`, signed((value) => formatValue(value, main))(change.mean).replace("-", "−"), `${half}${test}`),
    tile("memory for weights", saved(weights), against),
    ...(peakMemory === undefined ? [] : [tile("peak memory", saved(peakMemory), "while training")]),
  );
}

function plainTitle({ title }: StudyMetric): string {
  return title.replace(", %", "");
}

function renderFigures(figures: readonly Figure[]): string {
  return figures.length === 0 ? "" : element("div", { class: "figures" }, ...figures.map(renderFigure));
}

function renderFigure({ name, title, description, svg }: Figure): string {
  return element("figure", { id: `figure-${name}` }, element("h3", {}, text(title)), withoutStyle(svg), element("figcaption", {}, element("details", { id: `words-${name}` }, element("summary", {}, "In words"), text(description))));
}

/** Shown by the script, since it does nothing without it. */
function renderFilter({ arms }: Study): string {
  if (arms.length < 2) return "";
  const styles = stylesOf(arms);
  const boxes = arms.map(({ arm }) => element("label", {}, `<input type="checkbox" checked value="${text(arm)}">`, renderSwatch(styles.get(arm)), text(arm)));
  return element("fieldset", { class: "filter", hidden: true }, element("legend", {}, "Arms shown"), element("div", {}, ...boxes, element("button", { type: "button", class: "plain", id: "show-all" }, "all")));
}
