/** The kinds of figures: bars by name, spreads by name, stacked shares, a matrix of shades, points in the plane. */
import { FIGURE_WIDTH, NUM_COLOURS, box, gridLine, makeFigure, number, shorten, textAt } from "./svg.js";
import type { Figure } from "./svg.js";

interface Heading {
  readonly name: string;
  readonly title: string;
  readonly description: string;
}

const ROW = 20;
const LABEL_WIDTH = 124;
const LABEL_LENGTH = 17;
const VALUE_WIDTH = 90;
const TOP = 8;

/** Horizontal bars in the given order. */
export function barChart(heading: Heading, bars: readonly { readonly label: string; readonly value: number; readonly shown: string }[]): Figure {
  const most = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
  const room = FIGURE_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
  const rows = bars.map(({ label, value, shown }, index) => {
    const y = TOP + index * ROW;
    const width = (room * Math.max(0, value)) / most;
    const area = { x: LABEL_WIDTH, y: y + 3, width, height: ROW - 6 };
    return textAt(LABEL_WIDTH - 6, y + 14, shorten(label, LABEL_LENGTH), { anchor: "end" }) + box(area, 0, `${label}: ${shown}`) + textAt(LABEL_WIDTH + width + 5, y + 14, shown, { small: true });
  });
  return makeFigure(heading.name, heading.title, heading.description, 2 * TOP + bars.length * ROW, rows.join(""));
}

/** Of numbers that are not negative, what a row shows. */
export interface Quartiles {
  readonly min: number;
  readonly quartile1: number;
  readonly median: number;
  readonly quartile3: number;
  readonly max: number;
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact" });

/** A row per label: a thin line over all numbers, a box over the middle half and a mark at the median, by powers of ten with 0 at the left edge. */
export function quartileChart(heading: Heading, rows: readonly { readonly label: string; readonly quartiles: Quartiles }[]): Figure {
  const scale = (value: number) => Math.log10(1 + value);
  const most = scale(Math.max(...rows.map(({ quartiles }) => quartiles.max), 1));
  const room = FIGURE_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
  const at = (value: number) => LABEL_WIDTH + (room * scale(value)) / most;
  const bottom = TOP + rows.length * ROW;
  const ticks = Array.from({ length: 1 + Math.floor(most) }, (_, power) => 10 ** power).filter((tick) => scale(tick) <= most);
  const axis = ticks.map((tick) => gridLine(at(tick), TOP, bottom) + textAt(at(tick), bottom + 14, COMPACT.format(tick), { anchor: "middle", small: true }));
  const drawn = rows.map(({ label, quartiles }, index) => {
    const { min, quartile1, median, quartile3, max } = quartiles;
    const y = TOP + index * ROW;
    const span = (from: number, to: number, height: number, least: number) => ({ x: at(from), y: y + (ROW - height) / 2, width: Math.max(least, at(to) - at(from)), height });
    const shown = median.toFixed(0);
    const tooltip = `${label}: ${[min, quartile1, median, quartile3, max].map((value) => value.toFixed(0)).join(", ")}`;
    const mark = { ...span(median, median, ROW - 4, 3), x: at(median) - 1.5 };
    return (
      textAt(LABEL_WIDTH - 6, y + 14, shorten(label, LABEL_LENGTH), { anchor: "end" }) +
      [box(span(min, max, 2, 1), 0, tooltip), box(span(quartile1, quartile3, ROW - 8, 1), 0, tooltip, 0.5), box(mark, 1, tooltip)].join("") +
      textAt(Math.max(at(max), at(median)) + 5, y + 14, shown, { small: true })
    );
  });
  return makeFigure(heading.name, heading.title, heading.description, bottom + 22, axis.join("") + drawn.join(""));
}

/** A row per label, whole rows of shares; the series are named above with their colours. */
export function shareChart(heading: Heading, series: readonly string[], rows: readonly { readonly label: string; readonly shares: readonly number[] }[]): Figure {
  const legend = drawLegend(series);
  const room = FIGURE_WIDTH - LABEL_WIDTH - TOP;
  const drawn = rows.map(({ label, shares }, index) => {
    const y = legend.height + index * ROW;
    let x = LABEL_WIDTH;
    const parts = shares.map((share, part) => {
      const area = { x, y: y + 3, width: room * share, height: ROW - 6 };
      x += area.width;
      return share === 0 ? "" : box(area, part, `${label}: ${series[part] ?? ""} ${(100 * share).toFixed(1)}%`);
    });
    return textAt(LABEL_WIDTH - 6, y + 14, shorten(label, LABEL_LENGTH), { anchor: "end" }) + parts.join("");
  });
  return makeFigure(heading.name, heading.title, heading.description, legend.height + rows.length * ROW + TOP, legend.svg + drawn.join(""));
}

/** Shades from 0 (nothing) to `most` (full colour), rows and columns with the same labels. */
export function matrixChart(heading: Heading, labels: readonly string[], values: readonly (readonly number[])[], most: number): Figure {
  const cell = (FIGURE_WIDTH - LABEL_WIDTH - TOP) / Math.max(1, labels.length);
  const isNamed = cell >= 11;
  const rows = values.map((row, i) => {
    const y = TOP + i * cell;
    const cells = row.map((value, j) => {
      const area = { x: LABEL_WIDTH + j * cell, y, width: cell, height: cell };
      return box(area, 0, `${labels[i] ?? ""} and ${labels[j] ?? ""}: ${value.toFixed(3)}`, Math.min(1, Math.max(0, value / (most === 0 ? 1 : most))));
    });
    return (isNamed ? textAt(LABEL_WIDTH - 6, y + cell / 2 + 4, shorten(labels[i] ?? "", LABEL_LENGTH), { anchor: "end", small: true }) : "") + cells.join("");
  });
  const size = labels.length * cell;
  const note = textAt(LABEL_WIDTH, TOP + size + 16, `none: 0, full: ${most.toFixed(2)}; columns as the rows`, { small: true });
  return makeFigure(heading.name, heading.title, heading.description, size + TOP + 24, rows.join("") + note);
}

export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  /** Place in the list of series. */
  readonly series: number;
}

/** Points of series that are told apart by colour and, after the colours are used up, by form. */
export function pointChart(heading: Heading, series: readonly string[], points: readonly ChartPoint[]): Figure {
  const legend = drawLegend(series);
  const size = FIGURE_WIDTH - 2 * TOP;
  const scale = (values: readonly number[]) => {
    const [low, high] = values.reduce(([least, most]: readonly [number, number], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
    return (value: number) => (high > low ? (value - low) / (high - low) : 0.5);
  };
  const [across, up] = [scale(points.map(({ x }) => x)), scale(points.map(({ y }) => y))];
  const height = size * 0.7;
  const drawn = points.map(({ x, y, series: index }) => drawPoint(TOP + 6 + across(x) * (size - 12), legend.height + 6 + (1 - up(y)) * (height - 12), index, series[index] ?? ""));
  return makeFigure(heading.name, heading.title, heading.description, legend.height + height + TOP, legend.svg + drawn.join(""));
}

const LEGEND_COLUMNS = 3;

function drawLegend(series: readonly string[]): { readonly svg: string; readonly height: number } {
  const width = (FIGURE_WIDTH - 2 * TOP) / LEGEND_COLUMNS;
  const entries = series.map((name, index) => {
    const [x, y] = [TOP + (index % LEGEND_COLUMNS) * width, TOP + 8 + Math.floor(index / LEGEND_COLUMNS) * 18];
    return drawPoint(x + 5, y, index, name) + textAt(x + 15, y + 4, shorten(name, 17));
  });
  return { svg: entries.join(""), height: TOP + 8 + Math.ceil(series.length / LEGEND_COLUMNS) * 18 };
}

/** A disc, then a square, then a diamond. */
function drawPoint(x: number, y: number, index: number, tooltip: string): string {
  const form = Math.floor(index / NUM_COLOURS) % 3;
  const half = form === 0 ? 4 : 3.5;
  const turned = form === 2 ? ` transform="rotate(45 ${number(x)} ${number(y)})"` : "";
  const round = form === 0 ? ` rx="${number(half)}"` : "";
  return box({ x: x - half, y: y - half, width: 2 * half, height: 2 * half }, index, tooltip, 0.8).replace("<rect ", `<rect${turned}${round} `);
}
