/** What the databases of a study's runs say, each query made once. */
import { AGGREGATION_ERROR } from "../../adapter/aggregation-error.js";
import { clientTotals, costs, curves, finalClientValues, finalValues, predictedAndHappened, transferValues } from "../../metrics/study-queries.js";
import type { ClientTotalLine, CostLine, CurveLine, FinalClientLine, FinalLine, OutcomeLine, TransferLine } from "../../metrics/study-queries.js";
import type { ArmCells, Cell } from "./cells.js";
import type { OpenRun } from "./source.js";
import { estimateMean } from "./statistics.js";
import type { Estimate } from "./statistics.js";

/** The lines of one run. */
export interface RunData {
  readonly finals: readonly FinalLine[];
  readonly clientFinals: readonly FinalClientLine[];
  readonly clientTotals: readonly ClientTotalLine[];
  readonly curves: readonly CurveLine[];
  readonly costs: readonly CostLine[];
  readonly transfers: readonly TransferLine[];
  readonly predictions: readonly OutcomeLine[];
}

export function readRun({ database, record }: OpenRun): RunData {
  // Where arms cannot be told apart, a peak is that of all of them and of the program, which is not what was predicted.
  const hasOwnPeak = record.machine.peakMemoryScope === "arm";
  return {
    finals: finalValues(database),
    clientFinals: finalClientValues(database),
    clientTotals: clientTotals(database),
    curves: curves(database),
    costs: costs(database, AGGREGATION_ERROR).map((line) => (hasOwnPeak ? line : { ...line, peakMemoryBytes: null, plannedPeakBytes: null })),
    transfers: transferValues(database),
    predictions: predictedAndHappened(database).filter(({ quantity }) => hasOwnPeak || quantity !== "peak_memory_bytes"),
  };
}

/** The mean over an arm's cells that have the value. */
export function overCells(arm: ArmCells, valueOf: (cell: Cell) => number | null | undefined): Estimate | undefined {
  return estimateMean(arm.trainings.map(valueOf).filter((value) => value !== null && value !== undefined));
}

/** A cell's last value of a metric. */
export function finalOf(data: readonly RunData[], { run, name }: Cell, metric: string): FinalLine | undefined {
  return data[run]?.finals.find((line) => line.arm === name && line.metric === metric);
}
