/**
 * A program that records round 1 in the metrics file of its first argument and is killed while it records round 2, in
 * the middle of the transaction: reading the last client's id is what kills it.
 */
import type { ClientRoundRow, RoundRow } from "../../src/metrics/rows.js";
import { MetricsStore } from "../../src/metrics/store.js";

const path = process.argv[2];
if (path === undefined) throw new Error("usage: killed-writer FILE");
const store = new MetricsStore(path);
store.saveRun({ id: "r", createdAt: "2026-01-01T00:00:00Z", seed: 1, config: {}, versions: {} });
store.saveArm("r", { name: "arm", armIndex: 0, modelName: "m", modelSha256: "00", modelWeightBytes: 1 });

const client: ClientRoundRow = { clientId: "a", numExamples: 1, learningRate: 1, uploadBytes: 0, downloadBytes: 0 };
const deadly: ClientRoundRow = {
  ...client,
  get clientId(): string {
    process.kill(process.pid, "SIGKILL");
    return "never";
  },
};
const record = (round: number, clients: readonly ClientRoundRow[]): void => {
  const counts = { cohortSize: 1, numSucceeded: 1, numFailed: 0, numRejected: 0, uploadBytes: 0, downloadBytes: 0 };
  const row: RoundRow = { round, startedAt: "", durationMs: 0, ...counts, clients, evaluations: [], measures: [], events: [] };
  store.recordRound("arm", row);
};
record(1, [client]);
record(2, [client, deadly]);
