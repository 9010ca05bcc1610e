/** Results as users name them: a run or a database, and #LABEL for one subject of it. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { storedResults, subjectLabels } from "../benchmarks/queries.js";
import type { StoredResult } from "../benchmarks/queries.js";
import { openEvaluationDatabase } from "../benchmarks/store.js";
import type { SourcedResult } from "../benchmarks/summary.js";
import { problemError } from "../errors.js";
import type { MetricsDatabase } from "../metrics/database.js";
import { findRun, RUNS_FOLDER } from "./run-folder.js";

export interface EvaluationSource {
  readonly path: string;
  readonly database: MetricsDatabase;
  /** Absent: none was named. */
  readonly label?: string;
}

/** Opens it for reading; the caller closes it. Throws CONFIG_INVALID for a label that is not there or a run without results, RUN_NOT_FOUND. */
export function openSource(source: string): EvaluationSource {
  const split = existsSync(source) ? -1 : source.indexOf("#");
  const place = split < 0 ? source : source.slice(0, split);
  const path = databaseOf(place);
  const database = openEvaluationDatabase(path);
  if (split < 0) return { path, database };
  const label = source.slice(split + 1);
  const known = subjectLabels(database);
  if (known.includes(label)) return { path, database, label };
  database.close();
  throw problemError("CONFIG_INVALID", { subject: `subject of ${place}`, expected: known.length === 0 ? "one that was evaluated, of which there is none" : `one of ${known.join(", ")}`, received: JSON.stringify(label) });
}

/** The same where one subject is meant: the only one, when none is named. */
export function openSubject(source: string): EvaluationSource & { readonly label: string } {
  const opened = openSource(source);
  if (opened.label !== undefined) return { ...opened, label: opened.label };
  const known = subjectLabels(opened.database);
  const [only] = known;
  if (only !== undefined && known.length === 1) return { ...opened, label: only };
  opened.database.close();
  throw problemError("CONFIG_INVALID", { subject: source, expected: known.length === 0 ? "results of a subject, of which there are none" : `${source}# and one of ${known.join(", ")}`, received: "no subject" });
}

function databaseOf(place: string): string {
  if (statSync(place, { throwIfNoEntry: false })?.isFile() === true) return place;
  const folder = [place, join(RUNS_FOLDER, place)].find((candidate) => existsSync(join(candidate, "evaluation.sqlite")));
  if (folder !== undefined) return join(folder, "evaluation.sqlite");
  const paths = findRun(place);
  throw problemError("CONFIG_INVALID", { subject: paths.folder, expected: "results of `fedllm-native eval`", received: "a run that was not evaluated", remedy: "Run `fedllm-native eval` on it first" });
}

/**
 * Results of one metric on the same question set by the same graders, the newest of each, in the left one's order. Throws CONFIG_INVALID when
 * there are none.
 */
export function pairResults(left: EvaluationSource, right: EvaluationSource): { readonly left: SourcedResult; readonly right: SourcedResult }[] {
  const others = newest(storedResults(right.database, right.label));
  const pairs = [...newest(storedResults(left.database, left.label))].flatMap(([key, result]) => {
    const other = others.get(key);
    return other === undefined ? [] : [{ left: { database: left.database, result }, right: { database: right.database, result: other } }];
  });
  if (pairs.length > 0) return pairs;
  throw problemError("CONFIG_INVALID", { subject: "eval compare", expected: "two subjects that were asked the same questions by one metric", received: "none in common" });
}

function newest(results: readonly StoredResult[]): Map<string, StoredResult> {
  return new Map(results.map((result) => [JSON.stringify([result.metric, result.itemsSha256, result.graders]), result]));
}
