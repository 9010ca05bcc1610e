/** What adapters are worth on base models of other precisions than the one they were trained on, over seeds. */
import { sharedCells } from "./comparisons.js";
import { overCells } from "./run-data.js";
import type { RunData } from "./run-data.js";
import type { ArmCells, Cell } from "./cells.js";
import { estimateMean } from "./statistics.js";
import type { Estimate } from "./statistics.js";
import { UNFEDERATED_STRATEGIES } from "../../federated/strategies/registry.js";
import type { StudyMetric, Transfer, TransferAverage, TransferLine } from "./study.js";

/** The matrix of the first metric that was measured across precisions; undefined without one. */
export function transferOf(arms: readonly ArmCells[], metrics: readonly StudyMetric[], data: readonly RunData[]): Transfer | undefined {
  const measured = data.flatMap(({ transfers }) => transfers);
  const main = metrics.find(({ metric }) => measured.some((line) => line.metric === metric));
  if (main === undefined) return undefined;
  const precisions = [...new Set([...arms.map(({ precision }) => precision), ...measured.map(({ precision }) => precision)])].filter((precision) => measured.some((line) => line.precision === precision));
  const valueOf = (cell: Cell, precision: string) => data[cell.run]?.transfers.find((line) => line.arm === cell.name && line.precision === precision && line.metric === main.metric)?.value ?? undefined;
  const lines = arms.flatMap((arm) =>
    precisions.flatMap((precision): TransferLine[] => {
      const value = overCells(arm, (cell) => valueOf(cell, precision));
      if (value === undefined) return [];
      const isOwn = precision === arm.precision;
      const minusOwn = isOwn ? undefined : estimateMean(arm.trainings.flatMap((cell) => difference(valueOf(cell, precision), valueOf(cell, arm.precision))));
      const trainedThere = isOwn ? undefined : siblingOf(arm, precision, arms);
      const minusTrainedThere = trainedThere === undefined ? undefined : pairedOn(arm, trainedThere, (cell) => valueOf(cell, precision));
      return [{ arm: arm.arm, precision, value, ...(minusOwn === undefined ? {} : { minusOwn }), ...(minusTrainedThere === undefined ? {} : { minusTrainedThere }) }];
    }),
  );
  return { metric: main.metric, precisions, lines, averages: averagesOf(arms, precisions, valueOf) };
}

/** Over federated strategies: differences are averaged for each seed that every one of them has, and their mean is over seeds. */
function averagesOf(all: readonly ArmCells[], precisions: readonly string[], valueOf: (cell: Cell, precision: string) => number | undefined): TransferAverage[] {
  const arms = all.filter(({ strategy }) => !UNFEDERATED_STRATEGIES.includes(strategy));
  return precisions.flatMap((trainedOn) => {
    const mine = arms.filter(({ precision }) => precision === trainedOn);
    if (mine.length < 2) return [];
    return precisions.flatMap((usedOn): TransferAverage[] => {
      if (usedOn === trainedOn) return [];
      const minusOwn = averageBySeed(mine.map((arm) => arm.trainings.map((cell) => [cell, minus(valueOf(cell, usedOn), valueOf(cell, trainedOn))] as const)));
      const minusTrainedThere = averageBySeed(
        mine.map((arm) => {
          const there = siblingOf(arm, usedOn, arms);
          return there === undefined ? [] : sharedCells(arm, there).map(([left, right]) => [left, minus(valueOf(left, usedOn), valueOf(right, usedOn))] as const);
        }),
      );
      if (minusOwn === undefined) return [];
      return [{ trainedOn, usedOn, numArms: mine.length, minusOwn, ...(minusTrainedThere === undefined ? {} : { minusTrainedThere }) }];
    });
  });
}

function averageBySeed(byArm: readonly (readonly (readonly [Cell, number | undefined])[])[]): Estimate | undefined {
  const blocks = new Map<string, number[]>();
  for (const [{ seed, dataKey }, value] of byArm.flat()) {
    const key = `${String(seed)} ${dataKey}`;
    if (value !== undefined) blocks.set(key, [...(blocks.get(key) ?? []), value]);
  }
  const complete = [...blocks.values()].filter(({ length }) => length === byArm.length);
  return estimateMean(complete.map((values) => values.reduce((sum, value) => sum + value, 0) / values.length));
}

function minus(left: number | undefined, right: number | undefined): number | undefined {
  return left === undefined || right === undefined ? undefined : left - right;
}

/** The arm that differs in precision only. */
function siblingOf(arm: ArmCells, precision: string, arms: readonly ArmCells[]): ArmCells | undefined {
  const reference = arm.reference ?? arm.arm;
  return arms.find((other) => other.precision === precision && (other.reference ?? other.arm) === reference);
}

function pairedOn(first: ArmCells, second: ArmCells, valueOf: (cell: Cell) => number | undefined): Estimate | undefined {
  return estimateMean(sharedCells(first, second).flatMap(([left, right]) => difference(valueOf(left), valueOf(right))));
}

function difference(left: number | undefined, right: number | undefined): number[] {
  const found = minus(left, right);
  return found === undefined ? [] : [found];
}
