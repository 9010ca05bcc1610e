/** The cells of a sweep as one table, best held-out loss first; seeds are repetitions of a cell. Every number is a query over the cells' runs. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openMetricsForReading } from "../metrics/database.js";
import { costs, finalValues } from "../metrics/study-queries.js";
import { AGGREGATION_ERROR } from "../adapter/aggregation-error.js";
import { runPaths } from "../run/run-folder.js";
import type { SweepCell } from "../sweep.js";
import { formatBytes, formatTable } from "./format.js";
import { estimateMean } from "./study/statistics.js";
import type { Estimate } from "./study/statistics.js";

/** One combination of values and one arm, over seeds. */
export interface SweepLine {
  /** By dotted path. */
  readonly values: Readonly<Record<string, unknown>>;
  readonly arm: string;
  /** The metric that lines are ordered by: the held-out loss of the objective. */
  readonly metric: string;
  readonly loss: Estimate;
  /** Both directions, mean over seeds. */
  readonly trafficBytes?: number;
}

const LOSSES = ["heldout_loss", "heldout_dpo_loss"];

/** Lines of the cells that have measured a loss, the lowest mean first. */
export function sweepLines(folder: string, cells: readonly SweepCell[]): readonly SweepLine[] {
  const groups = new Map<string, { readonly line: Omit<SweepLine, "loss" | "trafficBytes">; readonly losses: number[]; readonly bytes: number[] }>();
  for (const { name, values } of cells) {
    const path = runPaths(join(folder, name)).metrics;
    if (!existsSync(path)) continue;
    const database = openMetricsForReading(path);
    try {
      const traffic = new Map(costs(database, AGGREGATION_ERROR).map(({ arm, uploadBytes, downloadBytes }) => [arm, uploadBytes + downloadBytes]));
      for (const { arm, metric, value } of finalValues(database)) {
        if (!LOSSES.includes(metric)) continue;
        const key = JSON.stringify([values, arm, metric]);
        const group = groups.get(key) ?? { line: { values: Object.fromEntries(values), arm, metric }, losses: [], bytes: [] };
        group.losses.push(value);
        const bytes = traffic.get(arm);
        if (bytes !== undefined) group.bytes.push(bytes);
        groups.set(key, group);
      }
    } finally {
      database.close();
    }
  }
  const lines = [...groups.values()].flatMap(({ line, losses, bytes }) => {
    const loss = estimateMean(losses);
    const trafficBytes = estimateMean(bytes)?.mean;
    return loss === undefined ? [] : [{ ...line, loss, ...(trafficBytes === undefined ? {} : { trafficBytes }) }];
  });
  return lines.sort((left, right) => left.loss.mean - right.loss.mean);
}

/** Lines for a terminal. */
export function formatSweep(lines: readonly SweepLine[]): readonly string[] {
  const paths = [...new Set(lines.flatMap(({ values }) => Object.keys(values)))];
  const hasSeveralArms = new Set(lines.map(({ arm }) => arm)).size > 1;
  const columns = [
    ...paths.map((title) => ({ title })),
    ...(hasSeveralArms ? [{ title: "arm" }] : []),
    ...["seeds", "held-out loss", "95 % interval", "sent"].map((title) => ({ title, align: "right" as const })),
  ];
  return formatTable(
    columns,
    lines.map(({ values, arm, loss, trafficBytes }) => [
      ...paths.map((path) => valueText(values[path])),
      ...(hasSeveralArms ? [arm] : []),
      String(loss.count),
      loss.mean.toFixed(4),
      loss.low === undefined || loss.high === undefined ? "-" : `${loss.low.toFixed(4)} to ${loss.high.toFixed(4)}`,
      trafficBytes === undefined ? "-" : formatBytes(trafficBytes),
    ]),
  );
}

function valueText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
