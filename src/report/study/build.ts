/** Runs -> study. Every number comes from a query over a run's metrics.sqlite; this file puts the runs together and does the statistics. */
import { problemError } from "../../errors.js";
import type { CostLine as ArmCosts } from "../../metrics/study-queries.js";
import { answerOf } from "./answer.js";
import { benchmarkLines } from "./benchmarks.js";
import { collectArms } from "./cells.js";
import type { ArmCells } from "./cells.js";
import { compareArms } from "./comparisons.js";
import { clientLines, fairnessLines } from "./clients.js";
import { describeMetrics } from "./metrics.js";
import { predictionLines } from "./predictions.js";
import { privacyLines, privacyNotes } from "./privacy.js";
import { mainEffects } from "./main-effects.js";
import { finalOf, overCells, readRun } from "./run-data.js";
import type { RunData } from "./run-data.js";
import type { OpenRun } from "./source.js";
import { estimateMean } from "./statistics.js";
import { STUDY_VERSION } from "./study.js";
import type { CostLine, Curve, QualityLine, Study, StudyMetric } from "./study.js";
import { targetOf } from "./target.js";
import { transferOf } from "./transfer.js";

export interface StudyOptions {
  /** Arm that all others are compared with; absent: quantized arms with unquantized ones, strategies with the default one. */
  readonly against?: string;
  /** The metric the study is about; absent: held-out loss. */
  readonly metric?: string;
  /** Value of that metric to which time and bytes are counted; absent: the best that every arm reached. */
  readonly target?: number;
  readonly title?: string;
}

/** Throws CONFIG_INVALID for an arm or a metric that no run has. */
export function buildStudy(runs: readonly OpenRun[], options: StudyOptions = {}): Study {
  const data = runs.map(readRun);
  const { arms, warnings } = collectArms(runs);
  const metrics = orderMetrics(describeMetrics(data.flatMap(({ curves: lines }) => lines.map(({ metric }) => metric))), options.metric);
  checkArm(arms, options.against);
  const quality = qualityLines(arms, metrics, data);
  const main = metrics[0];
  const costLines = arms.flatMap((arm) => costLine(arm, data));
  const comparisons = compareArms(arms, metrics, data, options.against);
  const effects = mainEffects(arms, metrics, data);
  const target = main === undefined ? undefined : targetOf(arms, main, data, options.target);
  const privacy = privacyLines(arms, runs);
  const benchmarks = benchmarkLines(arms, runs);
  const transfer = transferOf(arms, metrics, data);
  return {
    version: STUDY_VERSION,
    title: options.title ?? titleOf(runs),
    answer: answerOf({ arms, main, quality, comparisons, mainEffects: effects, costs: costLines }),
    notes: [...syntheticNotes(runs), ...privacyNotes(privacy), ...stateNotes(runs, arms), ...warnings],
    runs: runs.map((run, index) => ({
      index,
      folder: run.folder,
      folderName: run.folderName,
      state: run.state,
      seed: run.record.seed,
      record: run.record,
      config: run.configText,
      arms: run.config.arms.map(({ name, training }) => ({
        arm: arms.find(({ trainings }) => trainings.some((cell) => cell.run === index && cell.name === name))?.arm ?? name,
        lastRound: run.lastRounds.get(name) ?? 0,
        numRounds: training.numRounds,
        adapters: run.adapters.get(name) ?? [],
      })),
      warnings: [],
    })),
    arms: arms.map(({ trainings, ...arm }) => arm),
    metrics,
    quality,
    comparisons,
    mainEffects: effects,
    costs: costLines,
    ...(target === undefined ? {} : { target }),
    fairness: fairnessLines(arms, metrics, data),
    benchmarks: benchmarks.lines,
    benchmarkComparisons: benchmarks.comparisons,
    privacy,
    ...(transfer === undefined ? {} : { transfer }),
    predictions: predictionLines(arms, data),
    curves: curveLines(arms, data),
    clients: clientLines(arms, data),
  };
}

function orderMetrics(metrics: readonly StudyMetric[], first: string | undefined): StudyMetric[] {
  if (first === undefined) return [...metrics];
  const main = metrics.find(({ metric }) => metric === first);
  if (main !== undefined) return [main, ...metrics.filter((metric) => metric !== main)];
  throw problemError("CONFIG_INVALID", { subject: "metric", expected: `one that the runs measured (${metrics.map(({ metric }) => metric).join(", ")})`, received: JSON.stringify(first) });
}

function checkArm(arms: readonly ArmCells[], name: string | undefined): void {
  if (name === undefined || arms.some(({ arm }) => arm === name)) return;
  throw problemError("CONFIG_INVALID", { subject: "arm to compare with", expected: `one of ${arms.map(({ arm }) => arm).join(", ")}`, received: JSON.stringify(name) });
}

function titleOf(runs: readonly OpenRun[]): string {
  const names = [...new Set(runs.map(({ record }) => record.name))];
  if (names.length === 0) return "No runs yet";
  return names.length <= 3 ? names.join(", ") : `${names.slice(0, 2).join(", ")} and ${String(names.length - 2)} more`;
}

function qualityLines(arms: readonly ArmCells[], metrics: readonly StudyMetric[], data: readonly RunData[]): QualityLine[] {
  return arms.flatMap((arm) =>
    metrics.flatMap(({ metric }) => {
      const value = overCells(arm, (cell) => finalOf(data, cell, metric)?.value);
      const before = overCells(arm, (cell) => finalOf(data, cell, metric)?.before)?.mean;
      return value === undefined ? [] : [{ arm: arm.arm, metric, value, ...(before === undefined ? {} : { before }) }];
    }),
  );
}

function costLine(arm: ArmCells, data: readonly RunData[]): CostLine[] {
  const linesOf = arm.trainings.flatMap(({ run, name }) => data[run]?.costs.find((line) => line.arm === name) ?? []);
  const [first] = linesOf;
  if (first === undefined) return [];
  const over = (valueOf: (line: ArmCosts) => number | null) => estimateMean(linesOf.map(valueOf).filter((value) => value !== null));
  const traffic = over((line) => line.uploadBytes + line.downloadBytes);
  const duration = over((line) => line.durationMs);
  if (traffic === undefined || duration === undefined) return [];
  const optional = {
    peakMemoryBytes: over((line) => line.peakMemoryBytes),
    plannedPeakBytes: over((line) => line.plannedPeakBytes),
    tokensPerSecond: over((line) => line.tokensPerSecond),
    uploadBytesPerClient: over((line) => line.uploadBytesPerClient),
    simulatedMs: over((line) => line.simulatedMs),
    cpuEnergyJoules: over((line) => line.cpuEnergyJoules),
    gpuEnergyJoules: over((line) => line.gpuEnergyJoules),
    aggregationError: over((line) => line.aggregationError),
  };
  return [
    {
      arm: arm.arm,
      weightBytes: first.weightBytes,
      ...(first.numParameters === null ? {} : { numParameters: first.numParameters }),
      trafficBytes: traffic,
      durationMs: duration,
      ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
      ...(first.energySource === null ? {} : { energySource: first.energySource }),
      numFailures: linesOf.reduce((sum, line) => sum + line.numFailures, 0),
    },
  ];
}

function curveLines(arms: readonly ArmCells[], data: readonly RunData[]): Curve[] {
  return arms.flatMap((arm) =>
    arm.trainings.flatMap(({ run, name, seed }) => {
      const lines = (data[run]?.curves ?? []).filter((line) => line.arm === name);
      return [...new Set(lines.map(({ metric }) => metric))].map((metric) => ({
        arm: arm.arm,
        run,
        seed,
        metric,
        points: lines.filter((line) => line.metric === metric).map(({ round, value, bytes, durationMs, simulatedMs }) => ({ round, value, bytes, durationMs, ...(simulatedMs === null ? {} : { simulatedMs }) })),
      }));
    }),
  );
}

function syntheticNotes(runs: readonly OpenRun[]): string[] {
  const profiles = [...new Set(runs.flatMap(({ record }) => record.syntheticData?.profile ?? []))];
  return profiles.length === 0 ? [] : [`Synthetic data (${profiles.join(", ")}), made by this program: the figures say nothing about a published data set.`];
}

function stateNotes(runs: readonly OpenRun[], arms: readonly ArmCells[]): string[] {
  const open = runs.filter(({ state }) => state !== "finished");
  const preliminary = arms.filter(({ isPreliminary }) => isPreliminary).map(({ arm }) => arm);
  return [
    ...open.map(({ folderName, state }) => `${folderName} is ${state === "running" ? "still running" : "not finished"}.`),
    ...(preliminary.length === 0 ? [] : [`Preliminary, since no training of them is finished: ${preliminary.join(", ")}. Their values are those of the last evaluated round, and no test is made with them.`]),
  ];
}
