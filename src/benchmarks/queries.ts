/** What tables of results ask of evaluation.sqlite. Nothing is changed here. */
import type { MetricsDatabase } from "../metrics/database.js";
import type { ItemAnswer } from "./metric.js";
import type { EvaluationKey, Graders, MeasuresInfo, SubjectRow, VerdictRow } from "./store.js";

/** One metric's results of one subject by one set of graders. */
export interface StoredResult extends Pick<EvaluationKey, "metric" | "settings" | "itemsSha256" | "numItems" | "seed"> {
  readonly evaluationId: number;
  readonly gradingId: number;
  readonly subject: SubjectRow;
  readonly graders: Graders;
  readonly info: MeasuresInfo;
  readonly numAnswered: number;
  /** Answers that could not be scored so far. */
  readonly numUnscored: number;
}

/** One item's number. */
export interface StoredScore {
  readonly itemId: string;
  readonly category: string | null;
  /** null: could not be told. */
  readonly value: number | null;
  readonly weight: number;
}

interface ResultRow {
  readonly evaluation_id: number;
  readonly grading_id: number;
  readonly label: string;
  readonly arm: string | null;
  readonly round: number | null;
  readonly client_id: string | null;
  readonly client_group: string | null;
  readonly precision: string | null;
  readonly model_name: string;
  readonly model_sha256: string;
  readonly adapter_sha256: string | null;
  readonly metric: string;
  readonly settings_json: string;
  readonly items_sha256: string;
  readonly num_items: number;
  readonly seed: number;
  readonly measures_json: string;
  readonly judge: string | null;
  readonly sandbox: string | null;
  readonly num_answered: number;
  readonly num_unscored: number;
}

/** All results in the order in which they were begun, subject by subject; a label chooses its own. */
export function storedResults(database: MetricsDatabase, label?: string): StoredResult[] {
  const sql = `
    SELECT evaluations.id AS evaluation_id, gradings.id AS grading_id, subjects.*, metric, settings_json, items_sha256, num_items, seed,
           measures_json, judge, sandbox,
           (SELECT count(*) FROM items WHERE items.evaluation_id = evaluations.id) AS num_answered,
           (SELECT count(*) FROM unscored WHERE unscored.grading_id = gradings.id) AS num_unscored
    FROM subjects
    JOIN evaluations ON evaluations.model_sha256 = subjects.model_sha256 AND evaluations.adapter_sha256 IS subjects.adapter_sha256
    JOIN gradings ON gradings.evaluation_id = evaluations.id
    WHERE @label IS NULL OR label = @label
    ORDER BY subjects.id, evaluations.id, gradings.id`;
  return database
    .prepare<{ label: string | null }, ResultRow>(sql)
    .all({ label: label ?? null })
    .map(toResult);
}

function toResult(row: ResultRow): StoredResult {
  return {
    evaluationId: row.evaluation_id,
    gradingId: row.grading_id,
    subject: {
      label: row.label,
      ...(row.arm === null ? {} : { arm: row.arm }),
      ...(row.round === null ? {} : { round: row.round }),
      ...(row.client_id === null ? {} : { clientId: row.client_id }),
      ...(row.client_group === null ? {} : { group: row.client_group }),
      ...(row.precision === null ? {} : { precision: row.precision }),
      modelName: row.model_name,
      modelSha256: row.model_sha256,
      ...(row.adapter_sha256 === null ? {} : { adapterSha256: row.adapter_sha256 }),
    },
    graders: { ...(row.judge === null ? {} : { judge: row.judge }), ...(row.sandbox === null ? {} : { sandbox: row.sandbox }) },
    metric: row.metric,
    settings: JSON.parse(row.settings_json) as Readonly<Record<string, unknown>>,
    itemsSha256: row.items_sha256,
    numItems: row.num_items,
    seed: row.seed,
    info: JSON.parse(row.measures_json) as MeasuresInfo,
    numAnswered: row.num_answered,
    numUnscored: row.num_unscored,
  };
}

/** The scores of one measure in the order of the items. */
export function storedScores(database: MetricsDatabase, { gradingId, evaluationId }: Pick<StoredResult, "gradingId" | "evaluationId">, measure: string): StoredScore[] {
  const sql = `
    SELECT item_id AS itemId, category, value, weight FROM scores JOIN items USING (seq)
    WHERE grading_id = ? AND measure = ? AND evaluation_id = ? ORDER BY seq`;
  return database.prepare<[number, string, number], StoredScore>(sql).all(gradingId, measure, evaluationId);
}

/** Labels of all subjects. */
export function subjectLabels(database: MetricsDatabase): string[] {
  return database.prepare<[], string>("SELECT DISTINCT label FROM subjects ORDER BY id").pluck().all();
}

/** Why answers have no scores, the most frequent reasons first. */
export function unscoredReasons(database: MetricsDatabase, gradingId: number): { readonly code: string; readonly reason: string; readonly count: number }[] {
  const sql = "SELECT code, reason, count(*) AS count FROM unscored WHERE grading_id = ? GROUP BY code, reason ORDER BY count DESC, min(seq)";
  return database.prepare<[number], { code: string; reason: string; count: number }>(sql).all(gradingId);
}

/** What was asked and answered. */
export interface StoredAnswer {
  readonly seq: number;
  readonly itemId: string;
  readonly category: string | null;
  readonly turns: ItemAnswer["turns"];
}

/** All answers of an evaluation in the order of the items. */
export function storedAnswers(database: MetricsDatabase, evaluationId: number): StoredAnswer[] {
  const sql = "SELECT seq, item_id AS itemId, category, turns_json AS turns FROM items WHERE evaluation_id = ? ORDER BY seq";
  const rows = database.prepare<[number], Omit<StoredAnswer, "turns"> & { readonly turns: string }>(sql).all(evaluationId);
  return rows.map(({ turns, ...row }) => ({ ...row, turns: JSON.parse(turns) as StoredAnswer["turns"] }));
}

/** The hash of everything that an evaluation's answers depend on; undefined for an id that is not there. */
export function evaluationIdentity(database: MetricsDatabase, evaluationId: number): string | undefined {
  return database.prepare<[number], string>("SELECT identity_sha256 FROM evaluations WHERE id = ?").pluck().get(evaluationId);
}

/** Verdicts of a comparison in the order of the items, the left answer shown first before the other order. */
export function storedVerdicts(database: MetricsDatabase, comparisonId: number): VerdictRow[] {
  const sql = `
    SELECT seq, shown_first AS shownFirst, verdict, words, num_prompt_tokens AS numPromptTokens, num_completion_tokens AS numCompletionTokens
    FROM verdicts WHERE comparison_id = ? ORDER BY seq, shown_first`;
  return database.prepare<[number], VerdictRow>(sql).all(comparisonId);
}

/** Why orders have no verdict, the most frequent reasons first. */
export function unjudgedReasons(database: MetricsDatabase, comparisonId: number): { readonly code: string; readonly reason: string; readonly count: number }[] {
  const sql = "SELECT code, reason, count(*) AS count FROM unjudged WHERE comparison_id = ? GROUP BY code, reason ORDER BY count DESC, min(seq)";
  return database.prepare<[number], { code: string; reason: string; count: number }>(sql).all(comparisonId);
}
