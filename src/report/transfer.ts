/** The transfer matrix of a run: each arm's adapter on the base model in every precision. */
import type { MetricsDatabase } from "../metrics/database.js";
import { transferValues } from "../metrics/study-queries.js";
import type { Column } from "./format.js";

/** One arm's adapter: held-out loss by the precision of the base model that it was judged on. */
export interface TransferRow {
  readonly arm: string;
  readonly losses: Readonly<Record<string, number | null>>;
}

const LOSSES = ["heldout_loss", "heldout_dpo_loss"];

/** Rows of the arms that were judged on other precisions; undefined when there are none. */
export function rowsOfTransfer(database: MetricsDatabase): readonly TransferRow[] | undefined {
  const lines = transferValues(database).filter(({ metric }) => LOSSES.includes(metric));
  const arms = [...new Set(lines.map(({ arm }) => arm))];
  if (arms.length === 0) return undefined;
  return arms.map((arm) => ({ arm, losses: Object.fromEntries(lines.filter((line) => line.arm === arm).map(({ precision, value }) => [precision, value])) }));
}

/** Title, columns and cells of the table. */
export function transferTable(rows: readonly TransferRow[]) {
  const precisions = [...new Set(rows.flatMap(({ losses }) => Object.keys(losses)))];
  const columns: Column[] = [{ title: "adapter of arm" }, ...precisions.map((precision) => ({ title: `on ${precision}`, align: "right" as const }))];
  const cells = rows.map(({ arm, losses }) => [arm, ...precisions.map((precision) => losses[precision]?.toFixed(4) ?? "-")]);
  return { title: "Transfer: held-out loss of each arm's adapter on the base model in each precision", columns, rows: cells };
}
