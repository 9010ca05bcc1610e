/** What it took to reach a quality: rounds, bytes and time until the main metric was first as good as a target. */
import type { ArmCells, Cell } from "./cells.js";
import type { RunData } from "./run-data.js";
import { estimateMean } from "./statistics.js";
import type { StudyMetric, Target, TargetLine } from "./study.js";
import type { CurveLine } from "../../metrics/study-queries.js";

/** Undefined where nothing was measured along the way, or nobody knows what is better. */
export function targetOf(arms: readonly ArmCells[], { metric, higherIsBetter }: StudyMetric, data: readonly RunData[], given?: number): Target | undefined {
  if (higherIsBetter === undefined) return undefined;
  const sign = higherIsBetter ? 1 : -1;
  const curveOf = ({ run, name }: Cell) => (data[run]?.curves ?? []).filter((line) => line.arm === name && line.metric === metric && line.round > 0);
  const bests = arms.flatMap(({ trainings }) =>
    trainings.flatMap((cell) => {
      const values = curveOf(cell).map(({ value }) => sign * value);
      return values.length === 0 ? [] : [Math.max(...values)];
    }),
  );
  if (bests.length === 0) return undefined;
  const value = given ?? sign * Math.min(...bests);
  const lines = arms.map((arm) => targetLine(arm, (cell) => curveOf(cell).find((line) => sign * line.value >= sign * value)));
  return { metric, value, origin: given === undefined ? "reachedByAll" : "given", lines };
}

function targetLine({ arm, trainings }: ArmCells, firstReached: (cell: Cell) => CurveLine | undefined): TargetLine {
  const reached = trainings.flatMap((cell) => firstReached(cell) ?? []);
  const over = (valueOf: (line: CurveLine) => number | null) => estimateMean(reached.map(valueOf).filter((value) => value !== null));
  const optional = { rounds: over(({ round }) => round), bytes: over(({ bytes }) => bytes), durationMs: over(({ durationMs }) => durationMs), simulatedMs: over(({ simulatedMs }) => simulatedMs) };
  return { arm, numReached: reached.length, numCells: trainings.length, ...Object.fromEntries(Object.entries(optional).filter(([, estimate]) => estimate !== undefined)) };
}
