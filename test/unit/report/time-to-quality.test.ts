/** Time to quality from a database filled by hand: the target is one that all arms reach. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { MetricsStore } from "../../../src/metrics/store.js";
import { formatSummary, summarizeRun } from "../../../src/report/summary.js";
import { timeToQuality } from "../../../src/report/time-to-quality.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

/** Losses by arm, one per round from round 1; a round takes these simulated milliseconds, if any. */
function storeOf(arms: Readonly<Record<string, { readonly roundMs?: number; readonly losses: readonly number[] }>>): MetricsStore {
  const store = new MetricsStore(join(makeTemporaryFolder(), "metrics.sqlite"));
  const config = { arms: Object.keys(arms).map((name) => ({ name, precision: "F16", strategy: name })) };
  store.saveRun({ id: "r", createdAt: "2026-01-01T00:00:00.000Z", seed: 0, config, versions: {} });
  for (const [armIndex, [name, { roundMs, losses }]] of Object.entries(arms).entries()) {
    store.saveArm("r", { name, armIndex, strategy: name, modelName: "m", modelSha256: "0", modelWeightBytes: 1 });
    for (const [index, value] of [9, ...losses].entries()) {
      const counts = { cohortSize: 0, numSucceeded: 0, numFailed: 0, numRejected: 0, uploadBytes: 0, downloadBytes: 0 };
      store.recordRound(name, {
        ...counts,
        round: index,
        startedAt: "2026-01-01T00:00:00.000Z",
        durationMs: 1,
        ...(roundMs === undefined || index === 0 ? {} : { simulatedDurationMs: roundMs }),
        clients: [],
        evaluations: [{ metric: "heldout_loss", value }],
        measures: [],
        events: [],
      });
    }
  }
  return store;
}

test("is the first round with the worst arm's best loss, on the clock of each arm", () => {
  const { database } = storeOf({
    quick: { roundMs: 1000, losses: [4, 3, 2.5, 2] },
    good: { roundMs: 5000, losses: [2.5, 1, 1.5, 1] },
    bare: { losses: [0.1] },
  });
  expect(timeToQuality(database)).toEqual({
    targetLoss: 2,
    arms: [
      { arm: "quick", round: 4, simulatedMs: 4000, totalSimulatedMs: 4000 },
      { arm: "good", round: 2, simulatedMs: 10_000, totalSimulatedMs: 20_000 },
    ],
  });
  const lines = formatSummary(summarizeRun(database));
  expect(lines).toContain("Time to a held-out loss of 2.0000, which every arm reached");
  expect(lines.some((line) => /good +2 +10/.test(line))).toBe(true);
});

test("does not exist without a simulated clock", () => {
  const { database } = storeOf({ bare: { losses: [3] } });
  expect(timeToQuality(database)).toBeUndefined();
  expect(summarizeRun(database)).not.toHaveProperty("timeToQuality");
});
