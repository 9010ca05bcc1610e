/** What a run was predicted to cost beside what it did cost. */
import type { MetricsDatabase } from "../metrics/database.js";
import { predictedAndHappened } from "../metrics/study-queries.js";
import type { OutcomeLine } from "../metrics/study-queries.js";
import { formatBytes, formatCount, formatDuration } from "./format.js";
import type { Column } from "./format.js";

export type { OutcomeLine } from "../metrics/study-queries.js";

/** Lines of the arms that have begun; undefined where nothing was predicted. */
export function linesOfPredictions(database: MetricsDatabase): readonly OutcomeLine[] | undefined {
  const lines = predictedAndHappened(database);
  return lines.length === 0 ? undefined : lines;
}

/** Title, columns and cells of the table. */
export function predictionTable(lines: readonly OutcomeLine[]) {
  const right = (title: string): Column => ({ title, align: "right" });
  const columns: Column[] = [{ title: "arm" }, { title: "quantity" }, ...["predicted", "from", "to", "happened"].map(right)];
  const rows = lines.map(({ arm, quantity, value, low, high, actual }) => [arm, nameOf(quantity), ...[value, low, high, actual].map((number) => (number === null ? "-" : format(quantity, number)))]);
  return { title: "Predicted / happened", columns, rows };
}

const NAMES: Readonly<Record<string, string>> = {
  tokens: "tokens",
  upload_bytes: "sent up",
  download_bytes: "sent down",
  peak_memory_bytes: "peak memory",
  duration_ms: "time",
  energy_joules: "energy",
};

function nameOf(quantity: string): string {
  return NAMES[quantity] ?? quantity;
}

function format(quantity: string, value: number): string {
  if (quantity.endsWith("_bytes")) return formatBytes(value);
  if (quantity.endsWith("_ms")) return formatDuration(value);
  return quantity.endsWith("_joules") ? `${formatCount(Math.round(value))} J` : formatCount(Math.round(value));
}
