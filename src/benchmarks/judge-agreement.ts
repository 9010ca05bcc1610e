/**
 * How far judges agree who scored the same answers: by ratings for each subject, and by who of two subjects they find better. Reads evaluation.sqlite
 * and changes nothing; the measures are judge/agreement.ts.
 */
import { cohensKappa, compareRatings, judgedByBoth } from "../judge/agreement.js";
import type { RatingAgreement } from "../judge/agreement.js";
import { verdictOfRatings } from "../judge/pairwise.js";
import type { Verdict } from "../judge/pairwise.js";
import type { MetricsDatabase } from "../metrics/database.js";

/** Two judges, in alphabetical order, on one measure of a metric. */
interface Compared {
  readonly metric: string;
  readonly measure: string;
  readonly judges: readonly [string, string];
}

/** Ratings of the answers of one subject. */
export interface SubjectAgreement extends Compared, RatingAgreement {
  readonly subject: string;
}

/** Which of two subjects answered better, over all pairs of subjects and items that both judges rated. */
export interface VerdictAgreement extends Compared {
  readonly numVerdicts: number;
  /** Share of equal verdicts. */
  readonly agreement: number;
  /** Cohen's. */
  readonly kappa: number;
}

export interface JudgeAgreement {
  readonly subjects: readonly SubjectAgreement[];
  readonly verdicts: readonly VerdictAgreement[];
}

interface ScoreRow {
  readonly evaluation: number;
  readonly subject: string;
  readonly metric: string;
  readonly items: string;
  readonly judge: string;
  readonly measure: string;
  readonly item: string;
  readonly value: number | null;
}

/** Ratings by item. */
type Ratings = ReadonlyMap<string, number | null>;

/** What one judge says of one evaluation's answers. */
interface Judged {
  readonly row: ScoreRow;
  readonly ratings: Map<string, number | null>;
}

/** Compares all pairs of judges. A metric that only one judge scored is not among the results. */
export function judgeAgreement(database: MetricsDatabase): JudgeAgreement {
  const judged = readJudged(database);
  const evaluations = groupBy(judged, ({ row }) => JSON.stringify([row.evaluation, row.measure]));
  const subjects = [...evaluations.values()].flatMap((group) =>
    pairsOf(group).map(([left, right]): SubjectAgreement => {
      const items = [...new Set([...left.ratings.keys(), ...right.ratings.keys()])];
      return { subject: left.row.subject, ...comparedOf(left, right), ...compareRatings(valuesOf(left.ratings, items), valuesOf(right.ratings, items)) };
    }),
  );
  return { subjects, verdicts: verdictAgreements([...evaluations.values()]) };
}

function verdictAgreements(evaluations: readonly (readonly Judged[])[]): VerdictAgreement[] {
  const verdicts = new Map<string, { readonly compared: Compared; readonly left: Verdict[]; readonly right: Verdict[] }>();
  for (const [one, other] of pairsOf(evaluations)) {
    for (const [first, second] of pairsOf(one)) {
      const [firstOther, secondOther] = [first, second].map((judged) => other.find((candidate) => isSameQuestion(candidate.row, judged.row)));
      if (firstOther === undefined || secondOther === undefined) continue;
      const compared = comparedOf(first, second);
      const key = JSON.stringify(compared);
      const entry = verdicts.get(key) ?? { compared, left: [], right: [] };
      verdicts.set(key, entry);
      for (const item of first.ratings.keys()) {
        entry.left.push(verdictOf(first.ratings, firstOther.ratings, item));
        entry.right.push(verdictOf(second.ratings, secondOther.ratings, item));
      }
    }
  }
  return [...verdicts.values()].map(({ compared, left, right }) => {
    const pairs = judgedByBoth(left, right);
    const numSame = pairs.filter(([a, b]) => a === b).length;
    return { ...compared, numVerdicts: pairs.length, agreement: numSame / pairs.length, kappa: cohensKappa(pairs) };
  });
}

function isSameQuestion(left: ScoreRow, right: ScoreRow): boolean {
  return left.metric === right.metric && left.items === right.items && left.measure === right.measure && left.judge === right.judge;
}

function verdictOf(left: Ratings, right: Ratings, item: string): Verdict {
  return verdictOfRatings(left.get(item) ?? null, right.get(item) ?? null);
}

function comparedOf({ row }: Judged, other: Judged): Compared {
  return { metric: row.metric, measure: row.measure, judges: [row.judge, other.row.judge] };
}

function valuesOf(ratings: Ratings, items: readonly string[]): (number | null)[] {
  return items.map((item) => ratings.get(item) ?? null);
}

/** Every two of a list, in its order. */
function pairsOf<T>(list: readonly T[]): (readonly [T, T])[] {
  return list.flatMap((left, index) => list.slice(index + 1).map((right) => [left, right] as const));
}

function groupBy<T>(list: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of list) groups.set(keyOf(value), [...(groups.get(keyOf(value)) ?? []), value]);
  return groups;
}

/** Judges' scores by evaluation, measure and judge. A subject that was asked for by several labels has its first. */
function readJudged(database: MetricsDatabase): Judged[] {
  const sql = `
    SELECT evaluations.id AS evaluation,
           coalesce((SELECT label FROM subjects WHERE subjects.model_sha256 = evaluations.model_sha256
                     AND subjects.adapter_sha256 IS evaluations.adapter_sha256 ORDER BY subjects.id LIMIT 1), '') AS subject,
           metric, items_sha256 AS items, judge, measure, item_id AS item, value
    FROM gradings
    JOIN evaluations ON evaluations.id = gradings.evaluation_id
    JOIN scores ON scores.grading_id = gradings.id
    JOIN items ON items.evaluation_id = evaluations.id AND items.seq = scores.seq
    WHERE given_by = judge
    ORDER BY evaluations.id, measure, judge, items.seq`;
  const judged: Judged[] = [];
  for (const row of database.prepare<[], ScoreRow>(sql).all()) {
    const last = judged.at(-1);
    if (last?.row.evaluation === row.evaluation && last.row.measure === row.measure && last.row.judge === row.judge) last.ratings.set(row.item, row.value);
    else judged.push({ row, ratings: new Map([[row.item, row.value]]) });
  }
  return judged;
}
