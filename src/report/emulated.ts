/** Arms whose clients train on an emulator: what the adapter is worth there, and plugged into the full model. */
import type { MetricsDatabase } from "../metrics/database.js";
import { emulatorLosses } from "../metrics/queries.js";
import type { EmulatorLine } from "../metrics/queries.js";
import type { Column } from "./format.js";

export type { EmulatorLine } from "../metrics/queries.js";

/** Lines of these arms; undefined when there are none. */
export function linesOfEmulators(database: MetricsDatabase): readonly EmulatorLine[] | undefined {
  const lines = emulatorLosses(database);
  return lines.length === 0 ? undefined : lines;
}

/** Title, columns and cells of the table. */
export function emulatorTable(lines: readonly EmulatorLine[]) {
  const right = (title: string): Column => ({ title, align: "right" });
  const columns: Column[] = [{ title: "arm" }, ...["emulator before", "in the emulator", "full model before", "in the full model"].map(right)];
  const loss = (value: number | null) => (value === null ? "-" : value.toFixed(4));
  const rows = lines.map((line) => [line.arm, ...[line.emulatorBefore, line.emulatorLoss, line.fullBefore, line.fullLoss].map(loss)]);
  return { title: "Adapters trained on an emulator, held-out loss in both models", columns, rows };
}
