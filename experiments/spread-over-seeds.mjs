// Prints a Markdown table over runs of one experiment that differ in their seed: for each arm the mean, smallest and largest
// value of the final overall metrics. Every number is a query over the runs' metrics.sqlite.
// usage: node experiments/spread-over-seeds.mjs RUN_FOLDER...
import Database from "better-sqlite3";
import { join } from "node:path";

const folders = process.argv.slice(2);
if (folders.length === 0) {
  console.error("usage: node experiments/spread-over-seeds.mjs RUN_FOLDER...");
  process.exit(2);
}

const FINAL = `
  SELECT a.name AS arm, e.round AS round, e.metric AS metric, e.value AS value,
         (SELECT sum(upload_bytes) FROM rounds r WHERE r.arm = a.name) AS upload_bytes
  FROM arms a JOIN evaluations e ON e.arm = a.name AND e.client_id IS NULL
  WHERE e.round = 0 OR e.round = (SELECT max(round) FROM evaluations m WHERE m.arm = a.name AND m.client_id IS NULL)
  ORDER BY a.arm_index, e.round`;

/** arm -> metric -> one value per run */
const table = new Map();
for (const folder of folders) {
  const database = new Database(join(folder, "metrics.sqlite"), { readonly: true });
  for (const row of database.prepare(FINAL).all()) {
    // Round 0 is the base model: the same for all arms of one precision.
    const name = row.round === 0 ? `${row.arm.split("-")[0]} base` : row.arm;
    const metrics = table.get(name) ?? new Map();
    table.set(name, metrics);
    const values = metrics.get(row.metric) ?? new Map();
    metrics.set(row.metric, values);
    values.set(folder, row.value);
    if (row.round > 0) metrics.set("upload_bytes", new Map([[folder, row.upload_bytes]]));
  }
  database.close();
}

const show = (values, factor, digits) => {
  const numbers = [...values.values()].map((value) => value * factor);
  const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  const spread = `${Math.min(...numbers).toFixed(digits)} to ${Math.max(...numbers).toFixed(digits)}`;
  return numbers.every((value) => value === numbers[0]) ? mean.toFixed(digits) : `${mean.toFixed(digits)} (${spread})`;
};

/** Title, metric, factor and digits of the columns, of which those are shown that some run has. */
const COLUMNS = [
  ["held-out loss", "heldout_loss", 1, 3],
  ["exact match, %", "heldout_exact_match", 100, 1],
  ["held-out DPO loss", "heldout_dpo_loss", 1, 3],
  ["reward accuracy, %", "heldout_reward_accuracy", 100, 1],
  ["reward margin", "heldout_reward_margin", 1, 2],
  ["ranking accuracy, %", "heldout_ranking_accuracy", 100, 1],
  ["uploads of all clients and rounds, MB", "upload_bytes", 1e-6, 1],
].filter(([, metric]) => [...table.values()].some((metrics) => metrics.has(metric)));

console.log(`| ${["arm", ...COLUMNS.map(([title]) => title)].join(" | ")} |`);
console.log(`|${" --- |".repeat(COLUMNS.length + 1)}`);
for (const [name, metrics] of table) {
  const cells = COLUMNS.map(([, metric, factor, digits]) => (metrics.has(metric) ? show(metrics.get(metric), factor, digits) : ""));
  console.log(`| ${[name, ...cells].join(" | ")} |`);
}
