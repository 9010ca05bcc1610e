/** Results of metrics as tables of text: means with intervals by subject, by category, by client, and comparisons of two subjects. */
import type { MeasureComparison, MeasureSummary } from "../benchmarks/summary.js";
import type { StoredResult } from "../benchmarks/queries.js";
import { formatMarkdownTable, formatTable, printable, truncateToWidth } from "./format.js";
import type { Column } from "./format.js";

/** A result with its numbers. */
export interface SummarizedResult {
  readonly result: StoredResult;
  readonly measures: readonly MeasureSummary[];
}

export interface ResultTable {
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
}

/** More categories than a screen has room for are left to the database. */
const MAX_CATEGORY_COLUMNS = 10;
const MAX_LABEL_WIDTH = 48;

const right = (title: string): Column => ({ title, align: "right" });

/** One table per metric and judge, by category where there are few, and one of the fairness over clients. */
export function evaluationTables(results: readonly SummarizedResult[]): ResultTable[] {
  const groups = new Map<string, SummarizedResult[]>();
  for (const entry of results) {
    const { metric, itemsSha256, numItems, seed, graders } = entry.result;
    const key = JSON.stringify([metric, itemsSha256, numItems, seed, graders]);
    groups.set(key, [...(groups.get(key) ?? []), entry]);
  }
  return [...groups.values()].flatMap((group) => [meansTable(group), ...categoryTable(group), ...fairnessTable(group)]);
}

/** Lines of all tables, as text or Markdown. */
export function renderTables(tables: readonly ResultTable[], asMarkdown = false): string[] {
  const render = asMarkdown ? formatMarkdownTable : formatTable;
  return tables.flatMap(({ title, columns, rows }, index) => [...(index === 0 ? [] : [""]), asMarkdown ? `**${title}**` : title, "", ...render(columns, rows)]);
}

function meansTable(group: readonly SummarizedResult[]): ResultTable {
  const measures = group[0]?.measures ?? [];
  const rows = group.map(({ result, measures: own }) => [
    labelOf(result),
    ...own.map(withInterval),
    String(Math.max(0, ...own.map(({ numItems }) => numItems))),
    String(Math.max(0, ...own.map(({ numExcluded }) => numExcluded))),
    ...(group.some((entry) => entry.result.numUnscored > 0) ? [String(result.numUnscored)] : []),
  ]);
  const unscored = group.some(({ result }) => result.numUnscored > 0) ? [right("not scored")] : [];
  return {
    title: titleOf(group),
    columns: [{ title: "subject" }, ...measures.map(({ title }) => right(title)), right("items"), right("excluded"), ...unscored],
    rows: [...rows, ...meansOfClients(group)],
  };
}

/** Where an arm has several clients' adapters among the subjects, the mean over them. */
function meansOfClients(group: readonly SummarizedResult[]): string[][] {
  const byArm = new Map<string, SummarizedResult[]>();
  for (const entry of group) {
    const { arm, clientId, precision } = entry.result.subject;
    if (arm === undefined || clientId === undefined) continue;
    const key = JSON.stringify([arm, precision]);
    byArm.set(key, [...(byArm.get(key) ?? []), entry]);
  }
  return [...byArm.values()].flatMap((entries) => {
    const [first] = entries;
    if (first === undefined || entries.length < 2) return [];
    const cells = first.measures.map((measure, index) => {
      const means = entries.flatMap((entry) => entry.measures[index]?.mean ?? []);
      return means.length === 0 ? "" : number(means.reduce((sum, mean) => sum + mean, 0) / means.length, measure);
    });
    return [[`${first.result.subject.arm ?? ""}, mean of ${String(entries.length)} clients' adapters`, ...cells, "", ""]];
  });
}

function categoryTable(group: readonly SummarizedResult[]): ResultTable[] {
  const { info } = group[0]?.result ?? {};
  if (info === undefined || info.categoryName === "client") return [];
  const names = [...new Set(group.flatMap(({ measures }) => measures.flatMap(({ categories }) => categories.map(({ category }) => category))))];
  if (names.length < 2 || names.length > MAX_CATEGORY_COLUMNS) return [];
  // A measure that is a mean over categories has the means of the plain one beside it, where there is one.
  const hasPlain = group.some(({ measures }) => measures.some(({ summary }) => summary === "mean"));
  const rows = group.flatMap(({ result, measures }) =>
    measures.filter(({ summary }) => !hasPlain || summary === "mean").map((measure) => [
      labelOf(result),
      measure.title,
      ...names.map((name) => {
        const found = measure.categories.find(({ category }) => category === name);
        return found === undefined ? "" : number(found.mean, measure);
      }),
      measure.meanOfCategories === undefined ? "" : number(measure.meanOfCategories, measure),
    ]),
  );
  const columns = [{ title: "subject" }, { title: "measure" }, ...names.map((name) => right(printable(name))), right("mean of these")];
  return [{ title: `${info.title} by ${info.categoryName ?? "category"}`, columns, rows }];
}

function fairnessTable(group: readonly SummarizedResult[]): ResultTable[] {
  const rows = group.flatMap(({ result, measures }) =>
    measures.flatMap((measure) => {
      const { fairness } = measure;
      if (fairness === undefined || fairness.numClients < 2) return [];
      const share = (value: number | undefined) => value?.toFixed(3) ?? "";
      return [
        [
          labelOf(result),
          measure.title,
          String(fairness.numClients),
          ...[fairness.mean, fairness.worstTenth, fairness.standardDeviation].map((value) => number(value, measure)),
          ...[fairness.variation, fairness.gini, fairness.jain].map(share),
        ],
      ];
    }),
  );
  if (rows.length === 0) return [];
  const titles = ["clients", "mean", "worst 10 %", "sd", "sd / mean", "Gini", "Jain"];
  return [{ title: `${group[0]?.result.info.title ?? ""} over clients`, columns: [{ title: "subject" }, { title: "measure" }, ...titles.map(right)], rows }];
}

/** One row per measure; both labels stand in the title. */
export function comparisonTable(left: string, rightLabel: string, comparisons: readonly MeasureComparison[]): ResultTable {
  return {
    title: `${printable(left)} against ${printable(rightLabel)}, on the items of both`,
    columns: [{ title: "metric" }, { title: "measure" }, ...["left", "right", "difference [95 %]", "better", "equal", "worse", "p", "p (Holm)"].map(right)],
    rows: comparisons.map((comparison) => [
      comparison.metric,
      comparison.title,
      number(comparison.left, comparison),
      number(comparison.right, comparison),
      `${number(comparison.difference, comparison)}${intervalOf(comparison)}`,
      ...[comparison.wins, comparison.ties, comparison.losses].map(String),
      `${comparison.isExact ? "" : "~"}${pValue(comparison.pValue)}`,
      pValue(comparison.adjustedPValue),
    ]),
  };
}

function titleOf(group: readonly SummarizedResult[]): string {
  const [first] = group;
  if (first === undefined) return "";
  const { info, metric, graders } = first.result;
  const by = [...(graders.judge === undefined ? [] : [`judged by ${printable(graders.judge)}`]), ...(graders.sandbox === undefined ? [] : [`run in ${printable(graders.sandbox)}`])];
  return `${[`${info.title} (${metric})`, ...by].join(", ")}, mean [95 % interval]`;
}

const labelOf = ({ subject }: StoredResult) => truncateToWidth(printable(subject.label), MAX_LABEL_WIDTH);

function withInterval(measure: MeasureSummary): string {
  return measure.mean === undefined ? "" : `${number(measure.mean, measure)}${intervalOf(measure)}`;
}

function intervalOf(measure: Pick<MeasureSummary, "interval" | "displayFactor">): string {
  const { interval } = measure;
  return interval === undefined ? "" : ` [${number(interval.low, measure)}, ${number(interval.high, measure)}]`;
}

/** Percentages with one digit after the point, everything else with three. */
function number(value: number, { displayFactor }: Pick<MeasureSummary, "displayFactor">): string {
  return (value * displayFactor).toFixed(displayFactor === 100 ? 1 : 3);
}

function pValue(value: number): string {
  return value < 0.001 ? value.toExponential(0) : value.toFixed(3);
}
