/** Tables of what only some studies have: transfer between precisions, predictions and what happened. */
import { formatBytes, formatCount, formatDuration } from "../format.js";
import { estimate, plain, scaled, text, whole } from "./columns.js";
import type { StudyTable } from "./columns.js";
import { describeMetric } from "./metrics.js";
import { formatJoules, signed } from "./numbers.js";
import { estimateMean } from "./statistics.js";
import type { Study } from "./study.js";

/** The matrix, and its differences; empty where no adapter was judged on another precision. */
export function transferTables({ transfer, arms }: Study): StudyTable[] {
  if (transfer === undefined) return [];
  const { metric, precisions, lines, averages } = transfer;
  const { title, displayFactor, digits } = describeMetric(metric);
  const format = (value: number) => (value * displayFactor).toFixed(digits);
  const judged = arms.filter(({ arm }) => lines.some((line) => line.arm === arm));
  const columnOf = (key: string, name: string) => ({ ...estimate(key, name, signed((value) => value.toFixed(digits))), formatHalf: (value: number) => value.toFixed(digits) });
  return [
    {
      name: "transfer",
      title: `Transfer: ${title} of each arm's adapter on the base model in each precision`,
      notes: ["Rows are the precisions that adapters were trained on, columns those they were used on. Means over seeds."],
      columns: [text("arm", "adapter of arm"), ...precisions.map((precision) => estimate(`on_${precision.toLowerCase()}`, `on ${precision}`, format))],
      rows: judged.map(({ arm }) => [arm, ...precisions.map((precision) => lines.find((line) => line.arm === arm && line.precision === precision)?.value ?? null)]),
    },
    {
      name: "transfer-average",
      title: `Transfer: what the change of the base model costs in ${title}, averaged over federated strategies`,
      notes: ["Minus own: against the same adapters on the precision they were trained on. Minus trained there: against the adapters that were trained on the precision these are used on. Averaged for each seed, then over seeds with 95 % intervals."],
      columns: [text("trained_on", "trained on"), text("used_on", "used on"), whole("num_arms", "arms"), columnOf("minus_own", "minus own"), columnOf("minus_trained_there", "minus trained there")],
      rows: averages.map(({ trainedOn, usedOn, numArms, minusOwn, minusTrainedThere }) => [trainedOn, usedOn, numArms, scaled(minusOwn, displayFactor), minusTrainedThere === undefined ? null : scaled(minusTrainedThere, displayFactor)]),
    },
    {
      name: "transfer-differences",
      title: `Transfer: what the change of the base model costs in ${title}`,
      notes: ["Minus own: against the same adapter on the precision it was trained on. Minus trained there: against the arm that was trained on the precision it is used on. Paired by seed."],
      isLong: true,
      columns: [text("arm", "adapter of arm"), text("precision", "used on"), estimate("value", title, format), columnOf("minus_own", "minus own"), columnOf("minus_trained_there", "minus trained there")],
      rows: lines
        .filter(({ minusOwn }) => minusOwn !== undefined)
        .map(({ arm, precision, value, minusOwn, minusTrainedThere }) => [arm, precision, value, ...[minusOwn, minusTrainedThere].map((line) => (line === undefined ? null : scaled(line, displayFactor)))]),
    },
  ];
}

const QUANTITIES: Readonly<Record<string, { readonly title: string; readonly format: (value: number) => string }>> = {
  tokens: { title: "tokens", format: (value) => formatCount(Math.round(value)) },
  upload_bytes: { title: "sent up", format: formatBytes },
  download_bytes: { title: "sent down", format: formatBytes },
  peak_memory_bytes: { title: "peak memory", format: formatBytes },
  duration_ms: { title: "time", format: formatDuration },
  energy_joules: { title: "energy", format: formatJoules },
};

/** How good predictions were by quantity, and every one of them; empty without a plan. */
export function predictionTables({ predictions }: Study): StudyTable[] {
  const quantities = [...new Set(predictions.map(({ quantity }) => quantity))];
  const titleOf = (quantity: string) => QUANTITIES[quantity]?.title ?? quantity;
  const shown = (quantity: string, value: number | undefined) => (value === undefined ? null : (QUANTITIES[quantity]?.format ?? String)(value));
  const ratio = (key: string, title: string) => plain(key, title, (value) => value.toFixed(2));
  return [
    {
      name: "predicted",
      title: "Predicted and happened",
      notes: ["Happened by predicted, over arms. Within: trainings that ended within the predicted range."],
      columns: [text("quantity"), text("predicted", "predicted, all arms"), text("happened", "happened, all arms"), ratio("ratio", "ratio"), ratio("ratio_min", "least"), ratio("ratio_max", "greatest"), text("within")],
      rows: quantities.flatMap((quantity) => {
        const mine = predictions.filter((line) => line.quantity === quantity && line.happened !== undefined);
        const ratios = estimateMean(mine.flatMap((line) => line.ratio?.mean ?? []));
        if (ratios === undefined) return [];
        // Peaks of arms are not at the same time.
        const total = (valueOf: (line: (typeof mine)[number]) => number, timesOf: (line: (typeof mine)[number]) => number) =>
          quantity === "peak_memory_bytes" ? Math.max(...mine.map(valueOf)) : mine.reduce((sum, line) => sum + valueOf(line) * timesOf(line), 0);
        const within = mine.reduce((sum, { numWithin }) => sum + numWithin, 0);
        const ranged = mine.reduce((sum, { numRanged }) => sum + numRanged, 0);
        const predicted = shown(quantity, total((line) => line.predicted.mean, (line) => line.predicted.count));
        const happened = shown(quantity, total((line) => line.happened?.mean ?? 0, (line) => line.numMeasured));
        return [[titleOf(quantity), predicted, happened, ratios.mean, ratios.min, ratios.max, ranged === 0 ? "" : `${String(within)} of ${String(ranged)}`]];
      }),
    },
    {
      name: "predictions",
      title: "Predicted and happened, arm by arm",
      notes: ["In the units that the quantities are called by; means over trainings."],
      isLong: true,
      columns: [text("arm"), text("quantity"), estimate("predicted", "predicted", String), estimate("happened", "happened", String), ratio("ratio", "ratio"), whole("num_within", "within"), whole("num_ranged", "with a range"), whole("num_measured", "measured")],
      rows: predictions.map(({ arm, quantity, predicted, happened, ratio: found, numWithin, numRanged, numMeasured }) => [arm, quantity, predicted, happened ?? null, found?.mean ?? null, numWithin, numRanged, numMeasured]),
    },
  ];
}
