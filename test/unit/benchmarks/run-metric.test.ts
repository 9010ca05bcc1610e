/** The runner and the store: what is stored stays, stops at any group or score lose nothing that was kept, nothing is mixed. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { storedResults, storedScores, unscoredReasons } from "../../../src/benchmarks/queries.js";
import { runMetric } from "../../../src/benchmarks/run-metric.js";
import type { MetricRun } from "../../../src/benchmarks/run-metric.js";
import { EVALUATION_CLOCK_COLUMNS } from "../../../src/benchmarks/schema.js";
import { EvaluationStore } from "../../../src/benchmarks/store.js";
import { summarizeResult } from "../../../src/benchmarks/summary.js";
import { CountingSubject, countingMetric } from "../../helpers/counting-subject.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const SUBJECT = { label: "arm@3", arm: "arm", round: 3, modelName: "model", modelSha256: "01", adapterSha256: "02" };

function runOf(store: EvaluationStore, changes: Partial<MetricRun> = {}): MetricRun & { readonly model: CountingSubject } {
  const model = new CountingSubject();
  return { metric: countingMetric(), subject: SUBJECT, store, openModel: () => Promise.resolve(model), seed: 0, settings: { template: "alpaca" }, versions: { llamaCpp: "v0" }, model, ...changes };
}

function contentsOf(path: string) {
  const database = new Database(path, { readonly: true });
  try {
    return ["subjects", "evaluations", "items", "gradings", "scores", "unscored"].map((table) => [
      table,
      (database.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[]).map((row) => Object.entries(row).filter(([column]) => !EVALUATION_CLOCK_COLUMNS.includes(column))),
    ]);
  } finally {
    database.close();
  }
}

const openStore = (name = "evaluation.sqlite") => {
  const path = join(makeTemporaryFolder(), name);
  return { path, store: new EvaluationStore(path) };
};

test("answers and scores are stored once, and a second call asks nothing", async () => {
  const { path, store } = openStore();
  const run = runOf(store);
  await runMetric(run);
  expect(run.model.numCalls).toBe(4);
  const before = contentsOf(path);
  const again = runOf(store, { openModel: () => Promise.reject(new Error("the model is not needed")) });
  await expect(runMetric(again)).resolves.toMatchObject({ numUnscored: 0 });
  expect(contentsOf(path)).toEqual(before);
  const [result] = storedResults(store.database);
  expect(result).toMatchObject({ metric: "parity", numItems: 10, numAnswered: 10, numUnscored: 0, subject: SUBJECT });
  expect(result === undefined ? [] : summarizeResult(store.database, result)).toMatchObject([{ measure: "parity", numItems: 9, numExcluded: 1, categories: [{ category: "even", numItems: 4 }, { category: "odd", numItems: 5 }] }]);
  store.close();
});

test("stopped after each group and among the scores, it ends with the rows of one that was not stopped", async () => {
  const whole = openStore();
  await runMetric(runOf(whole.store));
  whole.store.close();
  const stopped = openStore();
  let numStops = 0;
  for (;;) {
    const controller = new AbortController();
    let count = 0;
    const onProgress = () => {
      count += 1;
      // The first one tells what was there before.
      if (count === 2) controller.abort();
    };
    try {
      await runMetric(runOf(stopped.store, { signal: controller.signal, onProgress }));
      break;
    } catch (error) {
      expect(error).toMatchObject({ code: "CANCELLED" });
      numStops += 1;
    }
  }
  stopped.store.close();
  expect(numStops).toBeGreaterThan(4);
  expect(contentsOf(stopped.path)).toEqual(contentsOf(whole.path));
});

test("another seed, setting, question set or adapter is another evaluation", async () => {
  const { store } = openStore();
  await runMetric(runOf(store));
  const others: Partial<MetricRun>[] = [
    { seed: 1 },
    { settings: { template: "chat" } },
    { metric: { ...countingMetric(), itemsSha256: "cd" } },
    { subject: { ...SUBJECT, label: "arm@4", adapterSha256: "03" } },
    { versions: { llamaCpp: "v1" } },
  ];
  for (const change of others) {
    const run = runOf(store, change);
    await runMetric(run);
    expect(run.model.numCalls).toBe(4);
  }
  expect(storedResults(store.database)).toHaveLength(6);
  expect(storedResults(store.database, "arm@4")).toHaveLength(1);
  store.close();
});

test("a subject of another name with the same files takes the answers that are there", async () => {
  const { store } = openStore();
  await runMetric(runOf(store));
  const run = runOf(store, { subject: { ...SUBJECT, label: "the same file" } });
  await runMetric(run);
  expect(run.model.numCalls).toBe(0);
  expect(storedResults(store.database).map(({ subject }) => subject.label)).toEqual(["arm@3", "the same file"]);
  store.close();
});

test("a judge that is open for other metrics has no part in the scores", async () => {
  const { store } = openStore();
  await runMetric(runOf(store));
  await runMetric(runOf(store, { judge: { name: "one", ask: () => Promise.reject(new Error("the metric asks no judge")) } }));
  expect(storedResults(store.database).map(({ graders }) => graders)).toEqual([{}]);
  store.close();
});

test("another judge scores the same answers without asking the model", async () => {
  const { store } = openStore();
  const judge = (name: string) => ({ name, ask: () => Promise.reject(new Error("the metric asks no judge")) });
  const metric = { ...countingMetric(), needs: { generation: true, judge: true } };
  await runMetric(runOf(store, { metric, judge: judge("one") }));
  const run = runOf(store, { metric, judge: judge("two") });
  await runMetric(run);
  expect(run.model.numCalls).toBe(0);
  const results = storedResults(store.database);
  expect(results.map(({ graders }) => graders)).toEqual([{ judge: "one" }, { judge: "two" }]);
  expect(results.map((result) => storedScores(store.database, result, "parity").length)).toEqual([10, 10]);
  store.close();
});

test("what a judge could not score is kept with its reason and tried again", async () => {
  const { store } = openStore();
  const failing = runOf(store, { metric: countingMetric((id) => id === "q3" || id === "q7") });
  const { gradingId, numUnscored } = await runMetric(failing);
  expect(numUnscored).toBe(2);
  expect(unscoredReasons(store.database, gradingId)).toEqual([{ code: "JUDGE_FAILED", reason: "the judge is not there", count: 2 }]);
  expect(storedResults(store.database)).toMatchObject([{ numUnscored: 2, numAnswered: 10 }]);
  const again = runOf(store);
  await expect(runMetric(again)).resolves.toMatchObject({ numUnscored: 0 });
  expect(again.model.numCalls).toBe(0);
  expect(unscoredReasons(store.database, gradingId)).toEqual([]);
  store.close();
});

test("other errors of a metric are not taken for a judge's", async () => {
  const { store } = openStore();
  const metric = { ...countingMetric(), scoreItem: () => Promise.reject(new TypeError("a bug")) };
  await expect(runMetric(runOf(store, { metric }))).rejects.toThrow("a bug");
  store.close();
});

test("a database of another kind is refused", () => {
  const { path, store } = openStore();
  store.close();
  const database = new Database(path);
  database.pragma("application_id = 1");
  database.close();
  expect(() => new EvaluationStore(path)).toThrow(/a results database of fedllm-native/);
});
