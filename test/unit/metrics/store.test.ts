/** Goal: what is recorded is read back, a round is there completely or not at all, and a resumed run starts clean. */
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { openMetricsDatabase } from "../../../src/metrics/database.js";
import { armProgress, clientRounds, evaluationsByArm, events, meanMeasure, measuresByArm, run, summaryTable, totals } from "../../../src/metrics/queries.js";
import type { ClientRoundRow, RoundRow } from "../../../src/metrics/rows.js";
import { MetricsStore } from "../../../src/metrics/store.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

// Starting a process takes seconds on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const goodClient: ClientRoundRow = {
  clientId: "b",
  numExamples: 100,
  numSamples: 16,
  numTokens: 2000,
  numSupervisedTokens: 500,
  numSteps: 4,
  trainLoss: 1.5,
  firstTrainLoss: 2,
  lastTrainLoss: 1,
  learningRate: 2e-5,
  trainDurationMs: 1000,
  tokensPerSecond: 2000,
  updateNorm: 0.25,
  uploadBytes: 400,
  downloadBytes: 400,
  peakMemoryBytes: 5_000_000_000,
  group: "north",
};
const UNPLANNED = {
  plannedPeakBytes: null,
  plannedDeviceBytes: null,
  deviceBytes: null,
  microBatchTokens: null,
  recomputes: null,
  streams: null,
  fellBack: null,
};
/** What a client has that learned no preferences, has no device, was asked once and planned no memory. */
const NO_PREFERENCE = {
  ...UNPLANNED,
  device: null,
  simulatedDurationMs: null,
  precision: null,
  staleness: null,
  numAttempts: null,
  rewardMargin: null,
  rewardAccuracy: null,
  chosenReward: null,
  rejectedReward: null,
  chosenLogProbability: null,
  rejectedLogProbability: null,
};
const failedClient: ClientRoundRow = {
  clientId: "a",
  numExamples: 7,
  learningRate: 2e-5,
  trainDurationMs: 3000,
  uploadBytes: 400,
  downloadBytes: 400,
  failureCode: "UPDATE_REJECTED",
  failureMessage: "not finite",
};

const roundOf = (round: number): RoundRow => ({
  round,
  startedAt: "2026-01-01T00:00:00.000Z",
  durationMs: 1500,
  cohortSize: 2,
  numSucceeded: 1,
  numFailed: 1,
  numRejected: 1,
  trainLoss: 1.5,
  uploadBytes: 800,
  downloadBytes: 800,
  clients: [goodClient, failedClient],
  evaluations: [
    { metric: "loss", value: 10 - round },
    { metric: "loss", clientId: "a", value: round },
    { metric: "loss", clientId: "b", value: round + 1 },
    { metric: "perplexity", value: Infinity },
  ],
  measures: [
    { measure: "aggregation_error", value: 0.5 / (round + 1) },
    { measure: "aggregation_error", layer: 0, value: 0.25 },
  ],
  events: [{ kind: "updateRejected", clientId: "a", message: "not finite" }],
});

function openStore(): MetricsStore {
  const store = new MetricsStore(join(makeTemporaryFolder(), "metrics.sqlite"));
  onTestFinished(() => {
    store.close();
  });
  store.saveRun({
    id: "run-1",
    createdAt: "2026-01-01T00:00:00Z",
    seed: 0,
    config: { a: [1] },
    versions: { node: "20" },
  });
  const model = { modelName: "tiny", modelSha256: "ab", modelWeightBytes: 8_000_000_000 };
  store.saveArm("run-1", { name: "Q8_0/fedavg", armIndex: 0, strategy: "fedavg", numParameters: 100, ...model });
  store.saveArm("run-1", { name: "Q8_0/local", armIndex: 1, strategy: "local", ...model });
  return store;
}

const ARM = "Q8_0/fedavg";

describe("recording", () => {
  test("measures keep their layer, the mean is over rounds and the whole adapter, and what is not finite is NULL", () => {
    const store = openStore();
    store.recordRound(ARM, roundOf(0));
    store.recordRound(ARM, { ...roundOf(1), measures: [{ measure: "aggregation_error", value: 0.25 }, { measure: "discarded_energy", value: NaN }] });
    expect(measuresByArm(store.database, ARM)).toEqual([
      { round: 0, layer: null, measure: "aggregation_error", value: 0.5 },
      { round: 0, layer: 0, measure: "aggregation_error", value: 0.25 },
      { round: 1, layer: null, measure: "aggregation_error", value: 0.25 },
      { round: 1, layer: null, measure: "discarded_energy", value: null },
    ]);
    expect(meanMeasure(store.database, ARM, "aggregation_error")).toBe(0.375);
    expect(meanMeasure(store.database, "Q8_0/local", "aggregation_error")).toBeNull();
    store.deleteAfterRound(ARM, 0);
    expect(measuresByArm(store.database, ARM).map(({ round }) => round)).toEqual([0, 0]);
  });

  test("a run and its arms come back, a seed of 0 included; saving again keeps the first start", () => {
    const store = openStore();
    store.saveRun({ id: "run-1", createdAt: "2027-01-01T00:00:00Z", seed: 0, config: { a: [2] }, versions: {} });
    expect(run(store.database)).toEqual({
      id: "run-1",
      createdAt: "2026-01-01T00:00:00Z",
      seed: 0,
      configJson: '{"a":[2]}',
      versionsJson: "{}",
      dataSha256: null,
    });
    store.recordRound(ARM, roundOf(1));
    store.saveArm("run-1", { name: ARM, armIndex: 0, modelName: "new", modelSha256: "ab", modelWeightBytes: 1 });
    expect(armProgress(store.database)).toEqual([
      { arm: ARM, lastRound: 1 },
      { arm: "Q8_0/local", lastRound: null },
    ]);
  });

  test("a round gives a row per client, with NULL for everything a failed one does not have", () => {
    const store = openStore();
    store.recordRound(ARM, roundOf(1));
    const [first, second] = clientRounds(store.database, ARM);
    expect(second).toEqual({ round: 1, failureCode: null, failureMessage: null, ...goodClient, ...NO_PREFERENCE });
    expect(first).toMatchObject({
      clientId: "a",
      trainLoss: null,
      numTokens: null,
      numSteps: null,
      updateNorm: null,
      failureCode: "UPDATE_REJECTED",
    });
  });

  test("preferences have columns of the client and of the round", () => {
    const store = openStore();
    const preference = {
      rewardMargin: 0.5,
      rewardAccuracy: 0.75,
      chosenReward: 0.25,
      rejectedReward: -0.25,
      chosenLogProbability: -20,
      rejectedLogProbability: -30,
    };
    store.recordRound(ARM, {
      ...roundOf(1),
      clients: [{ ...goodClient, preference }],
      preference: { rewardMargin: 0.5, rewardAccuracy: 0.75 },
    });
    expect(clientRounds(store.database, ARM)).toMatchObject([preference]);
    const rounds = store.database.prepare("SELECT reward_margin, reward_accuracy FROM rounds").all();
    expect(rounds).toEqual([{ reward_margin: 0.5, reward_accuracy: 0.75 }]);
  });

  test("evaluations keep their client, and a value that is not finite is NULL", () => {
    const store = openStore();
    store.recordRound(ARM, roundOf(1));
    store.recordEvaluations(ARM, 1, [{ metric: "accuracy", value: 0 }]);
    expect(evaluationsByArm(store.database, ARM)).toEqual([
      { round: 1, clientId: null, metric: "accuracy", value: 0 },
      { round: 1, clientId: null, metric: "loss", value: 9 },
      { round: 1, clientId: "a", metric: "loss", value: 1 },
      { round: 1, clientId: "b", metric: "loss", value: 2 },
      { round: 1, clientId: null, metric: "perplexity", value: null },
    ]);
  });

  test.each([
    ["the same round twice", roundOf(1)],
    ["a client twice", { ...roundOf(2), clients: [goodClient, goodClient] }],
    [
      "a metric twice",
      {
        ...roundOf(2),
        evaluations: [
          { metric: "loss", value: 1 },
          { metric: "loss", value: 2 },
        ],
      },
    ],
    [
      "a measure twice",
      { ...roundOf(2), measures: [0, 1].map((value) => ({ measure: "aggregation_error", value })) },
    ],
    ["a failed client with a loss", { ...roundOf(2), clients: [{ ...failedClient, trainLoss: 1 }] }],
  ])("%s is refused and leaves nothing of the round", (_title, row) => {
    const store = openStore();
    store.recordRound(ARM, roundOf(1));
    const before = store.database.serialize();
    expect(() => {
      store.recordRound(ARM, row);
    }).toThrow(expect.objectContaining({ code: "IO_FAILED" }) as Error);
    expect(store.database.serialize().equals(before)).toBe(true);
  });

  test("a round of an unknown arm and an evaluation of an unknown round are refused", () => {
    const store = openStore();
    expect(() => {
      store.recordRound("nobody", roundOf(1));
    }).toThrow("FOREIGN KEY");
    expect(() => {
      store.recordEvaluations(ARM, 9, [{ metric: "loss", value: 1 }]);
    }).toThrow("FOREIGN KEY");
  });
});

test("removing the rounds after one removes all their rows of that arm and nothing else", () => {
  const store = openStore();
  for (const arm of [ARM, "Q8_0/local"]) {
    for (const round of [0, 1, 2, 3]) store.recordRound(arm, roundOf(round));
  }
  store.recordEvent({ createdAt: "2026-01-01T00:00:00Z", kind: "resumed", message: "from round 1", arm: ARM });
  store.deleteAfterRound(ARM, 1);
  const roundsOf = (arm: string): readonly number[] => [
    ...new Set(evaluationsByArm(store.database, arm).map(({ round }) => round)),
  ];
  expect(roundsOf(ARM)).toEqual([0, 1]);
  expect(roundsOf("Q8_0/local")).toEqual([0, 1, 2, 3]);
  expect(clientRounds(store.database, ARM).map(({ round }) => round)).toEqual([0, 0, 1, 1]);
  const ofArm = events(store.database).filter(({ arm }) => arm === ARM);
  expect(ofArm.map(({ kind, round }) => [kind, round])).toEqual([
    ["updateRejected", 0],
    ["updateRejected", 1],
    ["resumed", null],
  ]);
  store.deleteAfterRound(ARM, undefined);
  expect(roundsOf(ARM)).toEqual([]);
  expect(roundsOf("Q8_0/local")).toEqual([0, 1, 2, 3]);
});

describe("queries", () => {
  test("the summary has the last measured round of each metric, globally and as a mean over clients", () => {
    const store = openStore();
    for (const round of [0, 2]) store.recordRound(ARM, roundOf(round));
    store.recordRound(ARM, { ...roundOf(3), evaluations: [{ metric: "perplexity", value: 4 }] });
    const line = { arm: ARM, strategy: "fedavg", modelName: "tiny", modelWeightBytes: 8_000_000_000 };
    expect(summaryTable(store.database)).toEqual([
      { ...line, metric: "loss", round: 2, globalValue: 8, clientMean: 2.5, numClients: 2 },
      { ...line, metric: "perplexity", round: 3, globalValue: 4, clientMean: null, numClients: 0 },
    ]);
  });

  test("totals add bytes, tokens and time over rounds; the speed is of clients that were accepted", () => {
    const store = openStore();
    for (const round of [0, 1, 2])
      store.recordRound(ARM, { ...roundOf(round), ...(round === 0 ? { clients: [] } : {}) });
    expect(totals(store.database, ARM)).toEqual({
      numRounds: 2,
      numClientRounds: 4,
      numFailures: 2,
      simulatedDurationMs: null,
      numRejected: 3,
      numTokens: 4000,
      numSupervisedTokens: 1000,
      uploadBytes: 1600,
      downloadBytes: 1600,
      trainDurationMs: 8000,
      durationMs: 4500,
      tokensPerSecond: 2000,
      peakMemoryBytes: 5_000_000_000,
    });
    expect(totals(store.database, "Q8_0/local")).toMatchObject({ numRounds: 0, uploadBytes: 0, tokensPerSecond: null });
  });
});

test("a training's memory comes back as it was planned and as it went", () => {
  const store = openStore();
  const memory = { microBatchTokens: 512, recomputes: true, streams: false, fellBack: true, plannedPeakBytes: 9e9, plannedDeviceBytes: 2e9, deviceBytes: 1.9e9 };
  store.recordRound(ARM, { ...roundOf(1), clients: [{ ...goodClient, memory }] });
  expect(clientRounds(store.database, ARM)).toMatchObject([{ ...memory, recomputes: 1, streams: 0, fellBack: 1 }]);
});

test("a process killed in the middle of a round's transaction leaves none of its rows", () => {
  const path = join(makeTemporaryFolder(), "metrics.sqlite");
  const program = resolve(import.meta.dirname, "../../helpers/killed-writer.ts");
  const { signal } = spawnSync(process.execPath, ["--import", "tsx", program, path], { stdio: "inherit" });
  expect(signal).toBe("SIGKILL");
  const database = openMetricsDatabase(path);
  expect(database.prepare("SELECT round FROM rounds").pluck().all()).toEqual([1]);
  expect(database.prepare("SELECT count(*) FROM client_rounds").pluck().get()).toBe(1);
  database.close();
});
