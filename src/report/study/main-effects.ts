/**
 * What a precision changes averaged over strategies, and a strategy averaged over precisions. For each seed the differences of the pairs are averaged
 * first, so that what is tested are independent values, one per seed; only seeds that every pair has count. Averages say more than single pairs: what
 * seeds add by chance is smaller in them, and fewer tests need correcting.
 */
import { holmAdjusted } from "../../benchmarks/compare.js";
import { DEFAULT_STRATEGY, UNFEDERATED_STRATEGIES } from "../../federated/strategies/registry.js";
import type { ArmCells } from "./cells.js";
import { sharedCells } from "./comparisons.js";
import { finalOf } from "./run-data.js";
import type { RunData } from "./run-data.js";
import { testPairs } from "./statistics.js";
import type { MainEffect, StudyMetric } from "./study.js";

/** Of a single pair the comparisons tell. */
const PAIRS_MIN = 2;

interface Group {
  readonly factor: MainEffect["factor"];
  readonly level: string;
  readonly reference: string;
  readonly pairs: (readonly [ArmCells, ArmCells])[];
}

/** By metric, then factor and level in the order of arms; Holm's correction is over the levels of a factor and metric. Arms that are not finished are left out. */
export function mainEffects(arms: readonly ArmCells[], metrics: readonly StudyMetric[], data: readonly RunData[]): MainEffect[] {
  const groups = groupsOf(arms.filter(({ isPreliminary }) => !isPreliminary)).filter(({ pairs }) => pairs.length >= PAIRS_MIN);
  return metrics.flatMap(({ metric }) =>
    (["precision", "strategy"] as const).flatMap((factor) => correct(groups.filter((group) => group.factor === factor).flatMap((group) => effectOf(group, metric, data)))),
  );
}

function groupsOf(arms: readonly ArmCells[]): Group[] {
  const groups = new Map<string, Group>();
  const add = (factor: Group["factor"], [first, second]: readonly [ArmCells, ArmCells]) => {
    const [level, reference] = factor === "precision" ? [first.precision, second.precision] : [first.strategy, second.strategy];
    const key = JSON.stringify([factor, level, reference]);
    const group = groups.get(key) ?? { factor, level, reference, pairs: [] };
    group.pairs.push([first, second]);
    groups.set(key, group);
  };
  const federated = arms.filter(({ strategy }) => !UNFEDERATED_STRATEGIES.includes(strategy));
  for (const first of federated) {
    const second = federated.find(({ arm }) => arm === first.reference);
    if (second !== undefined) add("precision", [first, second]);
  }
  for (const first of arms) {
    const peers = arms.filter(({ precision }) => precision === first.precision);
    const second = peers.find(({ strategy }) => strategy === DEFAULT_STRATEGY);
    const isOnlyOne = [first.strategy, DEFAULT_STRATEGY].every((strategy) => peers.filter((peer) => peer.strategy === strategy).length === 1);
    if (second !== undefined && second !== first && isOnlyOne) add("strategy", [first, second]);
  }
  return [...groups.values()];
}

function effectOf({ factor, level, reference, pairs }: Group, metric: string, data: readonly RunData[]): MainEffect[] {
  // Seed and data -> one difference per pair.
  const blocks = new Map<string, number[]>();
  for (const [first, second] of pairs) {
    for (const [left, right] of sharedCells(first, second)) {
      const [own, other] = [left, right].map((cell) => finalOf(data, cell, metric)?.value);
      if (own === undefined || other === undefined) continue;
      const key = `${String(left.seed)} ${left.dataKey}`;
      blocks.set(key, [...(blocks.get(key) ?? []), own - other]);
    }
  }
  const complete = [...blocks.values()].filter(({ length }) => length === pairs.length);
  const test = testPairs(complete.map((differences) => differences.reduce((sum, difference) => sum + difference, 0) / differences.length));
  return test === undefined ? [] : [{ metric, factor, level, reference, numPairs: pairs.length, ...test }];
}

function correct(effects: readonly MainEffect[]): MainEffect[] {
  const tested = effects.filter(({ pValue }) => pValue !== undefined);
  const adjusted = holmAdjusted(tested.map(({ pValue = 1 }) => pValue));
  return effects.map((effect) => {
    const adjustedPValue = adjusted[tested.indexOf(effect)];
    return adjustedPValue === undefined ? effect : { ...effect, adjustedPValue };
  });
}
