/** The answer in words: what federating on a quantized base loses in the main metric and saves in memory. */
import { DEFAULT_STRATEGY } from "../../federated/strategies/registry.js";
import type { ArmCells } from "./cells.js";
import { formatPValue, formatValue } from "./numbers.js";
import type { Answer, AnswerLine, Comparison, CostLine, QualityLine, StudyMetric } from "./study.js";

export interface AnswerParts {
  readonly arms: readonly ArmCells[];
  readonly main: StudyMetric | undefined;
  readonly quality: readonly QualityLine[];
  readonly comparisons: readonly Comparison[];
  readonly costs: readonly CostLine[];
}

export function answerOf(parts: AnswerParts): Answer {
  const { main } = parts;
  if (main === undefined) return { sentence: "Nothing has been evaluated yet.", lines: [] };
  const lines = parts.arms.flatMap((arm) => answerLine(arm, main, parts));
  return { sentence: lines.length > 0 ? describeLines(lines, main, parts) : describeArms(main, parts), lines };
}

function answerLine({ arm, reference }: ArmCells, { metric }: StudyMetric, { comparisons, costs }: AnswerParts): AnswerLine[] {
  const comparison = comparisons.find((line) => line.metric === metric && line.first === arm && line.second === reference);
  const [own, other] = [arm, reference].map((name) => costs.find((line) => line.arm === name));
  if (comparison === undefined || reference === undefined || own === undefined || other === undefined) return [];
  const { difference: change, adjustedPValue } = comparison;
  const [peak, otherPeak] = [own.peakMemoryBytes?.mean, other.peakMemoryBytes?.mean];
  return [
    {
      arm,
      reference,
      change,
      ...(adjustedPValue === undefined ? {} : { adjustedPValue }),
      weights: own.weightBytes / other.weightBytes,
      ...(peak === undefined || otherPeak === undefined ? {} : { peakMemory: peak / otherPeak }),
    },
  ];
}

/** About the smallest model of the strategy that the study is most likely about. */
function describeLines(lines: readonly AnswerLine[], main: StudyMetric, { arms, quality }: AnswerParts): string {
  const armOf = (name: string) => arms.find(({ arm }) => arm === name);
  const strategies = lines.map(({ arm }) => armOf(arm)?.strategy);
  const strategy = strategies.includes(DEFAULT_STRATEGY) ? DEFAULT_STRATEGY : strategies[0];
  const line = lines.filter(({ arm }) => armOf(arm)?.strategy === strategy).sort((left, right) => left.weights - right.weights)[0];
  if (line === undefined) return "";
  const valueOf = (name: string) => quality.find(({ arm, metric }) => arm === name && metric === main.metric);
  const [own, other] = [valueOf(line.arm), valueOf(line.reference)];
  const [precision, referencePrecision] = [line.arm, line.reference].map((name) => armOf(name)?.precision ?? name);
  const title = main.title.replace(", %", "");
  const values = own === undefined || other === undefined ? "" : ` ends at a ${title} of ${formatValue(own.value.mean, main)} against ${formatValue(other.value.mean, main)} on ${referencePrecision ?? ""}`;
  const peak = line.peakMemory === undefined ? "" : ` and ${describeSaving(line.peakMemory)} at the peak of training`;
  return `On ${precision ?? ""}, ${strategy ?? ""}${values}: ${describeChange(line, main)}. It takes ${describeSaving(line.weights)} memory for weights${peak}.`;
}

function describeChange({ change, adjustedPValue }: AnswerLine, main: StudyMetric): string {
  const { mean, high, count } = change;
  const difference = `${mean < 0 ? "" : "+"}${formatValue(mean, main)}`;
  if (high === undefined) return `${difference} with one seed, which says nothing of its spread`;
  const interval = `${difference} ± ${formatValue(high - mean, main)} (95 % over ${String(count)} seeds)`;
  if (adjustedPValue === undefined) return `${interval}, too few seeds for a test`;
  const verdict = adjustedPValue >= 0.05 ? "no difference can be shown" : main.higherIsBetter === undefined ? "a difference" : mean > 0 === main.higherIsBetter ? "better" : "a loss";
  return `${interval}, ${verdict} (p = ${formatPValue(adjustedPValue)})`;
}

function describeSaving(part: number): string {
  const percent = Math.round(Math.abs(1 - part) * 100);
  return percent === 0 ? "as much" : `${String(percent)} % ${part < 1 ? "less" : "more"}`;
}

/** Without a precision to compare with: the best arm. */
function describeArms(main: StudyMetric, { quality }: AnswerParts): string {
  const sign = main.higherIsBetter === true ? -1 : 1;
  const [best] = quality.filter(({ metric }) => metric === main.metric).sort((left, right) => sign * (left.value.mean - right.value.mean));
  if (best === undefined || main.higherIsBetter === undefined) return "No arm has been evaluated after training yet.";
  const before = best.before === undefined ? "" : `, from ${formatValue(best.before, main)} before training`;
  return `${best.arm} has the best ${main.title.replace(", %", "")}: ${formatValue(best.value.mean, main)}${before}.`;
}
