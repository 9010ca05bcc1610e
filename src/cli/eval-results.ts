/** Stored results as lines for the screen or a page, or as one JSON value. */
import type { StoredResult } from "../benchmarks/queries.js";

/** Reads numbers and reasons from the database. Throws METRICS_INVALID as its opening. */
export async function describeResults(databasePath: string, results: readonly StoredResult[], format: "text" | "markdown" | "json"): Promise<string[]> {
  const [{ openEvaluationDatabase }, { summarizeResult }, { evaluationTables, renderTables }, { unscoredReasons }] = await Promise.all([
    import("../benchmarks/store.js"),
    import("../benchmarks/summary.js"),
    import("../report/evaluation.js"),
    import("../benchmarks/queries.js"),
  ]);
  const database = openEvaluationDatabase(databasePath);
  try {
    const summarized = results.map((result) => ({ result, measures: summarizeResult(database, result) }));
    if (format === "json") return [JSON.stringify(summarized.map(({ result: { info, ...rest }, measures }) => ({ ...rest, title: info.title, measures })), null, 2)];
    const reasons = results.flatMap(({ gradingId, subject, metric }) =>
      unscoredReasons(database, gradingId).map(({ code, reason, count }) => `not scored: ${String(count)} of ${metric}, ${subject.label}: ${code}: ${reason}`),
    );
    return [...renderTables(evaluationTables(summarized), format === "markdown"), ...reasons];
  } finally {
    database.close();
  }
}
