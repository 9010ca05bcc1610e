/**
 * Pairs of arms and what their differences on shared seeds and data say. Without an arm to compare with, two questions are asked: what does
 * a precision change against the unquantized model, and what does a strategy change against the default one at the same precision.
 */
import { holmAdjusted } from "../../benchmarks/compare.js";
import { DEFAULT_STRATEGY } from "../../federated/strategies/registry.js";
import type { ArmCells, Cell } from "./cells.js";
import { finalOf } from "./run-data.js";
import type { RunData } from "./run-data.js";
import { testPairs } from "./statistics.js";
import type { Comparison, StudyMetric } from "./study.js";

/** By metric, then in the order of arms. Pairs without a shared seed are listed as refused only when the user asked for them. */
export function compareArms(arms: readonly ArmCells[], metrics: readonly StudyMetric[], data: readonly RunData[], against?: string): Comparison[] {
  const pairs = pairsOf(arms, against);
  return metrics.flatMap(({ metric }) => correct(pairs.flatMap(([first, second]) => comparePair(first, second, metric, data))));
}

function pairsOf(arms: readonly ArmCells[], against: string | undefined): (readonly [ArmCells, ArmCells])[] {
  if (against !== undefined) {
    const second = arms.find(({ arm }) => arm === against);
    return second === undefined ? [] : arms.filter((arm) => arm !== second).map((first) => [first, second] as const);
  }
  const byPrecision = arms.flatMap((first) => {
    const second = arms.find(({ arm }) => arm === first.reference);
    return second === undefined ? [] : [[first, second] as const];
  });
  const byStrategy = [...new Set(arms.map(({ precision }) => precision))].flatMap((precision) => {
    const mine = arms.filter((arm) => arm.precision === precision);
    const second = mine.find(({ strategy }) => strategy === DEFAULT_STRATEGY) ?? mine[0];
    return second === undefined ? [] : mine.filter((arm) => arm !== second).map((first) => [first, second] as const);
  });
  return [...byPrecision, ...byStrategy];
}

function comparePair(first: ArmCells, second: ArmCells, metric: string, data: readonly RunData[]): Comparison[] {
  const differences = sharedCells(first, second).flatMap(([left, right]) => {
    const values = [finalOf(data, left, metric)?.value, finalOf(data, right, metric)?.value] as const;
    return values[0] === undefined || values[1] === undefined ? [] : [values[0] - values[1]];
  });
  const test = testPairs(differences);
  if (test === undefined) return [];
  const names = { metric, first: first.arm, second: second.arm };
  if (first.isPreliminary || second.isPreliminary) return [{ ...names, difference: test.difference, refused: "not finished" }];
  return [{ ...names, ...test }];
}

/** Trainings with one seed on the same data. */
export function sharedCells(first: ArmCells, second: ArmCells): (readonly [Cell, Cell])[] {
  return first.trainings.flatMap((left) => {
    const right = second.trainings.find(({ seed, dataKey }) => seed === left.seed && dataKey === left.dataKey);
    return right === undefined ? [] : [[left, right] as const];
  });
}

function correct(comparisons: readonly Comparison[]): Comparison[] {
  const tested = comparisons.filter(({ pValue }) => pValue !== undefined);
  const adjusted = holmAdjusted(tested.map(({ pValue = 1 }) => pValue));
  return comparisons.map((comparison) => {
    const adjustedPValue = adjusted[tested.indexOf(comparison)];
    return adjustedPValue === undefined ? comparison : { ...comparison, adjustedPValue };
  });
}
