/** What adapters are worth on base models of other precisions than the one they were trained on, over seeds. */
import { sharedCells } from "./comparisons.js";
import { overCells } from "./run-data.js";
import type { RunData } from "./run-data.js";
import type { ArmCells, Cell } from "./cells.js";
import { estimateMean } from "./statistics.js";
import type { Estimate } from "./statistics.js";
import type { StudyMetric, Transfer, TransferLine } from "./study.js";

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
  return { metric: main.metric, precisions, lines };
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
  return left === undefined || right === undefined ? [] : [left - right];
}
