/** Figures of values in the plane: lines with bands and names at their ends, and points with their Pareto front. */
import { horizontalAxis, linearScale, logScale, spreadLabels, tickFormat, verticalAxis } from "./axes.js";
import { FIGURE_WIDTH, area, makeFigure, marker, number, polyline, seriesGroup, shorten, textAt } from "./svg.js";
import type { Figure, SeriesStyle } from "./svg.js";

interface Heading {
  readonly name: string;
  readonly title: string;
  readonly description: string;
}

export interface AxisChoice {
  readonly title: string;
  /** How values are shown beside points. */
  readonly format: (value: number) => string;
  /** Absent: plain decimals. */
  readonly tickFormat?: (value: number) => string;
  readonly isLogarithmic?: boolean;
}

export interface Axes {
  readonly x: AxisChoice;
  readonly y: AxisChoice;
}

export interface LinePoint {
  readonly x: number;
  readonly y: number;
  /** Ends of the band. */
  readonly low?: number;
  readonly high?: number;
}

export interface Line extends SeriesStyle {
  readonly label: string;
  readonly points: readonly LinePoint[];
}

const LEFT = 42;
const TOP = 26;
const PLOT_HEIGHT = 210;
const LABEL_ROOM = 136;
/** Longer names are cut; their tooltips have all of it. */
const LABEL_LENGTH = 16;
const LABEL_GAP = 13;
/** More lines from places to names would hide what is drawn; colours and shapes say it then. */
const LEADERS_MAX = 14;

/** All names fit below each other. */
function plotHeight(numNames: number): number {
  return Math.max(PLOT_HEIGHT, numNames * LABEL_GAP);
}

/** Lines from left to right, each named at its end. */
export function lineChart(heading: Heading, lines: readonly Line[], axes: Axes): Figure {
  const [right, bottom] = [FIGURE_WIDTH - LABEL_ROOM, TOP + plotHeight(lines.length)];
  const all = lines.flatMap(({ points }) => points);
  const x = linearScale(all.map((point) => point.x), { from: LEFT, to: right }, 4);
  const heights = all.flatMap(({ y, low = y, high = y }) => [y, low, high]);
  const y = (axes.y.isLogarithmic === true ? logScale : linearScale)(heights, { from: bottom, to: TOP });
  const ends = lines.map(({ points }) => y.at(points.at(-1)?.y ?? 0));
  const labels = spreadLabels(ends, LABEL_GAP, { from: TOP + 4, to: bottom + 4 });
  const drawn = lines.map((line, index) => seriesGroup(line.label, drawLine(line, axes, { x: x.at, y: y.at }) + drawLabel(line, [x.at(line.points.at(-1)?.x ?? 0), ends[index] ?? 0], labels[index] ?? 0, lines.length)));
  const grid = verticalAxis(y, { left: LEFT, right, top: TOP }, axes.y.title, axes.y.tickFormat ?? tickFormat(y)) + horizontalAxis(x, { top: TOP, bottom, right }, axes.x.title, axes.x.tickFormat ?? tickFormat(x));
  return makeFigure(heading.name, heading.title, heading.description, bottom + 38, grid + drawn.join(""));
}

interface Places {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
}

function drawLine(line: Line, axes: Axes, at: Places): string {
  const { points } = line;
  const place = ({ x, y }: LinePoint) => [at.x(x), at.y(y)] as const;
  const banded = points.filter(({ low, high }) => low !== undefined && high !== undefined);
  const band = banded.length < 2 ? "" : area([...banded.map(({ x, y, high = y }) => [at.x(x), at.y(high)] as const), ...[...banded].reverse().map(({ x, y, low = y }) => [at.x(x), at.y(low)] as const)], line);
  const tip = ({ x, y, low, high }: LinePoint) =>
    `${line.label}, ${axes.x.title} ${axes.x.format(x)}: ${axes.y.format(y)}${low === undefined || high === undefined || low === high ? "" : ` (${axes.y.format(low)} to ${axes.y.format(high)})`}`;
  return band + polyline(points.map(place), line) + points.map((point) => marker(...place(point), line, tip(point), 3)).join("");
}

function drawLabel({ label, colour, dash }: Line, [endX, endY]: readonly [number, number], labelY: number, numLabels: number): string {
  const start = FIGURE_WIDTH - LABEL_ROOM + 12;
  const leader = numLabels > LEADERS_MAX ? "" : drawLeader([endX + 4, endY], [start - 2, labelY]);
  const sample = polyline([[start, labelY], [start + 14, labelY]], { colour, dash });
  return leader + sample + textAt(start + 18, labelY + 4, shorten(label, LABEL_LENGTH), { small: true });
}

export interface PlacedPoint extends SeriesStyle {
  readonly label: string;
  readonly x: number;
  readonly y: number;
  readonly lowX?: number;
  readonly highX?: number;
  readonly lowY?: number;
  readonly highY?: number;
  /** On the Pareto front: no other point is at least as good in both directions. */
  readonly isFront: boolean;
}

/** Points with their intervals as crosses, named at the right; those of the front are ringed and joined by a line. */
export function tradeOffChart(heading: Heading, points: readonly PlacedPoint[], axes: Axes): Figure {
  const [right, bottom] = [FIGURE_WIDTH - LABEL_ROOM, TOP + plotHeight(points.length)];
  const across = points.flatMap(({ x, lowX = x, highX = x }) => [x, lowX, highX]);
  const x = axes.x.isLogarithmic === true ? logScale(across, { from: LEFT + 8, to: right - 8 }) : linearScale(across, { from: LEFT + 8, to: right - 8 }, 3);
  const y = linearScale(points.flatMap(({ y: value, lowY = value, highY = value }) => [value, lowY, highY]), { from: bottom, to: TOP });
  const front = points.filter(({ isFront }) => isFront).sort((one, other) => one.x - other.x);
  const path = front.map((point, index) => `${index === 0 ? "M" : "L"}${number(x.at(point.x))} ${number(y.at(point.y))}`).join("");
  const heights = points.map((point) => y.at(point.y));
  const labels = spreadLabels(heights, LABEL_GAP, { from: TOP + 4, to: bottom + 4 });
  const drawn = points.map((point, index) => seriesGroup(point.label, drawName(point, [x.at(point.x), heights[index] ?? 0], labels[index] ?? 0, points.length) + drawPoint(point, axes, { x: x.at, y: y.at })));
  const grid = verticalAxis(y, { left: LEFT, right, top: TOP }, axes.y.title, axes.y.tickFormat ?? tickFormat(y)) + horizontalAxis(x, { top: TOP, bottom, right }, axes.x.title, axes.x.tickFormat ?? tickFormat(x));
  return makeFigure(heading.name, heading.title, heading.description, bottom + 38, `${grid}<path class="axis" stroke-dasharray="3 3" d="${path}"/>${drawn.join("")}`);
}

function drawName(point: PlacedPoint, place: readonly [number, number], labelY: number, numNames: number): string {
  const start = FIGURE_WIDTH - LABEL_ROOM + 16;
  return (numNames > LEADERS_MAX ? "" : drawLeader(place, [start - 8, labelY])) + marker(start, labelY, point, point.label, 4) + textAt(start + 9, labelY + 4, shorten(point.label, LABEL_LENGTH), { small: true });
}

/** From a place to its name; faint, as it is no value. */
function drawLeader([fromX, fromY]: readonly [number, number], [toX, toY]: readonly [number, number]): string {
  return `<path class="grid" d="M${number(fromX)} ${number(fromY)}L${number(toX)} ${number(toY)}"/>`;
}

function drawPoint(point: PlacedPoint, axes: Axes, at: Places): string {
  const { label, x, y, lowX, highX, lowY, highY, isFront } = point;
  const [placeX, placeY] = [at.x(x), at.y(y)];
  const vertical = lowY === undefined || highY === undefined ? "" : polyline([[placeX, at.y(lowY)], [placeX, at.y(highY)]], { colour: point.colour, dash: 0 }, 1);
  const horizontal = lowX === undefined || highX === undefined ? "" : polyline([[at.x(lowX), placeY], [at.x(highX), placeY]], { colour: point.colour, dash: 0 }, 1);
  const ring = isFront ? `<circle class="ring" cx="${number(placeX)}" cy="${number(placeY)}" r="8"/>` : "";
  const tip = `${label}: ${axes.y.title} ${axes.y.format(y)}, ${axes.x.title} ${axes.x.format(x)}${isFront ? ", on the front" : ""}`;
  return vertical + horizontal + ring + marker(placeX, placeY, point, tip, 5);
}
