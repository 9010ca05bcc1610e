/** Adapters of single clients beside the common ones, on the same clients' own held-out data. */
import type { MetricsDatabase } from "../metrics/database.js";
import { personalGains } from "../metrics/queries.js";
import type { PersonalLine } from "../metrics/queries.js";
import type { Column } from "./format.js";

export type { PersonalLine } from "../metrics/queries.js";

/** Lines of the arms whose clients have both; undefined when there are none. */
export function linesOfPersonal(database: MetricsDatabase): readonly PersonalLine[] | undefined {
  const lines = personalGains(database);
  return lines.length === 0 ? undefined : lines;
}

/** Title, columns and cells of the table. */
export function personalTable(lines: readonly PersonalLine[]) {
  const right = (title: string): Column => ({ title, align: "right" });
  const columns: Column[] = [{ title: "arm" }, { title: "adapter" }, ...["clients", "loss before", "loss of its own", "clients that gained"].map(right)];
  const rows = lines.map(({ arm, adapter, numClients, lossBefore, ownLoss, numGained }) => [
    arm,
    adapter,
    String(numClients),
    lossBefore.toFixed(4),
    ownLoss.toFixed(4),
    String(numGained),
  ]);
  return { title: "Clients' own adapters, on their own held-out samples (means over clients)", columns, rows };
}
