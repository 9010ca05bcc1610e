/** Writes evaluation.sqlite and answers what is there already. Tables are in schema.ts, what tables of results ask is queries.ts. */
import { createHash } from "node:crypto";
import Database from "better-sqlite3";
import { FedllmError } from "../errors.js";
import type { ShownFirst, Verdict } from "../judge/pairwise.js";
import { openRunDatabase, openRunDatabaseForReading, type MetricsDatabase } from "../metrics/database.js";
import { canonicalJson } from "../util/canonical-json.js";
import type { ItemAnswer, ItemScore, MeasureInfo, MetricItem } from "./metric.js";
import { EVALUATION_DATABASE } from "./schema.js";

/** Whose answers are judged, as shown and as hashed. */
export interface SubjectRow {
  readonly label: string;
  readonly arm?: string;
  readonly round?: number;
  readonly clientId?: string;
  readonly group?: string;
  readonly precision?: string;
  readonly modelName: string;
  readonly modelSha256: string;
  /** Absent: the base model alone. */
  readonly adapterSha256?: string;
}

/** Everything that the answers to a metric depend on; two evaluations that agree in all of it share their answers. */
export interface EvaluationKey {
  readonly modelSha256: string;
  readonly adapterSha256?: string;
  readonly metric: string;
  /** Of the metric, the model and the choice of items. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly itemsSha256: string;
  readonly numItems: number;
  readonly seed: number;
  /** Program and llama.cpp. */
  readonly versions: Readonly<Record<string, string>>;
}

/** How results are summed up; no part of the key. */
export interface MeasuresInfo {
  readonly title: string;
  readonly categoryName?: string;
  readonly measures: readonly MeasureInfo[];
}

/** Who scores. */
export interface Graders {
  readonly judge?: string;
  readonly sandbox?: string;
}

/** The answer to one item, with its part of the time of the group. */
export interface AnsweredItem {
  readonly seq: number;
  readonly item: MetricItem;
  readonly answer: ItemAnswer;
  readonly durationMs: number;
}

/** What decides whose verdicts may be kept: both sides' answers, the judge and how it is asked. */
export interface ComparisonKey {
  readonly leftEvaluationId: number;
  readonly right: { readonly identitySha256: string; readonly label: string; readonly modelSha256: string; readonly adapterSha256?: string };
  readonly judge: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** One pair of answers in one order; `seq` is the left side's. */
export interface OrderKey {
  readonly seq: number;
  readonly shownFirst: ShownFirst;
}

/** What a judge said of it. */
export interface VerdictRow extends OrderKey {
  readonly verdict: Verdict;
  readonly words: string;
  readonly numPromptTokens: number;
  readonly numCompletionTokens: number;
}

/** Opens existing results for reading, those of older releases too. Throws METRICS_INVALID for a file that is not ours or newer, IO_FAILED. */
export function openEvaluationDatabase(path: string): MetricsDatabase {
  return openRunDatabaseForReading(path, EVALUATION_DATABASE);
}

/** One writer at a time is best; a second one stores the same rows again, which changes nothing. Everything throws IO_FAILED. */
export class EvaluationStore {
  /** For the functions of queries.ts. */
  readonly database: MetricsDatabase;

  /** Opens or creates the file. Throws METRICS_INVALID for a file that is not ours or newer. */
  constructor(path: string) {
    this.database = openRunDatabase(path, EVALUATION_DATABASE);
  }

  /** Names a subject; one that is there stays. */
  saveSubject(subject: SubjectRow): void {
    const { label, arm = null, round = null, clientId = null, group = null, precision = null, modelName, modelSha256, adapterSha256 = null } = subject;
    this.#write(() => {
      const sql =
        "INSERT OR IGNORE INTO subjects (label, arm, round, client_id, client_group, precision, model_name, model_sha256, adapter_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
      this.database.prepare(sql).run(label, arm, round, clientId, group, precision, modelName, modelSha256, adapterSha256);
    });
  }

  /** The evaluation of a key, begun when it is new. */
  openEvaluation(key: EvaluationKey, info: MeasuresInfo, now: Date): number {
    const identity = createHash("sha256").update(canonicalJson(key)).digest("hex");
    const { modelSha256, adapterSha256 = null, metric, settings, itemsSha256, numItems, seed, versions } = key;
    this.#write(() => {
      const sql =
        "INSERT OR IGNORE INTO evaluations (identity_sha256, created_at, model_sha256, adapter_sha256, metric, settings_json, items_sha256, num_items, seed, versions_json, measures_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
      const json = [settings, versions, info].map((value) => canonicalJson(value));
      this.database.prepare(sql).run(identity, now.toISOString(), modelSha256, adapterSha256, metric, json[0], itemsSha256, numItems, seed, json[1], json[2]);
    });
    return this.#idOf("SELECT id FROM evaluations WHERE identity_sha256 = ?", identity);
  }

  /** The grading of an evaluation by these graders, begun when it is new. */
  openGrading(evaluationId: number, { judge = null, sandbox = null }: { readonly [K in keyof Graders]: Graders[K] | null }): number {
    this.#write(() => {
      this.database.prepare("INSERT OR IGNORE INTO gradings (evaluation_id, judge, sandbox) VALUES (?, ?, ?)").run(evaluationId, judge, sandbox);
    });
    return this.#idOf("SELECT id FROM gradings WHERE evaluation_id = ? AND judge IS ? AND sandbox IS ?", evaluationId, judge, sandbox);
  }

  /** Places of the items that have answers. */
  answeredItems(evaluationId: number): ReadonlySet<number> {
    return new Set(this.database.prepare<[number], number>("SELECT seq FROM items WHERE evaluation_id = ?").pluck().all(evaluationId));
  }

  /** Places of the answers that have scores. */
  scoredItems(gradingId: number): ReadonlySet<number> {
    return new Set(this.database.prepare<[number], number>("SELECT DISTINCT seq FROM scores WHERE grading_id = ?").pluck().all(gradingId));
  }

  /** What the model answered, as it was stored. */
  readAnswer(evaluationId: number, seq: number): ItemAnswer | undefined {
    const sql = "SELECT turns_json, details_json, num_prompt_tokens, num_tokens FROM items WHERE evaluation_id = ? AND seq = ?";
    const row = this.database.prepare<[number, number], [string, string | null, number, number]>(sql).raw().get(evaluationId, seq);
    if (row === undefined) return undefined;
    const [turns, details, numPromptTokens, numTokens] = row;
    return {
      turns: JSON.parse(turns) as ItemAnswer["turns"],
      ...(details === null ? {} : { details: JSON.parse(details) as Readonly<Record<string, unknown>> }),
      numPromptTokens,
      numTokens,
    };
  }

  /** Keeps the answers of a group, all or none. */
  keepAnswers(evaluationId: number, answers: readonly AnsweredItem[]): void {
    this.#write(() => {
      const sql =
        "INSERT OR IGNORE INTO items (evaluation_id, seq, item_id, category, turns_json, details_json, num_prompt_tokens, num_tokens, duration_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
      const insert = this.database.prepare(sql);
      for (const { seq, item, answer, durationMs } of answers) {
        const details = answer.details === undefined ? null : JSON.stringify(answer.details);
        insert.run(evaluationId, seq, item.id, item.category ?? null, JSON.stringify(answer.turns), details, answer.numPromptTokens, answer.numTokens, durationMs);
      }
    });
  }

  /** Keeps the scores of one answer, all or none; what failed before is forgotten. */
  keepScores(gradingId: number, seq: number, scores: readonly ItemScore[]): void {
    this.#write(() => {
      this.database.prepare("DELETE FROM unscored WHERE grading_id = ? AND seq = ?").run(gradingId, seq);
      const sql = "INSERT OR REPLACE INTO scores (grading_id, seq, measure, value, weight, words, given_by) VALUES (?, ?, ?, ?, ?, ?, ?)";
      const insert = this.database.prepare(sql);
      for (const { measure, value, weight = 1, words = null, by = null } of scores) {
        insert.run(gradingId, seq, measure, value !== null && Number.isFinite(value) ? value : null, weight, words, by);
      }
    });
  }

  /** Notes why an answer has no scores. */
  keepFailure(gradingId: number, seq: number, { code, reason }: { readonly code: string; readonly reason: string }): void {
    this.#write(() => {
      this.database.prepare("INSERT OR REPLACE INTO unscored (grading_id, seq, code, reason) VALUES (?, ?, ?, ?)").run(gradingId, seq, code, reason);
    });
  }

  /** The comparison of a key, begun when it is new. */
  openComparison({ leftEvaluationId, right, judge, settings }: ComparisonKey, now: Date): number {
    const { identitySha256, label, modelSha256, adapterSha256 = null } = right;
    const json = canonicalJson(settings);
    this.#write(() => {
      const sql =
        "INSERT OR IGNORE INTO comparisons (created_at, left_evaluation_id, right_identity_sha256, right_label, right_model_sha256, right_adapter_sha256, judge, settings_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
      this.database.prepare(sql).run(now.toISOString(), leftEvaluationId, identitySha256, label, modelSha256, adapterSha256, judge, json);
    });
    const sql = "SELECT id FROM comparisons WHERE left_evaluation_id = ? AND right_identity_sha256 = ? AND judge = ? AND settings_json = ?";
    return this.#idOf(sql, leftEvaluationId, identitySha256, judge, json);
  }

  /** Keeps a verdict; a failure before it is forgotten. */
  keepVerdict(comparisonId: number, { seq, shownFirst, verdict, words, numPromptTokens, numCompletionTokens }: VerdictRow): void {
    this.#write(() => {
      this.database.prepare("DELETE FROM unjudged WHERE comparison_id = ? AND seq = ? AND shown_first = ?").run(comparisonId, seq, shownFirst);
      const sql = "INSERT OR REPLACE INTO verdicts (comparison_id, seq, shown_first, verdict, words, num_prompt_tokens, num_completion_tokens) VALUES (?, ?, ?, ?, ?, ?, ?)";
      this.database.prepare(sql).run(comparisonId, seq, shownFirst, verdict, words, numPromptTokens, numCompletionTokens);
    });
  }

  /** Notes why there is no verdict. */
  keepUnjudged(comparisonId: number, { seq, shownFirst, code, reason }: OrderKey & { readonly code: string; readonly reason: string }): void {
    this.#write(() => {
      const sql = "INSERT OR REPLACE INTO unjudged (comparison_id, seq, shown_first, code, reason) VALUES (?, ?, ?, ?, ?)";
      this.database.prepare(sql).run(comparisonId, seq, shownFirst, code, reason);
    });
  }

  /** Closes the file; safe to call twice. */
  close(): void {
    this.database.close();
  }

  #idOf(sql: string, ...values: readonly (string | number | null)[]): number {
    const id = this.database.prepare<unknown[], number>(sql).pluck().get(...values);
    if (id === undefined) throw new FedllmError("IO_FAILED", `${this.database.name}: a row that was just written is not there`);
    return id;
  }

  #write(work: () => void): void {
    try {
      this.database.transaction(work).immediate();
    } catch (error) {
      if (!(error instanceof Database.SqliteError)) throw error;
      throw new FedllmError("IO_FAILED", `cannot write ${this.database.name}: ${error.message} (${error.code})`, { cause: error });
    }
  }
}
