/** Tables of what was measured beside a run: benchmarks, and privacy. */
import { formatEpsilon } from "../../privacy/claim.js";
import { estimate, plain, scaled, text, whole } from "./columns.js";
import type { StudyTable } from "./columns.js";
import { formatPValue, signed } from "./numbers.js";
import type { Study } from "./study.js";

export function evaluationTables(study: Study): StudyTable[] {
  return [benchmarkTable(study), benchmarkComparisonTable(study), privacyTable(study)];
}

const shown = (value: number): string => value.toFixed(3);

function benchmarkTable({ benchmarks }: Study): StudyTable {
  return {
    name: "benchmarks",
    title: "Scores of questions, by arm",
    notes: ["With several seeds the 95 % interval is over seeds (Student's t), with one seed over items (bootstrap). Results that are not complete are left out."],
    columns: [text("metric"), text("measure"), text("arm"), text("judge"), whole("num_items", "items"), estimate("value", "value", shown), text("interval_over", "interval over")],
    rows: benchmarks.map(({ metric, measure, arm, judge, numItems, value, over, displayFactor }) => [metric, measure, arm, judge ?? null, numItems, scaled(value, displayFactor), over]),
  };
}

function benchmarkComparisonTable({ benchmarkComparisons }: Study): StudyTable {
  return {
    name: "benchmark-comparisons",
    title: "Benchmarks, item by item against the unquantized model",
    notes: [
      "Difference: first minus second over the items that both have, in one run, with its 95 % interval (paired bootstrap); p: test over the signs of the items' differences, corrected by Holm over the measures of the pair. It says what these two adapters do, not what other seeds would.",
    ],
    columns: [
      text("metric"),
      text("measure"),
      text("first"),
      text("second"),
      text("run"),
      whole("num_items", "items"),
      { ...estimate("difference", "difference", signed(shown)), formatHalf: shown },
      whole("wins", "better on"),
      whole("losses", "worse on"),
      plain("p_value", "p", formatPValue),
      plain("p_value_holm", "p (Holm)", formatPValue),
    ],
    rows: benchmarkComparisons.map((line) => [
      line.metric,
      line.measure,
      line.first,
      line.second,
      line.run,
      line.difference.count,
      scaled(line.difference, line.displayFactor),
      line.wins,
      line.losses,
      line.pValue,
      line.adjustedPValue,
    ]),
  };
}

function privacyTable({ privacy }: Study): StudyTable {
  return {
    name: "privacy",
    title: "Differential privacy of whole clients",
    notes: ["Epsilon of all results that the costliest training released, rounded up; trainings with other seeds on the same data add up. `privacy report` on a run says what is claimed and what is not."],
    columns: [text("arm"), plain("epsilon", "epsilon spent", formatEpsilon), plain("delta", "delta", (value) => value.toPrecision(3)), plain("budget", "budget", formatEpsilon), whole("num_releases", "results released"), text("guarantee")],
    rows: privacy.map(({ arm, epsilon, delta, budget, numReleases, isInsecure }) => [arm, epsilon ?? null, delta, budget ?? null, numReleases, isInsecure ? "none: noise from a seed" : epsilon === undefined ? "none: no bound" : "as far as epsilon says"]),
  };
}
