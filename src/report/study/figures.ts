/** The figures of a study, each drawn from the study alone. A figure with nothing to show is left out. */
import { lineChart, tradeOffChart } from "../../figures/curves.js";
import type { AxisChoice, Line, PlacedPoint } from "../../figures/curves.js";
import { changeChart, shadeChart, stripChart } from "../../figures/rows.js";
import type { ShadeCell } from "../../figures/rows.js";
import type { Figure, SeriesStyle } from "../../figures/svg.js";
import { DEFAULT_STRATEGY } from "../../federated/strategies/registry.js";
import { formatBytes, formatDuration } from "../format.js";
import { formatValue, signed } from "./numbers.js";
import type { AnswerLine, CurvePoint, Study, StudyArm, StudyMetric } from "./study.js";

/** In the order of reading; the first goes with the answer. */
export function drawStudy(study: Study): Figure[] {
  const main = study.metrics[0];
  if (main === undefined) return [];
  const styles = stylesOf(study.arms);
  const parts = { study, main, styleOf: (arm: string) => styles.get(arm) ?? { colour: 7, dash: 0 } };
  return [...drawAnswer(parts), ...drawTradeOff(parts), ...drawCurves(parts), ...drawHeatMap(parts), ...drawClients(parts), ...drawClientMap(parts)];
}

interface Parts {
  readonly study: Study;
  readonly main: StudyMetric;
  readonly styleOf: (arm: string) => SeriesStyle;
}

/** Dashes that can be told apart. */
const DASHES_MAX = 4;

/** Colours by precision and dashes by strategy where that tells all arms apart, otherwise colours by arm. */
export function stylesOf(arms: readonly StudyArm[]): Map<string, SeriesStyle> {
  const precisions = [...new Set(arms.map(({ precision }) => precision))];
  // Full lines are those of the strategy that studies are mostly about.
  const strategies = [...new Set(arms.map(({ strategy }) => strategy))].sort((left, right) => Number(right === DEFAULT_STRATEGY) - Number(left === DEFAULT_STRATEGY));
  const isGrid = precisions.length > 1 && strategies.length <= DASHES_MAX && new Set(arms.map(({ precision, strategy }) => `${precision} ${strategy}`)).size === arms.length;
  return new Map(
    arms.map(({ arm, precision, strategy }, index) => [arm, isGrid ? { colour: precisions.indexOf(precision), dash: strategies.indexOf(strategy) } : { colour: index % 7, dash: Math.floor(index / 7) }]),
  );
}

function drawAnswer({ study, main, styleOf }: Parts): Figure[] {
  const lines = answerRows(study, main);
  if (lines.length === 0) return [];
  const format = signed((value) => formatValue(value, main));
  const isAveraged = lines.some(({ isAverage }) => isAverage);
  const against = isAveraged ? "the unquantized model, averaged over federated strategies" : "the unquantized model of the same strategy";
  const description = `Left: ${main.title} against ${against}, mean and 95 % interval over seeds. Right: memory as a part of that model's. ${lines
    .map(({ label, change, weights }) => `${label}: ${format(change.mean)}, weights ${(100 * weights).toFixed(0)} %`)
    .join("; ")}.`;
  const rows = lines.map(({ arm, label, change, weights, peakMemory }) => ({
    label,
    ...styleOf(arm),
    change,
    parts: [{ title: "weights", part: weights }, ...(peakMemory === undefined ? [] : [{ title: "peak", part: peakMemory }])],
  }));
  const better = main.higherIsBetter === undefined ? "" : main.higherIsBetter ? " (right is better)" : " (left is better)";
  const texts = { changeTitle: `change${better}`, formatChange: format, partTitle: "memory (dashed: 100 %)" };
  return [changeChart({ name: "answer", title: "What quantizing the base loses and saves", description }, rows, texts)];
}

/** A row per precision where strategies were averaged, else per arm. */
function answerRows({ answer: { lines }, mainEffects, arms }: Study, main: StudyMetric): (AnswerLine & { readonly label: string; readonly isAverage: boolean })[] {
  const precisionOf = (name: string) => arms.find(({ arm }) => arm === name)?.precision;
  const averages = mainEffects.flatMap(({ metric, factor, level, reference, difference }) => {
    if (metric !== main.metric || factor !== "precision") return [];
    const mine = lines.filter((line) => precisionOf(line.arm) === level && precisionOf(line.reference) === reference);
    const line = mine.find(({ arm }) => arms.some((one) => one.arm === arm && one.strategy === DEFAULT_STRATEGY)) ?? mine[0];
    return line === undefined ? [] : [{ ...line, label: level, change: difference, isAverage: true }];
  });
  return averages.length > 0 ? averages : lines.map((line) => ({ ...line, label: line.arm, isAverage: false }));
}

function drawTradeOff({ study, main, styleOf }: Parts): Figure[] {
  const usesPeak = study.costs.every(({ peakMemoryBytes }) => peakMemoryBytes !== undefined);
  const found = study.quality.flatMap(({ arm, metric, value }) => {
    const cost = study.costs.find((line) => line.arm === arm);
    if (metric !== main.metric || cost === undefined) return [];
    const memory = usesPeak ? cost.peakMemoryBytes : undefined;
    return [{ arm, value, x: memory?.mean ?? cost.weightBytes, memory }];
  });
  if (found.length < 2) return [];
  const better = (left: number, right: number) => (main.higherIsBetter === true ? left >= right : left <= right);
  const isFront = (point: (typeof found)[number]) =>
    !found.some((other) => other !== point && other.x <= point.x && better(other.value.mean, point.value.mean) && (other.x < point.x || other.value.mean !== point.value.mean));
  const points = found.map((point): PlacedPoint => {
    const { low, high } = point.value;
    const [lowX, highX] = [point.memory?.low, point.memory?.high];
    return {
      label: point.arm,
      ...styleOf(point.arm),
      x: point.x,
      y: point.value.mean,
      ...(low === undefined || high === undefined ? {} : { lowY: low, highY: high }),
      ...(lowX === undefined || highX === undefined ? {} : { lowX, highX }),
      isFront: main.higherIsBetter !== undefined && isFront(point),
    };
  });
  const memoryTitle = usesPeak ? "peak memory" : "memory of weights";
  const front = points.filter((point) => point.isFront).map(({ label }) => label);
  const description = `${main.title} and ${memoryTitle} of each arm with 95 % intervals over seeds. Ringed: no other arm is at least as good in both (${front.join(", ")}).`;
  return [tradeOffChart({ name: "quality-memory", title: "Quality against memory", description }, points, { x: { title: memoryTitle, format: formatBytes, tickFormat: formatBytes }, y: axisOf(main) })];
}

function axisOf(metric: StudyMetric): AxisChoice {
  const { displayFactor } = metric;
  return { title: metric.title, format: (value) => formatValue(value, metric), ...(displayFactor === 1 ? {} : { tickFormat: (value: number) => (value * displayFactor).toFixed(0) }) };
}

interface CurveAxis {
  readonly name: string;
  readonly title: string;
  readonly xOf: (point: CurvePoint) => number | undefined;
  readonly axis: AxisChoice;
}

const CURVE_AXES: readonly CurveAxis[] = [
  { name: "rounds", title: "over rounds", xOf: ({ round }) => round, axis: { title: "round", format: (value) => value.toFixed(0) } },
  { name: "bytes", title: "over traffic", xOf: ({ bytes }) => bytes, axis: { title: "traffic of all clients, both ways", format: formatBytes, tickFormat: formatBytes } },
  { name: "time", title: "over time", xOf: ({ durationMs }) => durationMs, axis: { title: "time without evaluations", format: formatDuration, tickFormat: formatDuration } },
  { name: "simulated-time", title: "over simulated time", xOf: ({ simulatedMs }) => simulatedMs, axis: { title: "simulated time", format: formatDuration, tickFormat: formatDuration } },
];

function drawCurves({ study, main, styleOf }: Parts): Figure[] {
  return CURVE_AXES.flatMap(({ name, title, xOf, axis }) => {
    const lines = study.arms.flatMap(({ arm }): Line[] => {
      const points = meanCurve(study, arm, main.metric, xOf);
      // A line needs two places; an arm that sends nothing has one.
      return new Set(points.map(({ x }) => x)).size < 2 ? [] : [{ label: arm, ...styleOf(arm), points }];
    });
    if (lines.length === 0) return [];
    const numSeeds = Math.max(...study.arms.map(({ cells }) => cells.length));
    const band = numSeeds > 1 ? ` Lines: means over up to ${String(numSeeds)} seeds; bands: their smallest and largest value.` : "";
    const missing = study.arms.length - lines.length;
    const left = missing === 0 ? "" : ` ${String(missing)} arms that do not move along this axis are left out.`;
    const ends = lines.map(({ label, points }) => `${label} ends at ${formatValue(points.at(-1)?.y ?? 0, main)}`);
    const description = `${main.title} on the overall held-out data ${title}.${band}${left} ${ends.join("; ")}.`;
    return [lineChart({ name: `${main.metric.replaceAll(/[^A-Za-z0-9]+/gu, "-")}-${name}`, title: `${capital(main.title)} ${title}`, description }, lines, { x: axis, y: axisOf(main) })];
  });
}

/** By round the mean over seeds of both coordinates, and the range of the values. */
function meanCurve({ curves }: Study, arm: string, metric: string, xOf: (point: CurvePoint) => number | undefined): Line["points"] {
  const mine = curves.filter((curve) => curve.arm === arm && curve.metric === metric);
  const rounds = [...new Set(mine.flatMap(({ points }) => points.map(({ round }) => round)))].sort((left, right) => left - right);
  return rounds.flatMap((round) => {
    const there = mine.flatMap(({ points }) => points.filter((point) => point.round === round));
    const across = there.map(xOf).filter((x) => x !== undefined);
    // A round that some seeds have not reached would bend the line.
    if (there.length < mine.length || across.length < there.length) return [];
    const values = there.map(({ value }) => value);
    return [{ x: meanOf(across), y: meanOf(values), ...(values.length > 1 ? { low: Math.min(...values), high: Math.max(...values) } : {}) }];
  });
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function drawHeatMap({ study, main }: Parts): Figure[] {
  const precisions = [...new Set(study.arms.map(({ precision }) => precision))];
  const rowOf = ({ arm, precision }: StudyArm) => (arm.toLowerCase().startsWith(`${precision.toLowerCase()}-`) ? arm.slice(precision.length + 1) : arm);
  const rows = [...new Set(study.arms.map(rowOf))];
  const values = rows.map((row) =>
    precisions.map((precision) => {
      const arm = study.arms.find((candidate) => candidate.precision === precision && rowOf(candidate) === row);
      return study.quality.find((line) => line.arm === arm?.arm && line.metric === main.metric)?.value.mean ?? null;
    }),
  );
  const known = values.flat().filter((value) => value !== null);
  if (known.length < 4) return [];
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const cells = values.map((row, i) =>
    row.map((value, j): ShadeCell | null => {
      if (value === null) return null;
      const part = high > low ? (value - low) / (high - low) : 0.5;
      return { shade: main.higherIsBetter === true ? part : 1 - part, text: formatValue(value, main), tooltip: `${rows[i] ?? ""} on ${precisions[j] ?? ""}: ${formatValue(value, main)}` };
    }),
  );
  const description = `${capital(main.title)} by strategy and precision, means over seeds. ${rows.map((row, i) => `${row}: ${precisions.map((precision, j) => `${precision} ${cells[i]?.[j]?.text ?? "not run"}`).join(", ")}`).join("; ")}.`;
  return [shadeChart({ name: "heat-map", title: `${capital(main.title)} by strategy and precision`, description }, { rows, columns: precisions, cells, rowHeight: 34, legend: main.higherIsBetter === undefined ? "darker is lower" : "darker is better" })];
}

/** The metric of which clients have values, the main one first. */
function clientMetric({ study }: Parts): StudyMetric | undefined {
  return study.metrics.find(({ metric }) => study.clients.some(({ values }) => values.some((value) => value.metric === metric)));
}

function drawClients(parts: Parts): Figure[] {
  const metric = clientMetric(parts);
  if (metric === undefined) return [];
  const { study, styleOf } = parts;
  const rows = study.arms.flatMap(({ arm }) => {
    const values = study.clients.flatMap((line) => {
      const value = line.arm === arm ? line.values.find((candidate) => candidate.metric === metric.metric)?.value : undefined;
      return value === undefined ? [] : [{ name: line.clientId, value: value * metric.displayFactor }];
    });
    return values.length < 2 ? [] : [{ label: arm, ...styleOf(arm), values }];
  });
  if (rows.length === 0) return [];
  const counts = rows.map(({ label, values }) => `${label}: ${String(values.length)} clients`).join(", ");
  const description = `A point is a client's ${metric.title} on its own held-out data, mean over seeds; box: the middle half, mark: the median. ${counts}.`;
  return [stripChart({ name: "clients", title: `${capital(metric.title)} of each client`, description }, rows, metric.title, (value) => formatValue(value / metric.displayFactor, metric))];
}

/** Clients in the map: those that gained most and those that gained least. */
const MAP_CLIENTS_MAX = 60;

function drawClientMap(parts: Parts): Figure[] {
  const metric = clientMetric(parts);
  if (metric?.higherIsBetter === undefined) return [];
  const { study } = parts;
  const sign = metric.higherIsBetter ? 1 : -1;
  const gains = new Map<string, Map<string, number>>();
  for (const { arm, clientId, values } of study.clients) {
    const found = values.find((value) => value.metric === metric.metric);
    if (found?.before === undefined) continue;
    const mine = gains.get(clientId) ?? new Map<string, number>();
    gains.set(clientId, mine.set(arm, sign * (found.value - found.before)));
  }
  const arms = study.arms.map(({ arm }) => arm).filter((arm) => [...gains.values()].some((mine) => mine.has(arm)));
  const ordered = [...gains].map(([id, mine]) => ({ id, mine, mean: meanOf([...mine.values()]) })).sort((left, right) => right.mean - left.mean || (left.id < right.id ? -1 : 1));
  if (ordered.length < 2) return [];
  const half = MAP_CLIENTS_MAX / 2;
  const shown = ordered.length <= MAP_CLIENTS_MAX ? ordered : [...ordered.slice(0, half), ...ordered.slice(-half)];
  const most = Math.max(...shown.flatMap(({ mine }) => [...mine.values()].map(Math.abs)), Number.MIN_VALUE);
  const format = signed((value) => formatValue(value, metric));
  const cells = shown.map(({ id, mine }) =>
    arms.map((arm): ShadeCell | null => {
      const gain = mine.get(arm);
      return gain === undefined ? null : { shade: gain / most, tooltip: `${id}, ${arm}: ${gain < 0 ? "loses" : "gains"} ${format(gain).slice(1)}` };
    }),
  );
  const lost = arms.map((arm) => `${arm}: ${String([...gains.values()].filter((mine) => (mine.get(arm) ?? 0) < 0).length)} of ${String([...gains.values()].filter((mine) => mine.has(arm)).length)} lose`);
  const which = shown.length < ordered.length ? `the ${String(half)} clients that gain most and the ${String(half)} that gain least of ${String(ordered.length)}` : `all ${String(shown.length)} clients`;
  const description = `What training changes for ${which}, against the model before training, by ${metric.title} on their own held-out data: blue gains, orange loses; the full shade is ${format(most).slice(1)}. ${lost.join("; ")}.`;
  return [shadeChart({ name: "client-map", title: "Gains and losses by client", description }, { rows: shown.map(({ id }) => id), columns: arms, cells, rowHeight: shown.length > 30 ? 11 : 16, legend: "blue: gains, orange: loses" })];
}
