/** A judge's verdicts on two subjects as a table of text, by category where there are few. */
import type { ComparisonSummary, PairwiseSummary } from "../benchmarks/pairwise.js";
import type { ResultTable } from "./evaluation.js";
import { formatPercent, printable } from "./format.js";

/** More categories than a screen has room for are left to JSON. */
const MAX_CATEGORIES = 10;

/** Rates are the left side's. */
export function pairwiseTable(title: string, { overall, categories }: ComparisonSummary, categoryName = "category"): ResultTable {
  const shown = categories.length > 1 && categories.length <= MAX_CATEGORIES ? categories : [];
  const titles = ["items", "wins", "ties", "losses", "unreadable", "orders disagree", "win rate", "adjusted win rate [95 %]"];
  return {
    title,
    columns: [{ title: categoryName }, ...titles.map((column) => ({ title: column, align: "right" as const }))],
    rows: [["all", ...cells(overall)], ...shown.map((summary) => [printable(summary.category), ...cells(summary)])],
  };
}

function cells({ numItems, numWins, numTies, numLosses, numUnreadable, disagreement, winRate, adjustedWinRate, interval }: PairwiseSummary): string[] {
  const within = interval === undefined ? "" : ` [${percent(interval.low)}, ${percent(interval.high)}]`;
  return [...[numItems, numWins, numTies, numLosses, numUnreadable].map(String), percent(disagreement), percent(winRate), `${percent(adjustedWinRate)}${within}`];
}

function percent(part: number): string {
  return Number.isNaN(part) ? "–" : formatPercent(part);
}
