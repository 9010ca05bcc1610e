/** What `eval` measured of a study's arms: scores of questions, kept in each run's evaluation.sqlite, with intervals over seeds or items. */
import { storedResults } from "../../benchmarks/queries.js";
import type { StoredResult } from "../../benchmarks/queries.js";
import { compareResults, summarizeResult } from "../../benchmarks/summary.js";
import type { MeasureSummary } from "../../benchmarks/summary.js";
import type { ArmCells } from "./cells.js";
import type { OpenRun } from "./source.js";
import { estimateMean } from "./statistics.js";
import type { BenchmarkComparison, BenchmarkLine } from "./study.js";

/** Signs and items are drawn the same way every time. */
const SEED = 0;

interface Found {
  readonly arm: string;
  readonly result: StoredResult;
  readonly run: OpenRun;
  readonly measures: readonly MeasureSummary[];
}

/** Results of whole arms after their last round, complete ones only, and of the base models; by metric and measure, in the order of arms. */
export function benchmarkLines(arms: readonly ArmCells[], runs: readonly OpenRun[]): { readonly lines: BenchmarkLine[]; readonly comparisons: BenchmarkComparison[] } {
  const found = runs.flatMap((run, index) => resultsOf(run, index, arms));
  const byName = groupBy(found, nameOf);
  const lines = [...byName.values()].flatMap((group) => linesOf(group));
  return { lines, comparisons: arms.flatMap((arm) => compareWithReference(arm, found)) };
}

/** Same subject, questions, settings and graders: repetitions with other seeds. */
function nameOf({ arm, result }: Found): string {
  const { metric, settings, itemsSha256, graders } = result;
  return JSON.stringify([arm, metric, settings, itemsSha256, graders]);
}

function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) groups.set(keyOf(value), [...(groups.get(keyOf(value)) ?? []), value]);
  return groups;
}

function resultsOf(run: OpenRun, index: number, arms: readonly ArmCells[]): Found[] {
  const { evaluation } = run;
  if (evaluation === undefined) return [];
  return storedResults(evaluation).flatMap((result) => {
    const { subject, numAnswered, numItems, numUnscored } = result;
    if (subject.clientId !== undefined || subject.group !== undefined || numAnswered < numItems || numUnscored > 0) return [];
    const cell = arms.flatMap(({ arm, trainings }) => trainings.filter((one) => one.run === index && one.name === subject.label).map((one) => ({ arm, lastRound: one.lastRound })))[0];
    if (subject.arm !== undefined && (cell === undefined || subject.round !== cell.lastRound)) return [];
    return [{ arm: cell?.arm ?? subject.label, result, run, measures: summarizeResult(evaluation, result) }];
  });
}

function linesOf(group: readonly Found[]): BenchmarkLine[] {
  const [first] = group;
  if (first === undefined) return [];
  return first.measures.flatMap((measure): BenchmarkLine[] => {
    const same = group.flatMap(({ measures }) => measures.find((one) => one.measure === measure.measure) ?? []);
    const value = estimateMean(same.flatMap(({ mean }) => mean ?? []));
    if (value === undefined) return [];
    const { interval } = measure;
    const isOverItems = value.count === 1 && interval !== undefined;
    return [
      {
        metric: first.result.info.title,
        measure: measure.title,
        arm: first.arm,
        ...(first.result.graders.judge === undefined ? {} : { judge: first.result.graders.judge }),
        numItems: measure.numItems,
        value: isOverItems ? { ...value, ...interval } : value,
        over: isOverItems ? "items" : value.count > 1 ? "seeds" : "nothing",
        displayFactor: measure.displayFactor,
        higherIsBetter: measure.higherIsBetter,
      },
    ];
  });
}

/** Item by item within one run, since answers to the same questions by two adapters of one seed are pairs. */
function compareWithReference({ arm, reference }: ArmCells, found: readonly Found[]): BenchmarkComparison[] {
  const pairs = found.flatMap((left) => {
    const right = found.find((other) => left.arm === arm && other.arm === reference && other.run === left.run && nameOf({ ...other, arm }) === nameOf(left));
    return right === undefined || left.run.evaluation === undefined ? [] : [{ left, right, database: left.run.evaluation }];
  });
  // The first run that has both: results of other seeds are other trainings, which items say nothing of.
  const runOfPairs = pairs[0]?.left.run;
  const chosen = pairs.filter(({ left }) => left.run === runOfPairs);
  const compared = compareResults(chosen.map(({ left, right, database }) => ({ left: { database, result: left.result }, right: { database, result: right.result } })), SEED);
  return compared.map(({ metric, title, difference, interval, numItems, pValue, adjustedPValue, displayFactor, higherIsBetter, wins, losses }) => ({
    metric: chosen.find(({ left }) => left.result.metric === metric)?.left.result.info.title ?? metric,
    measure: title,
    first: arm,
    second: reference ?? "",
    run: runOfPairs?.folderName ?? "",
    difference: { count: numItems, mean: difference, min: difference, max: difference, ...interval },
    wins,
    losses,
    pValue,
    adjustedPValue,
    displayFactor,
    higherIsBetter,
  }));
}
