/** The answer in words: what federating on a quantized base loses in the main metric and saves in memory. */
import { DEFAULT_STRATEGY } from "../../federated/strategies/registry.js";
import type { ArmCells } from "./cells.js";
import { formatPValue, formatValue } from "./numbers.js";
import type { Estimate } from "./statistics.js";
import type { Answer, AnswerLine, Comparison, CostLine, MainEffect, QualityLine, StudyMetric } from "./study.js";

export interface AnswerParts {
  readonly arms: readonly ArmCells[];
  readonly main: StudyMetric | undefined;
  readonly quality: readonly QualityLine[];
  readonly comparisons: readonly Comparison[];
  readonly mainEffects: readonly MainEffect[];
  readonly costs: readonly CostLine[];
}

export function answerOf(parts: AnswerParts): Answer {
  const { main } = parts;
  if (main === undefined) return { sentence: "Nothing has been evaluated yet.", lines: [] };
  const lines = parts.arms.flatMap((arm) => answerLine(arm, main, parts));
  const focus = chooseFocus(lines, parts);
  return focus === undefined ? { sentence: describeArms(main, parts), lines } : { ...describeLine(focus, main, parts), lines, focus };
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

/** The smallest model of the strategy that the study is most likely about. */
function chooseFocus(lines: readonly AnswerLine[], { arms }: AnswerParts): AnswerLine | undefined {
  const strategyOf = (line: AnswerLine) => arms.find(({ arm }) => arm === line.arm)?.strategy;
  const strategy = lines.some((line) => strategyOf(line) === DEFAULT_STRATEGY) ? DEFAULT_STRATEGY : lines[0] && strategyOf(lines[0]);
  return lines.filter((line) => strategyOf(line) === strategy).sort((left, right) => left.weights - right.weights)[0];
}

function describeLine(line: AnswerLine, main: StudyMetric, { arms, quality, mainEffects: effects }: AnswerParts): Pick<Answer, "sentence" | "detail" | "effect"> {
  const armOf = (name: string) => arms.find(({ arm }) => arm === name);
  const valueOf = (name: string) => quality.find(({ arm, metric }) => arm === name && metric === main.metric)?.value.mean;
  const [precision, referencePrecision] = [line.arm, line.reference].map((name) => armOf(name)?.precision ?? name);
  const [own, other] = [valueOf(line.arm), valueOf(line.reference)];
  const effect = effects.find(({ metric, factor, level, reference }) => metric === main.metric && factor === "precision" && level === precision && reference === referencePrecision);
  const title = plainTitle(main);
  const values = own === undefined || other === undefined ? "" : `${armOf(line.arm)?.strategy ?? ""} ends at a ${title} of ${formatValue(own, main)}, against ${formatValue(other, main)} on ${referencePrecision ?? ""}: `;
  const peak = line.peakMemory === undefined ? "" : ` At the peak of training it takes ${describeSaving(line.peakMemory)} memory.`;
  if (effect !== undefined) {
    return {
      effect,
      sentence: `Averaged over ${String(effect.numPairs)} federated strategies, ${lowerFirst(describeVerdict(effect, precision ?? "", main))} ${describeSaving(line.weights)} memory for weights.`,
      detail: `Over strategies: ${describeChange(effect, main)}. Of them ${values}${describeChange(line, main)}.${peak}`,
    };
  }
  return {
    sentence: `${describeVerdict(line, precision ?? "", main)} ${describeSaving(line.weights)} memory for weights.`,
    detail: `${values}${describeChange(line, main)}.${peak}`,
  };
}

/** A difference over seeds and its test, of a pair of arms or of an average. */
type Change = Pick<AnswerLine, "change" | "adjustedPValue"> | Pick<MainEffect, "difference" | "adjustedPValue">;

const differenceOf = (line: { readonly change: Estimate } | { readonly difference: Estimate }): Estimate => ("change" in line ? line.change : line.difference);

const lowerFirst = (words: string): string => words.charAt(0).toLowerCase() + words.slice(1);

/** The first half of a sentence that goes on with what is saved. */
function describeVerdict({ adjustedPValue, ...line }: Change, precision: string, main: StudyMetric): string {
  const { mean, count } = differenceOf(line);
  const title = plainTitle(main);
  const seeds = `${String(count)} seed${count === 1 ? "" : "s"}`;
  if (adjustedPValue === undefined) return `What training on ${precision} costs in ${title} cannot be told from ${seeds}; it takes`;
  if (adjustedPValue >= 0.05) return `Training on ${precision} costs nothing in ${title} that ${seeds} can show, and takes`;
  const size = formatValue(Math.abs(mean), main);
  if (main.higherIsBetter === undefined) return `Training on ${precision} changes the ${title} by ${size} and takes`;
  return mean > 0 === main.higherIsBetter ? `Training on ${precision} improves the ${title} by ${size} and takes` : `Training on ${precision} costs ${size} of ${title} and takes`;
}

function describeChange({ adjustedPValue, ...line }: Change, main: StudyMetric): string {
  const { mean, high, count } = differenceOf(line);
  const difference = `${mean < 0 ? "−" : "+"}${formatValue(Math.abs(mean), main)}`;
  if (high === undefined) return `${difference} with one seed, which says nothing of its spread`;
  const test = adjustedPValue === undefined ? "too few for a test" : `p = ${formatPValue(adjustedPValue)} by the paired t test`;
  return `${difference} ± ${formatValue(high - mean, main)} (95 % interval over ${String(count)} seeds, ${test})`;
}

function describeSaving(part: number): string {
  const percent = Math.round(Math.abs(1 - part) * 100);
  return percent === 0 ? "as much" : `${String(percent)} % ${part < 1 ? "less" : "more"}`;
}

function plainTitle({ title }: StudyMetric): string {
  return title.replace(", %", "");
}

/** Without a precision to compare with: the best arm. */
function describeArms(main: StudyMetric, { quality }: AnswerParts): string {
  const sign = main.higherIsBetter === true ? -1 : 1;
  const [best] = quality.filter(({ metric }) => metric === main.metric).sort((left, right) => sign * (left.value.mean - right.value.mean));
  if (best === undefined || main.higherIsBetter === undefined) return "No arm has been evaluated after training yet.";
  const before = best.before === undefined ? "" : `, from ${formatValue(best.before, main)} before training`;
  return `${best.arm} has the best ${plainTitle(main)}: ${formatValue(best.value.mean, main)}${before}.`;
}
