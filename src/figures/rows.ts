/** Figures with a row per name: values with intervals beside savings, single values with their middle, and a table of shades. */
import { horizontalAxis, linearScale, tickFormat } from "./axes.js";
import { FIGURE_WIDTH, box, makeFigure, marker, number, polyline, seriesGroup, shorten, textAt } from "./svg.js";
import type { Figure, SeriesStyle } from "./svg.js";

interface Heading {
  readonly name: string;
  readonly title: string;
  readonly description: string;
}

const LABEL_WIDTH = 108;
/** Longer names are small; names that are too long for that, too, are cut, and their tooltips have all of them. */
const LABEL_LENGTH = 13;
const SMALL_LABEL_LENGTH = 17;
const TOP = 26;

function rowLabel(label: string, y: number, isSmall = false): string {
  return textAt(LABEL_WIDTH - 6, y, shorten(label, SMALL_LABEL_LENGTH), { anchor: "end", small: isSmall || Array.from(label).length > LABEL_LENGTH });
}

export interface ChangeRow extends SeriesStyle {
  readonly label: string;
  /** A difference with its interval. */
  readonly change: { readonly mean: number; readonly low?: number; readonly high?: number };
  /** As a part of the reference's: below 1 is saved. */
  readonly parts: readonly { readonly title: string; readonly part: number }[];
}

/** Height that one bar and its text take. */
const BAR = 16;

export interface ChangeTexts {
  /** Above the left half, for example `change of the loss`. */
  readonly changeTitle: string;
  readonly formatChange: (value: number) => string;
  /** Above the right half. */
  readonly partTitle: string;
}

/** Left what a choice changes, as points with intervals around 0; right what is left of the costs, as bars up to 100 %. */
export function changeChart(heading: Heading, rows: readonly ChangeRow[], { changeTitle, formatChange, partTitle }: ChangeTexts): Figure {
  const numBars = Math.max(1, ...rows.map(({ parts }) => parts.length));
  const row = Math.max(30, BAR * numBars + 12);
  const bottom = TOP + rows.length * row;
  const middle = LABEL_WIDTH + 140;
  const scale = linearScale([0, ...rows.flatMap(({ change: { mean, low = mean, high = mean } }) => [mean, low, high])], { from: LABEL_WIDTH + 6, to: middle - 14 }, 3);
  const bars = { from: middle + 8, to: FIGURE_WIDTH - 98 };
  const most = Math.max(1, ...rows.flatMap(({ parts }) => parts.map(({ part }) => part)));
  const drawn = rows.map((line, index) => {
    const y = TOP + index * row + row / 2;
    const { mean, low, high } = line.change;
    const interval = low === undefined || high === undefined ? "" : polyline([[scale.at(low), y], [scale.at(high), y]], { colour: line.colour, dash: 0 });
    const tip = `${line.label}: ${formatChange(mean)}${low === undefined || high === undefined ? "" : ` (${formatChange(low)} to ${formatChange(high)})`}`;
    const parts = line.parts.map(({ title, part }, place) => {
      const top = y - (BAR * line.parts.length) / 2 + BAR * place;
      const width = ((bars.to - bars.from) * part) / most;
      const shown = `${title} ${(100 * part).toFixed(0)} %`;
      return box({ x: bars.from, y: top + 2, width, height: BAR - 4 }, line.colour, `${line.label}: ${shown} of the reference`, place === 0 ? 1 : 0.5) + textAt(bars.to + 8, top + 12, shown, { small: true });
    });
    return seriesGroup(line.label, rowLabel(line.label, y + 4) + interval + marker(scale.at(mean), y, line, tip, 5) + parts.join(""));
  });
  const zero = `<path class="axis" d="M${number(scale.at(0))} ${number(TOP - 4)}V${number(bottom)}"/>`;
  const whole = bars.from + (bars.to - bars.from) / most;
  const hundred = `<path class="axis" stroke-dasharray="3 3" d="M${number(whole)} ${number(TOP - 4)}V${number(bottom)}"/>`;
  const titles = textAt(LABEL_WIDTH, TOP - 12, changeTitle, { small: true }) + textAt(bars.from, TOP - 12, partTitle, { small: true });
  const axis = horizontalAxis(scale, { top: TOP - 4, bottom, right: middle - 14 }, "", tickFormat(scale));
  return makeFigure(heading.name, heading.title, heading.description, bottom + 22, titles + axis + zero + hundred + drawn.join(""));
}

export interface StripRow extends SeriesStyle {
  readonly label: string;
  readonly values: readonly { readonly name: string; readonly value: number }[];
}

const STRIP_ROW = 30;

/** A point per value in the row of its label, a box over the middle half, and a mark at the median. */
export function stripChart(heading: Heading, rows: readonly StripRow[], title: string, format: (value: number) => string): Figure {
  const right = FIGURE_WIDTH - 12;
  const bottom = TOP + rows.length * STRIP_ROW;
  const scale = linearScale(rows.flatMap(({ values }) => values.map(({ value }) => value)), { from: LABEL_WIDTH + 8, to: right - 4 }, 4);
  const drawn = rows.map((line, index) => {
    const y = TOP + index * STRIP_ROW + STRIP_ROW / 2;
    const sorted = line.values.map(({ value }) => value).sort((left, other) => left - other);
    const at = (part: number) => scale.at(quantile(sorted, part));
    const middle = box({ x: at(0.25), y: y - 9, width: Math.max(1, at(0.75) - at(0.25)), height: 18 }, line.colour, `${line.label}: middle half ${format(quantile(sorted, 0.25))} to ${format(quantile(sorted, 0.75))}`, 0.2);
    // Points of one row alternate in height, so that equal values can be seen beside each other.
    const points = line.values.map(({ name, value }, place) => marker(scale.at(value), y + ((place % 5) - 2) * 3, line, `${name}, ${line.label}: ${format(value)}`, 2.5));
    const median = box({ x: at(0.5) - 1.5, y: y - 11, width: 3, height: 22 }, line.colour, `${line.label}: median ${format(quantile(sorted, 0.5))}`);
    return seriesGroup(line.label, rowLabel(line.label, y + 4) + middle + points.join("") + median);
  });
  return makeFigure(heading.name, heading.title, heading.description, bottom + 38, horizontalAxis(scale, { top: TOP - 4, bottom, right }, title, tickFormat(scale)) + drawn.join(""));
}

function quantile(sorted: readonly number[], part: number): number {
  const place = part * (sorted.length - 1);
  const low = sorted[Math.floor(place)] ?? 0;
  return low + (place - Math.floor(place)) * ((sorted[Math.ceil(place)] ?? low) - low);
}

export interface ShadeCell {
  /** -1 to 1: how strong the shade is, and in which of two colours. */
  readonly shade: number;
  /** In the cell; absent for cells that are too small for text. */
  readonly text?: string;
  readonly tooltip: string;
}

export interface ShadeTable {
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** By row and column; null: nothing is known. */
  readonly cells: readonly (readonly (ShadeCell | null)[])[];
  readonly rowHeight: number;
  /** Below the table: what shades mean. */
  readonly legend: string;
}

/** Full shades keep text on them readable in both themes. */
const SHADE_MOST = 0.55;

/** Rows by columns of shades, blue for above and orange for below 0. */
export function shadeChart(heading: Heading, { rows, columns, cells, rowHeight, legend }: ShadeTable): Figure {
  const room = (FIGURE_WIDTH - LABEL_WIDTH - 8) / Math.max(1, columns.length);
  const isSlanted = columns.some((column) => column.length * 6.2 > Math.min(84, room));
  // Slanted names need room at the right of the last column.
  const width = isSlanted ? Math.min(84, (FIGURE_WIDTH - LABEL_WIDTH - 64) / columns.length) : Math.min(84, room);
  const top = isSlanted ? 82 : 22;
  const heads = columns.map((column, index) => {
    const x = LABEL_WIDTH + (index + 0.5) * width;
    if (!isSlanted) return textAt(x, top - 7, column, { anchor: "middle", small: true });
    return `<g transform="translate(${number(x)} ${number(top - 6)}) rotate(-40)">${textAt(0, 0, shorten(column, 16), { small: true })}</g>`;
  });
  const drawn = rows.map((label, i) => {
    const y = top + i * rowHeight;
    const drawnCells = columns.map((column, j) => {
      const cell = cells[i]?.[j] ?? null;
      if (cell === null) return "";
      const x = LABEL_WIDTH + j * width;
      const text = cell.text === undefined ? "" : textAt(x + width / 2, y + rowHeight / 2 + 4, cell.text, { anchor: "middle", small: false });
      const shade = box({ x: x + 0.5, y: y + 0.5, width: width - 1, height: rowHeight - 1 }, cell.shade < 0 ? 1 : 0, cell.tooltip, Math.max(0.03, Math.min(1, Math.abs(cell.shade)) * (cell.text === undefined ? 1 : SHADE_MOST)));
      return seriesGroup(column, shade + text);
    });
    const name = rowLabel(label, y + rowHeight / 2 + 4, rowHeight < 16);
    return name + drawnCells.join("");
  });
  const bottom = top + rows.length * rowHeight;
  return makeFigure(heading.name, heading.title, heading.description, bottom + 24, heads.join("") + drawn.join("") + textAt(FIGURE_WIDTH - 8, bottom + 16, legend, { anchor: "end", small: true }));
}
