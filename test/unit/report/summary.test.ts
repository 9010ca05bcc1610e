/** The result table, from a database filled by hand through the real store. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MetricsStore } from "../../../src/metrics/store.js";
import type { EvaluationRow, RoundRow } from "../../../src/metrics/rows.js";
import { formatSummary, summarizeRun } from "../../../src/report/summary.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

function roundRow(round: number, evaluations: readonly EvaluationRow[], clients: RoundRow["clients"] = []): RoundRow {
  return {
    round,
    startedAt: "2026-01-01T00:00:00.000Z",
    durationMs: 10,
    cohortSize: clients.length,
    numSucceeded: clients.length,
    numFailed: 0,
    numRejected: 0,
    uploadBytes: clients.reduce((sum, client) => sum + client.uploadBytes, 0),
    downloadBytes: 0,
    clients,
    evaluations,
    measures: [],
    events: [],
  };
}

function measured(loss: number, exactMatch: number): EvaluationRow[] {
  return [
    { metric: "heldout_loss", value: loss },
    { metric: "heldout_exact_match", value: exactMatch },
    { metric: "heldout_loss", clientId: "a", value: 99 },
  ];
}

function client(id: string, changes: { uploadBytes: number; numTokens: number; trainDurationMs: number; peakMemoryBytes: number }) {
  return { clientId: id, numExamples: 1, learningRate: 0.1, downloadBytes: 0, ...changes };
}

function openStore(arms: readonly { name: string; precision: string; strategy: string }[]): MetricsStore {
  const store = new MetricsStore(join(makeTemporaryFolder(), "metrics.sqlite"));
  store.saveRun({ id: "r", createdAt: "2026-01-01T00:00:00.000Z", seed: 0, config: { arms }, versions: {} });
  for (const [armIndex, arm] of arms.entries()) {
    const modelWeightBytes = arm.precision === "F16" ? 2000 : 500;
    store.saveArm("r", { name: arm.name, armIndex, strategy: arm.strategy, modelName: "m", modelSha256: "0", modelWeightBytes });
  }
  return store;
}

describe("the table of a run", () => {
  const arms = [
    { name: "f16-fedavg", precision: "F16", strategy: "fedavg" },
    { name: "q8_0-fedavg", precision: "Q8_0", strategy: "fedavg" },
    { name: "mine", precision: "Q8_0", strategy: "fedavg" },
  ];

  test("has a base row per precision and compares each adapter with its like at F16", () => {
    const store = openStore(arms);
    const clients = [
      client("a", { uploadBytes: 100, numTokens: 30, trainDurationMs: 10, peakMemoryBytes: 7 }),
      client("b", { uploadBytes: 50, numTokens: 10, trainDurationMs: 10, peakMemoryBytes: 9 }),
    ];
    store.recordRound("f16-fedavg", roundRow(0, measured(4, 0)));
    store.recordRound("f16-fedavg", roundRow(1, measured(3, 0.25), clients));
    store.recordRound("f16-fedavg", roundRow(2, measured(2, 0.5)));
    store.recordRound("q8_0-fedavg", roundRow(0, measured(4.5, 0)));
    store.recordRound("q8_0-fedavg", roundRow(2, measured(1.75, 0.75)));
    const { reference, rows } = summarizeRun(store.database);
    store.close();
    expect(reference).toBe("F16");
    expect(rows).toEqual([
      { precision: "F16", adapter: "base", heldOutLoss: 4, exactMatch: 0, lossAgainstReference: 0, weightBytes: 2000 },
      {
        precision: "F16",
        adapter: "fedavg",
        heldOutLoss: 2,
        exactMatch: 0.5,
        lossAgainstReference: 0,
        weightBytes: 2000,
        peakMemoryBytes: 9,
        // 40 tokens in 20 ms.
        tokensPerSecond: 2000,
        // 150 bytes of two clients in one round.
        uploadBytes: 75,
      },
      { precision: "Q8_0", adapter: "base", heldOutLoss: 4.5, exactMatch: 0, lossAgainstReference: 0.5, weightBytes: 500 },
      { precision: "Q8_0", adapter: "fedavg", heldOutLoss: 1.75, exactMatch: 0.75, lossAgainstReference: -0.25, weightBytes: 500 },
      // An arm with a name of its own keeps it, and has not been measured.
      { precision: "Q8_0", adapter: "mine", weightBytes: 500 },
    ]);
  });

  test("shows the mean aggregation error over rounds of the arms that have one, and no column when none has", () => {
    const store = openStore(arms);
    for (const [round, value] of [[1, 0.5], [2, 0.25]] as const) {
      const layer = { measure: "aggregation_error", layer: 0, value: 9 };
      store.recordRound("f16-fedavg", { ...roundRow(round, []), measures: [{ measure: "aggregation_error", value }, layer] });
    }
    const lines = formatSummary(summarizeRun(store.database));
    store.close();
    expect(lines[0]?.endsWith("aggregation error")).toBe(true);
    expect(lines.slice(1).map((line) => line.trim().split(/ {2,}/).at(-1))).toEqual(["3.8e-1", "-", "-"]);
  });

  test("shows rewards for preference training, and names the start adapter as such", () => {
    const store = openStore(arms.slice(0, 1));
    store.saveRun({ id: "r", createdAt: "2026-01-01T00:00:00.000Z", seed: 0, config: { arms: arms.slice(0, 1), training: { startAdapter: "/a.gguf" } }, versions: {} });
    const rewards = (accuracy: number): EvaluationRow[] => [
      { metric: "heldout_dpo_loss", value: 0.6931 },
      { metric: "heldout_reward_accuracy", value: accuracy },
      { metric: "heldout_reward_margin", value: accuracy - 0.5 },
      { metric: "heldout_ranking_accuracy", value: 0.25 },
    ];
    store.recordRound("f16-fedavg", roundRow(0, rewards(0.5)));
    store.recordRound("f16-fedavg", roundRow(1, rewards(0.75)));
    const lines = formatSummary(summarizeRun(store.database)).map((line) => line.split(/ {2,}/));
    store.close();
    expect(lines[0]?.slice(2, 6)).toEqual(["held-out DPO loss", "reward accuracy", "reward margin", "ranking accuracy"]);
    expect(lines[1]?.slice(0, 6)).toEqual(["F16", "start", "0.6931", "50.0%", "+0.0000", "25.0%"]);
    expect(lines[2]?.slice(0, 6)).toEqual(["F16", "fedavg", "0.6931", "75.0%", "+0.2500", "25.0%"]);
  });

  test("prints a dash where nothing was measured", () => {
    const store = openStore([{ name: "q8_0-local", precision: "Q8_0", strategy: "local" }]);
    const lines = formatSummary(summarizeRun(store.database));
    store.close();
    expect(lines).toHaveLength(2);
    expect(lines[1]?.split(/ {2,}/)).toEqual(["Q8_0", "local", "-", "-", "-", "500 B", "-", "-", "-"]);
  });
});
