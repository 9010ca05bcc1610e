/** Tables of results: one per metric, by category where there are few, and over clients. */
import { expect, test } from "vitest";
import { summarizeScores } from "../../../src/benchmarks/summary.js";
import type { MeasureInfo } from "../../../src/benchmarks/metric.js";
import { evaluationTables, renderTables } from "../../../src/report/evaluation.js";

const ACCURACY: MeasureInfo = { measure: "accuracy", title: "accuracy", summary: "mean", displayFactor: 100, higherIsBetter: true };

function resultOf(label: string, categoryName: string, values: readonly (number | null)[], clientId?: string) {
  const measures = [ACCURACY, { ...ACCURACY, measure: "by_category", title: "by category", summary: "meanOfCategories" } as const];
  const scores = values.map((value, index) => ({ itemId: String(index), category: index < 2 ? "a" : "b", value, weight: 1 }));
  return {
    result: {
      ...{ evaluationId: 1, gradingId: 1, metric: "m", settings: {}, itemsSha256: "1", numItems: values.length, seed: 0, graders: {}, numAnswered: values.length, numUnscored: 0 },
      subject: { label, modelName: "model", modelSha256: "1", ...(clientId === undefined ? {} : { arm: "local", clientId }) },
      info: { title: "Metric", categoryName, measures },
    },
    measures: measures.map((info) => summarizeScores(scores, info, { seed: 0, isByClient: categoryName === "client" })),
  };
}

test("means, excluded items and categories", () => {
  const tables = evaluationTables([resultOf("base", "subject", [1, 1, 1, 0, 0, 0]), resultOf("arm", "subject", [1, null, 1, 1, 1, 1])]);
  expect(tables.map(({ title }) => title)).toEqual(["Metric (m), mean [95 % interval]", "Metric by subject"]);
  expect(tables[0]?.rows[0]?.[1]).toMatch(/^50\.0 \[\d+\.\d, \d+\.\d\]$/);
  // Two of two in a, one of four in b.
  expect(tables[0]?.rows[0]?.[2]).toMatch(/^62\.5 \[/);
  expect(tables[0]?.rows[1]?.slice(-2)).toEqual(["5", "1"]);
  expect(tables[1]?.rows).toEqual([
    ["base", "accuracy", "100.0", "25.0", "62.5"],
    ["arm", "accuracy", "100.0", "100.0", "100.0"],
  ]);
  expect(renderTables(tables, true)[0]).toBe("**Metric (m), mean [95 % interval]**");
});

test("fairness over clients, and the mean over clients' adapters", () => {
  const tables = evaluationTables([resultOf("local/x", "client", [1, 1, 0, 0], "x"), resultOf("local/y", "client", [1, 1, 1, 1], "y")]);
  expect(tables.map(({ title }) => title)).toEqual(["Metric (m), mean [95 % interval]", "Metric over clients"]);
  expect(tables[0]?.rows.at(-1)?.slice(0, 2)).toEqual(["local, mean of 2 clients' adapters", "75.0"]);
  expect(tables[1]?.rows[0]).toEqual(["local/x", "accuracy", "2", "50.0", "0.0", "50.0", "1.000", "0.500", "0.500"]);
});
