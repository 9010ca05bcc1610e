/**
 * The tables of a study: columns and rows of raw values, from which every form is rendered (render-table.ts). A cell is a text, a number
 * or an estimate; null is what was not measured. One function per table; tables without rows are left out.
 */
import { formatBytes, formatCount, formatDuration } from "../format.js";
import { evaluationTables } from "./evaluation-tables.js";
import { formatJoules, formatPValue, formatValue, signed } from "./numbers.js";
import { estimate, plain, scaled, text, whole } from "./columns.js";
import type { Cell, StudyColumn, StudyTable } from "./columns.js";
import type { Estimate } from "./statistics.js";
import { predictionTables, transferTables } from "./further-tables.js";
import type { Study, StudyMetric } from "./study.js";

/** All tables that have something to show, in the order of reading. */
export function tablesOf(study: Study): StudyTable[] {
  return [qualityTable(study), comparisonTable(study), mainEffectTable(study), costTable(study), targetTable(study), fairnessTable(study), ...transferTables(study), ...evaluationTables(study), ...predictionTables(study), runTable(study), clientTable(study), curveTable(study)].filter(({ rows }) => rows.length > 0);
}

const ofMetric = (metric: StudyMetric, prefix = ""): StudyColumn => estimate(`${prefix}${metric.metric}`, metric.title, (value) => (value * metric.displayFactor).toFixed(metric.digits));

function qualityTable({ arms, metrics, quality }: Study): StudyTable {
  const lineOf = (arm: string, metric: string) => quality.find((line) => line.arm === arm && line.metric === metric);
  const precisions = [...new Set(arms.map(({ precision }) => precision))];
  const rows = precisions.flatMap((precision) => {
    const mine = arms.filter((arm) => arm.precision === precision && quality.some((line) => line.arm === arm.arm));
    const base = mine.find(({ arm }) => quality.some((line) => line.arm === arm && line.before !== undefined));
    const before: Cell[][] = base === undefined ? [] : [["before training", precision, "", null, ...metrics.map(({ metric }) => pointOf(lineOf(base.arm, metric)?.before))]];
    return [...before, ...mine.map((arm) => [arm.arm, precision, arm.strategy, numSeeds(arm.cells), ...metrics.map(({ metric }) => lineOf(arm.arm, metric)?.value ?? null)])];
  });
  return {
    name: "quality",
    title: "Quality on the overall held-out data",
    notes: ["Means over seeds with their 95 % intervals (Student's t); with one seed there is none."],
    columns: [text("arm"), text("precision"), text("strategy"), whole("num_seeds", "seeds"), ...metrics.map((metric) => ofMetric(metric))],
    rows,
  };
}

function numSeeds(cells: readonly { readonly seed: number }[]): number {
  return new Set(cells.map(({ seed }) => seed)).size;
}

function pointOf(value: number | undefined): Estimate | null {
  return value === undefined ? null : { count: 1, mean: value, min: value, max: value };
}

function comparisonTable({ comparisons, metrics }: Study): StudyTable {
  const rows = comparisons.flatMap((line) => {
    const metric = metrics.find((candidate) => candidate.metric === line.metric);
    if (metric === undefined) return [];
    const { difference, pValue = null, adjustedPValue = null, permutationPValue = null, effectSize = null } = line;
    return [[metric.title, line.first, line.second, difference.count, scaled(difference, metric.displayFactor), effectSize, pValue, adjustedPValue, permutationPValue, verdictOf(line, metric)]];
  });
  return {
    name: "comparisons",
    title: "Paired comparisons on shared seeds and data",
    notes: [
      "Difference: first minus second, mean over shared seeds with its 95 % interval; percentages in points.",
      "p: paired t test (Student 1908), two-sided, at least 3 seeds. Holm: corrected for all tests of the metric (Holm 1979). signs: exact test over the signs of the differences (Fisher 1935), which with n seeds cannot be below 2 / 2^n.",
      "Effect: mean difference by the standard deviation of the differences, with the correction of Hedges (1981).",
    ],
    columns: [
      text("metric"),
      text("first"),
      text("second"),
      whole("num_pairs", "seeds"),
      ...testColumns(),
    ],
    rows,
  };
}

/** A difference and what tests say of it. */
function testColumns(): StudyColumn[] {
  return [
    { ...estimate("difference", "difference", signed((value) => value.toFixed(4))), formatHalf: (value) => value.toFixed(4) },
    plain("effect_size", "effect", (value) => value.toFixed(2)),
    plain("p_value", "p", formatPValue),
    plain("p_value_holm", "p (Holm)", formatPValue),
    plain("p_value_signs", "p (signs)", formatPValue),
    text("verdict"),
  ];
}

function mainEffectTable({ mainEffects, metrics }: Study): StudyTable {
  const rows = mainEffects.flatMap((line) => {
    const metric = metrics.find((candidate) => candidate.metric === line.metric);
    if (metric === undefined) return [];
    const { factor, level, reference, numPairs, difference, pValue = null, adjustedPValue = null, permutationPValue = null, effectSize = null } = line;
    return [[metric.title, factor, level, reference, numPairs, difference.count, scaled(difference, metric.displayFactor), effectSize, pValue, adjustedPValue, permutationPValue, verdictOf(line, metric)]];
  });
  return {
    name: "main-effects",
    title: "Averaged over strategies, and over precisions",
    notes: [
      "Differences of pairs of arms are averaged for each seed, and the averages tested over seeds as above; Holm over the rows of a factor and metric. Precisions are averaged over federated strategies (not local or centralized ones).",
    ],
    columns: [text("metric"), text("factor"), text("level"), text("reference", "against"), whole("num_arms", "arms"), whole("num_pairs", "seeds"), ...testColumns()],
    rows,
  };
}

function verdictOf({ refused, adjustedPValue, difference }: Pick<Study["comparisons"][number], "refused" | "adjustedPValue" | "difference">, { higherIsBetter }: StudyMetric): string {
  if (refused !== undefined) return `no test: ${refused}`;
  if (adjustedPValue === undefined || adjustedPValue >= 0.05) return "not told apart";
  if (higherIsBetter === undefined) return "different";
  return difference.mean > 0 === higherIsBetter ? "better" : "worse";
}

function costTable({ costs }: Study): StudyTable {
  const columns: readonly [StudyColumn, (line: Study["costs"][number]) => Cell][] = [
    [text("arm"), ({ arm }) => arm],
    [plain("weight_bytes", "weights", formatBytes), (line) => line.weightBytes],
    [estimate("peak_memory_bytes", "peak memory", formatBytes), (line) => line.peakMemoryBytes ?? null],
    [estimate("planned_peak_bytes", "planned peak", formatBytes), (line) => line.plannedPeakBytes ?? null],
    [estimate("upload_bytes_per_client", "sent per client and round", formatBytes), (line) => line.uploadBytesPerClient ?? null],
    [estimate("traffic_bytes", "traffic in all", formatBytes), (line) => line.trafficBytes],
    [estimate("tokens_per_second", "tokens/s", formatCount), (line) => line.tokensPerSecond ?? null],
    [estimate("duration_ms", "time", formatDuration), (line) => line.durationMs],
    [estimate("simulated_ms", "simulated time", formatDuration), (line) => line.simulatedMs ?? null],
    [estimate("cpu_energy_joules", "energy, processor", formatJoules), (line) => line.cpuEnergyJoules ?? null],
    [estimate("gpu_energy_joules", "energy, cards", formatJoules), (line) => line.gpuEnergyJoules ?? null],
    [estimate("aggregation_error", "aggregation error", (value) => value.toExponential(1)), (line) => line.aggregationError ?? null],
    [whole("num_failures", "failures"), (line) => line.numFailures],
  ];
  // Columns that nobody measured would only take room.
  const measured = columns.filter(([{ key }, valueOf]) => costs.some((line) => valueOf(line) !== null && !(key === "num_failures" && valueOf(line) === 0)));
  return {
    name: "costs",
    title: "What it costs",
    notes: [
      measured.some(([{ key }]) => key === "peak_memory_bytes")
        ? "Peak memory is that of the process, mapped weights included; planned is what was predicted for it."
        : "Peaks of memory are left out: the process had several arms at once, or the system cannot tell arms apart.",
      "Traffic is of all clients and rounds, both ways. Time is on the wall clock, without evaluations.",
      ...(measured.some(([{ key }]) => key.endsWith("joules")) ? ["Energy is of the whole machine while rounds and their evaluations ran, other programs included."] : ["This system does not tell its energy."]),
    ],
    columns: measured.map(([column]) => column),
    rows: costs.map((line) => measured.map(([, valueOf]) => valueOf(line))),
  };
}

function targetTable({ target, metrics }: Study): StudyTable {
  const metric = metrics.find((candidate) => candidate.metric === target?.metric);
  const lines = target?.lines ?? [];
  const shown = target === undefined || metric === undefined ? "" : `${metric.title.replace(", %", "")} of ${formatValue(target.value, metric)}`;
  const hasClock = lines.some(({ simulatedMs }) => simulatedMs !== undefined);
  return {
    name: "target",
    title: `What it took to reach a ${shown}`,
    notes: [target?.origin === "given" ? "The value was given." : "It is the best value that every training reached at some time.", "Means over the seeds that reached it, at the first evaluated round that did."],
    columns: [
      text("arm"),
      text("reached", "seeds that reached it"),
      estimate("rounds", "rounds", (value) => value.toFixed(1)),
      estimate("bytes", "traffic", formatBytes),
      estimate("duration_ms", "time", formatDuration),
      ...(hasClock ? [estimate("simulated_ms", "simulated time", formatDuration)] : []),
    ],
    rows: lines.map((line) => [line.arm, `${String(line.numReached)} of ${String(line.numCells)}`, line.rounds ?? null, line.bytes ?? null, line.durationMs ?? null, ...(hasClock ? [line.simulatedMs ?? null] : [])]),
  };
}

function fairnessTable({ fairness, metrics }: Study): StudyTable {
  const main = metrics.find(({ metric }) => fairness.some((line) => line.metric === metric));
  const mine = fairness.filter(({ metric }) => metric === main?.metric);
  const format = (value: number) => (value * (main?.displayFactor ?? 1)).toFixed(main?.digits ?? 4);
  return {
    name: "fairness",
    title: `Fairness over clients: ${main?.title ?? ""} on each client's own held-out data`,
    notes: ["Worst tenth: mean over the tenth of the clients that is worst off. Spread: standard deviation over clients. Improved: clients that are better off than before training. Means over seeds."],
    columns: [
      text("arm"),
      whole("num_clients", "clients"),
      estimate("mean", "mean", format),
      estimate("worst_tenth", "worst tenth", format),
      estimate("spread", "spread", format),
      estimate("improved", "improved, %", (value) => (100 * value).toFixed(1)),
    ],
    rows: mine.map((line) => [line.arm, line.numClients, line.mean, line.worst, line.spread, line.improved ?? null]),
  };
}

function runTable({ runs }: Study): StudyTable {
  return {
    name: "runs",
    title: "Runs and where they ran",
    notes: [],
    columns: [text("run"), text("state"), whole("seed"), text("started_at", "started"), text("progress"), text("machine"), text("version")],
    rows: runs.map(({ folderName, state, seed, record, arms }) => {
      const [done, all] = [arms.reduce((sum, arm) => sum + arm.lastRound, 0), arms.reduce((sum, arm) => sum + arm.numRounds, 0)];
      const { machine, versions } = record;
      return [folderName, state, seed, record.startedAt, `${String(done)}/${String(all)} rounds`, `${machine.cpu}, ${machine.device}`, versions.fedllmNative];
    }),
  };
}

function clientTable({ clients, metrics }: Study): StudyTable {
  const used = metrics.filter(({ metric }) => clients.some(({ values }) => values.some((value) => value.metric === metric)));
  const shown = (metric: StudyMetric) => (value: number) => (value * metric.displayFactor).toFixed(metric.digits);
  return {
    name: "clients",
    title: "Clients",
    notes: ["On each client's own held-out data, means over seeds."],
    isLong: true,
    columns: [
      text("arm"),
      text("client"),
      text("group"),
      whole("num_examples", "samples"),
      whole("num_rounds", "rounds"),
      whole("num_failures", "failures"),
      whole("num_tokens", "tokens"),
      plain("upload_bytes", "sent", formatBytes),
      plain("train_loss", "train loss", (value) => value.toFixed(4)),
      ...used.flatMap((metric) => [plain(`${metric.metric}_before`, `${metric.title} before`, shown(metric)), plain(metric.metric, metric.title, shown(metric))]),
    ],
    rows: clients.map((line) => [
      line.arm,
      line.clientId,
      line.group ?? null,
      line.numExamples ?? null,
      line.numRounds,
      line.numFailures,
      line.numTokens,
      line.uploadBytes,
      line.trainLoss ?? null,
      ...used.flatMap(({ metric }) => {
        const found = line.values.find((value) => value.metric === metric);
        return [found?.before ?? null, found?.value ?? null];
      }),
    ]),
  };
}

function curveTable({ curves, runs }: Study): StudyTable {
  const raw = (key: string) => plain(key, key.replaceAll("_", " "), String);
  return {
    name: "curves",
    title: "Values along the way",
    notes: ["Bytes and times are sums up to and with the round."],
    isLong: true,
    columns: [text("arm"), text("run"), whole("seed"), text("metric"), whole("round"), raw("value"), raw("bytes"), raw("duration_ms"), raw("simulated_ms")],
    rows: curves.flatMap(({ arm, run, seed, metric, points }) =>
      points.map((point) => [arm, runs[run]?.folderName ?? "", seed, metric, point.round, point.value, point.bytes, point.durationMs, point.simulatedMs ?? null]),
    ),
  };
}
