/** How arms serve single clients: a line per client and arm, and fairness over clients. */
import { fairnessOf } from "../../benchmarks/fairness.js";
import type { FinalClientLine } from "../../metrics/study-queries.js";
import type { ArmCells, Cell } from "./cells.js";
import type { RunData } from "./run-data.js";
import { estimateMean } from "./statistics.js";
import type { Estimate } from "./statistics.js";
import type { ClientLine, FairnessLine, StudyMetric } from "./study.js";

/** By arm and metric, of metrics of which it is known what is better. */
export function fairnessLines(arms: readonly ArmCells[], metrics: readonly StudyMetric[], data: readonly RunData[]): FairnessLine[] {
  return arms.flatMap((arm) => metrics.flatMap((metric) => fairnessLine(arm, metric, data)));
}

function fairnessLine(arm: ArmCells, { metric, higherIsBetter }: StudyMetric, data: readonly RunData[]): FairnessLine[] {
  if (higherIsBetter === undefined) return [];
  const perCell = arm.trainings.map((cell) => clientFinals(data, cell, metric)).filter((lines) => lines.length > 0);
  const fair = perCell.flatMap((lines) => fairnessOf(lines.map(({ value }) => value), higherIsBetter) ?? []);
  const mean = estimateMean(fair.map((cell) => cell.mean));
  const worst = estimateMean(fair.map(({ worstTenth }) => worstTenth));
  const spread = estimateMean(fair.map(({ standardDeviation }) => standardDeviation));
  if (mean === undefined || worst === undefined || spread === undefined) return [];
  const improved = estimateMean(perCell.flatMap((lines) => improvedPart(lines, higherIsBetter) ?? []));
  return [{ arm: arm.arm, metric, numClients: Math.max(...perCell.map(({ length }) => length)), mean, worst, spread, ...(improved === undefined ? {} : { improved }) }];
}

function clientFinals(data: readonly RunData[], { run, name }: Cell, metric: string): FinalClientLine[] {
  return (data[run]?.clientFinals ?? []).filter((line) => line.arm === name && line.metric === metric);
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function improvedPart(lines: readonly FinalClientLine[], higherIsBetter: boolean): number | undefined {
  const known = lines.flatMap(({ value, before }) => (before === null ? [] : [higherIsBetter ? value > before : value < before]));
  return known.length === 0 ? undefined : known.filter(Boolean).length / known.length;
}

interface ClientSums {
  readonly totals: { numRounds: number; numFailures: number; numTokens: number; uploadBytes: number };
  group: string | undefined;
  numExamples: number | undefined;
  readonly losses: number[];
  readonly values: Map<string, { readonly values: number[]; readonly befores: number[] }>;
}

/** By arm and client id; clients that were never drawn and never judged do not appear. */
export function clientLines(arms: readonly ArmCells[], data: readonly RunData[]): ClientLine[] {
  return arms.flatMap((arm) => {
    const clients = new Map<string, ClientSums>();
    const sumsOf = (id: string): ClientSums => {
      const sums = clients.get(id) ?? { totals: { numRounds: 0, numFailures: 0, numTokens: 0, uploadBytes: 0 }, group: undefined, numExamples: undefined, losses: [], values: new Map() };
      clients.set(id, sums);
      return sums;
    };
    for (const cell of arm.trainings) addCell(cell, data, sumsOf);
    return [...clients].sort(([left], [right]) => (left < right ? -1 : 1)).map(([clientId, sums]) => lineOf(arm.arm, clientId, sums));
  });
}

function addCell({ run, name }: Cell, data: readonly RunData[], sumsOf: (id: string) => ClientSums): void {
  for (const line of (data[run]?.clientTotals ?? []).filter(({ arm }) => arm === name)) {
    const sums = sumsOf(line.clientId);
    for (const key of ["numRounds", "numFailures", "numTokens", "uploadBytes"] as const) sums.totals[key] += line[key];
    sums.numExamples = line.numExamples;
    sums.group = line.group ?? undefined;
    if (line.trainLoss !== null) sums.losses.push(line.trainLoss);
  }
  for (const line of (data[run]?.clientFinals ?? []).filter(({ arm }) => arm === name)) {
    const sums = sumsOf(line.clientId);
    const known = sums.values.get(line.metric) ?? { values: [], befores: [] };
    sums.values.set(line.metric, known);
    known.values.push(line.value);
    if (line.before !== null) known.befores.push(line.before);
  }
}

function lineOf(arm: string, clientId: string, { totals, group, numExamples, losses, values }: ClientSums): ClientLine {
  const mean = (numbers: readonly number[]): Estimate["mean"] | undefined => estimateMean(numbers)?.mean;
  const trainLoss = mean(losses);
  return {
    arm,
    clientId,
    ...(group === undefined ? {} : { group }),
    ...(numExamples === undefined ? {} : { numExamples }),
    ...totals,
    ...(trainLoss === undefined ? {} : { trainLoss }),
    values: [...values].map(([metric, known]) => {
      const before = mean(known.befores);
      return { metric, value: meanOf(known.values), ...(before === undefined ? {} : { before }) };
    }),
  };
}
