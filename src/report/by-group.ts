/** Data whose clients are in groups: what each group's clients did and what their adapters are worth on the group's samples. */
import type { MetricsDatabase } from "../metrics/database.js";
import { groupTotals } from "../metrics/queries.js";
import type { GroupLine } from "../metrics/queries.js";
import { formatCount } from "./format.js";
import type { Column } from "./format.js";

export type { GroupLine } from "../metrics/queries.js";

/** Lines of all arms by group; undefined when the data has no groups. */
export function linesByGroup(database: MetricsDatabase): readonly GroupLine[] | undefined {
  const lines = groupTotals(database);
  return lines.length === 0 ? undefined : lines;
}

/** Title, columns and cells of the table. */
export function groupTable(lines: readonly GroupLine[]) {
  const right = (title: string): Column => ({ title, align: "right" });
  const columns: Column[] = [{ title: "arm" }, { title: "group" }, ...["clients trained", "client rounds", "tokens", "train loss", "loss before", "held-out loss"].map(right)];
  const loss = (value: number | null) => (value === null ? "-" : value.toFixed(4));
  const rows = lines.map((line) => [
    line.arm,
    line.group,
    String(line.numClients),
    String(line.numClientRounds),
    formatCount(line.numTokens),
    loss(line.trainLoss),
    loss(line.lossBefore),
    loss(line.heldOutLoss),
  ]);
  return { title: "By group of clients, on the group's held-out samples", columns, rows };
}
