/** What trainings were predicted to cost beside what they did cost. */
import type { ArmCells } from "./cells.js";
import type { RunData } from "./run-data.js";
import { estimateMean } from "./statistics.js";
import type { PredictionLine } from "./study.js";

/** By arm and quantity, of finished trainings that were predicted; empty where none was. */
export function predictionLines(arms: readonly ArmCells[], data: readonly RunData[]): PredictionLine[] {
  const quantities = [...new Set(data.flatMap(({ predictions }) => predictions.map(({ quantity }) => quantity)))];
  return arms.flatMap((arm) => {
    if (arm.isPreliminary) return [];
    return quantities.flatMap((quantity): PredictionLine[] => {
      const outcomes = arm.trainings.flatMap(({ run, name }) => data[run]?.predictions.find((line) => line.arm === name && line.quantity === quantity) ?? []);
      const predicted = estimateMean(outcomes.map(({ value }) => value));
      if (predicted === undefined) return [];
      const measured = outcomes.flatMap(({ value, low, high, actual }) => (actual === null ? [] : [{ value, low, high, actual }]));
      const happened = estimateMean(measured.map(({ actual }) => actual));
      const ratio = estimateMean(measured.flatMap(({ value, actual }) => (value > 0 ? [actual / value] : [])));
      const ranged = measured.flatMap(({ low, high, actual }) => (low === null || high === null ? [] : [{ low, high, actual }]));
      const numWithin = ranged.filter(({ low, high, actual }) => actual >= low && actual <= high).length;
      return [{ arm: arm.arm, quantity, predicted, ...(happened === undefined ? {} : { happened }), ...(ratio === undefined ? {} : { ratio }), numMeasured: measured.length, numRanged: ranged.length, numWithin }];
    });
  });
}
