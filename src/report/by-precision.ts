/** Federations whose clients train on base models of different precision: what each precision did and what the adapter is worth on it. */
import type { MetricsDatabase } from "../metrics/database.js";
import { precisionTotals } from "../metrics/queries.js";
import type { PrecisionLine } from "../metrics/queries.js";
import { formatCount } from "./format.js";
import type { Column } from "./format.js";

export type { PrecisionLine } from "../metrics/queries.js";

/** Lines of the arms with clients of more than one precision; undefined when there are none. */
export function linesByPrecision(database: MetricsDatabase): readonly PrecisionLine[] | undefined {
  const lines = precisionTotals(database);
  return lines.length === 0 ? undefined : lines;
}

/** Title, columns and cells of the table. */
export function precisionTable(lines: readonly PrecisionLine[]) {
  const right = (title: string): Column => ({ title, align: "right" });
  const columns: Column[] = [
    { title: "arm" },
    { title: "precision" },
    ...["clients", "client rounds", "tokens", "tokens/s", "train loss", "held-out loss"].map(right),
  ];
  const rows = lines.map((line) => [
    line.arm,
    line.precision,
    String(line.numClients),
    String(line.numClientRounds),
    formatCount(line.numTokens),
    line.tokensPerSecond === null ? "-" : formatCount(line.tokensPerSecond),
    line.trainLoss === null ? "-" : line.trainLoss.toFixed(4),
    line.heldOutLoss === null ? "-" : line.heldOutLoss.toFixed(4),
  ]);
  return { title: "By precision of the clients' base models", columns, rows };
}
