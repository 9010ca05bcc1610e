/** The table over runs of several seeds: means, intervals and costs are those of the runs' rows, worked out here in another way. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { clientRounds, evaluationsByArm, totals } from "../../src/metrics/queries.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

/** Mean, half of the 95 % interval of three values (t of two degrees of freedom), smallest and largest. */
function spread(values: readonly number[], digits: number): string {
  const [a = 0, b = 0, c = 0] = values;
  const variance = ((a - b) ** 2 + (b - c) ** 2 + (c - a) ** 2) / 6;
  const half = 4.303 * Math.sqrt(variance / 3);
  return `${((a + b + c) / 3).toFixed(digits)} ± ${half.toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;
}

test("three seeds of two arms", async () => {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ["arms: [{name: f16-fedavg, precision: F16, training: {personalization: {fineTuneSteps: 2}}}, {precision: F16, strategy: ditto}]"]);
  const folders = [1, 2, 3].map((seed) => join(folder, `seed-${String(seed)}`));
  const clock = "federation.devices={profiles: {pc: {tokensPerSecond: 20}}, speedSpread: {distribution: lognormal, sigma: 1}}";
  for (const [index, out] of folders.entries()) await runExperiment(await configOf(file, `seed=${String(index + 1)}`, clock), out);

  const [header = "", , ...lines] = execFileSync("node", ["experiments/spread-over-seeds.mjs", ...folders], { encoding: "utf8" }).trim().split("\n");
  const cellsOf = (line: string) => line.split("|").slice(1, -1).map((cell) => cell.trim());
  const cell = (arm: string, title: string) => cellsOf(lines.find((line) => cellsOf(line)[0] === arm) ?? "")[cellsOf(header).indexOf(title)];
  expect(lines.map((line) => cellsOf(line)[0])).toEqual(["f16 base", "f16-fedavg", "f16-fedavg, fine-tuned", "f16-ditto"]);

  const perSeed = (read: (database: ReturnType<typeof openMetricsDatabase>) => number) =>
    folders.map((out) => {
      const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
      const value = read(database);
      database.close();
      return value;
    });
  const own = (arm: string, metric: string) =>
    perSeed((database) => {
      const trained = new Set(clientRounds(database, arm).map(({ clientId }) => clientId));
      const values = evaluationsByArm(database, arm).filter((line) => line.round === 3 && line.metric === metric && trained.has(line.clientId ?? ""));
      return values.reduce((sum, { value }) => sum + (value ?? Number.NaN), 0) / values.length;
    });
  const overall = (arm: string) =>
    perSeed((database) => evaluationsByArm(database, arm).find(({ round, metric, clientId }) => round === 3 && metric === "heldout_loss" && clientId === null)?.value ?? Number.NaN);
  for (const arm of ["f16-fedavg", "f16-ditto"]) {
    expect(cell(arm, "held-out loss")).toBe(spread(overall(arm), 3));
    expect(cell(arm, "loss on the client's own samples")).toBe(spread(own(arm, "heldout_loss"), 3));
    expect(cell(arm, "uploads of all clients and rounds, MB")).toBe(((perSeed((database) => totals(database, arm).uploadBytes)[0] ?? 0) / 1e6).toFixed(1));
    const minutes = perSeed((database) => (totals(database, arm).simulatedDurationMs ?? Number.NaN) / 60_000);
    expect(new Set(minutes).size).toBe(3);
    expect(cell(arm, "simulated time, min")).toBe(spread(minutes, 1));
  }
  expect(cell("f16-fedavg, fine-tuned", "loss on the client's own samples")).toBe(spread(own("f16-fedavg", "heldout_loss@finetuned"), 3));
}, 60_000);
