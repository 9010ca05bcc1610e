// Prints a Markdown table over runs of one experiment that differ in their seed: for each arm the mean, its 95 % interval and
// the smallest and largest value of the final metrics. A seed may be spread over several run folders that have different arms.
// Every number is a query over the runs' metrics.sqlite.
// usage: node experiments/spread-over-seeds.mjs RUN_FOLDER...
import Database from "better-sqlite3";
import { join } from "node:path";

const folders = process.argv.slice(2);
if (folders.length === 0) {
  console.error("usage: node experiments/spread-over-seeds.mjs RUN_FOLDER...");
  process.exit(2);
}

const FINAL = `
  SELECT a.name AS arm, a.model_name AS model, e.round AS round, e.metric AS metric, e.value AS value
  FROM arms a JOIN evaluations e ON e.arm = a.name AND e.client_id IS NULL
  WHERE e.round = 0 OR e.round = (SELECT max(round) FROM evaluations m WHERE m.arm = a.name AND m.client_id IS NULL)
  ORDER BY a.arm_index, e.round`;
/** Over all rounds of an arm. */
const COSTS = `
  SELECT a.name AS arm, sum(r.upload_bytes) AS upload_bytes, sum(r.download_bytes) AS download_bytes,
         sum(r.simulated_duration_ms) AS simulated_ms,
         (SELECT avg(m.value) FROM round_measures m WHERE m.arm = a.name AND m.measure = 'aggregation_error' AND m.layer IS NULL) AS aggregation_error
  FROM arms a JOIN rounds r ON r.arm = a.name GROUP BY a.name`;
/** What a client's adapter does on the client's own held-out samples: mean over the clients that trained, or all where data was pooled. */
const OWN = `
  SELECT e.arm AS arm, e.metric AS metric, avg(e.value) AS value FROM evaluations e
  WHERE e.client_id IS NOT NULL AND e.round > 0
    AND e.round = (SELECT max(round) FROM evaluations m WHERE m.arm = e.arm)
    AND e.metric IN ('heldout_loss', 'heldout_exact_match', 'heldout_loss@finetuned', 'heldout_exact_match@finetuned')
    AND (e.client_id IN (SELECT c.client_id FROM client_rounds c WHERE c.arm = e.arm AND c.failure_code IS NULL)
         OR NOT EXISTS (SELECT 1 FROM client_rounds c JOIN evaluations o ON o.arm = c.arm AND o.client_id = c.client_id WHERE c.arm = e.arm))
  GROUP BY e.arm, e.metric`;

/** arm -> metric -> one value per run */
const table = new Map();
const note = (arm, metric, folder, value) => {
  if (value === null) return;
  const metrics = table.get(arm) ?? new Map();
  table.set(arm, metrics);
  const values = metrics.get(metric) ?? new Map();
  metrics.set(metric, values);
  values.set(folder, value);
};
for (const folder of folders) {
  const database = new Database(join(folder, "metrics.sqlite"), { readonly: true });
  const costs = new Map(database.prepare(COSTS).all().map(({ arm, ...sums }) => [arm, sums]));
  const own = database.prepare(OWN).all();
  for (const row of database.prepare(FINAL).all()) {
    // Round 0 is the base model: the same for all arms of one precision, which ends the model's name.
    note(row.round === 0 ? `${row.model.split(" ").at(-1).toLowerCase()} base` : row.arm, row.metric, folder, row.value);
    if (row.round === 0) continue;
    for (const [metric, value] of Object.entries(costs.get(row.arm) ?? {})) note(row.arm, metric, folder, value);
    for (const { arm, metric, value } of own.filter(({ arm }) => arm === row.arm)) {
      const [name, kind] = metric.split("@");
      note(kind === undefined ? arm : `${arm}, fine-tuned`, name.replace("heldout", "own"), folder, value);
    }
  }
  database.close();
}

/** Student's t at 97.5 % for 1, 2, ... degrees of freedom; from 20 on the normal distribution is near enough. */
const T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093];

const show = (values, factor, digits) => {
  const numbers = [...values.values()].map((value) => value * factor);
  const count = numbers.length;
  const mean = numbers.reduce((sum, value) => sum + value, 0) / count;
  // Equal up to what is shown.
  if (new Set(numbers.map((value) => value.toFixed(digits))).size === 1) return mean.toFixed(digits);
  const deviation = Math.sqrt(numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1));
  const half = ((T[count - 2] ?? 1.96) * deviation) / Math.sqrt(count);
  return `${mean.toFixed(digits)} ± ${half.toFixed(digits)} (${Math.min(...numbers).toFixed(digits)} to ${Math.max(...numbers).toFixed(digits)})`;
};

/** Title, metric, factor and digits of the columns, of which those are shown that some run has. */
const COLUMNS = [
  ["held-out loss", "heldout_loss", 1, 3],
  ["exact match, %", "heldout_exact_match", 100, 1],
  ["loss on the client's own samples", "own_loss", 1, 3],
  ["exact match on them, %", "own_exact_match", 100, 1],
  ["held-out DPO loss", "heldout_dpo_loss", 1, 3],
  ["reward accuracy, %", "heldout_reward_accuracy", 100, 1],
  ["reward margin", "heldout_reward_margin", 1, 2],
  ["ranking accuracy, %", "heldout_ranking_accuracy", 100, 1],
  ["uploads of all clients and rounds, MB", "upload_bytes", 1e-6, 1],
  ["downloads, MB", "download_bytes", 1e-6, 1],
  ["simulated time, min", "simulated_ms", 1 / 60_000, 1],
  ["aggregation error", "aggregation_error", 1, 3],
].filter(([, metric]) => [...table.values()].some((metrics) => metrics.has(metric)));

console.log(`| ${["arm", ...COLUMNS.map(([title]) => title)].join(" | ")} |`);
console.log(`|${" --- |".repeat(COLUMNS.length + 1)}`);
for (const [name, metrics] of table) {
  const cells = COLUMNS.map(([, metric, factor, digits]) => (metrics.has(metric) ? show(metrics.get(metric), factor, digits) : ""));
  console.log(`| ${[name, ...cells].join(" | ")} |`);
}
