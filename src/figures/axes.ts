/** Scales and axes of figures: round ticks, and where values lie in the drawing. */
import { number, textAt } from "./svg.js";

/** From values to the figure's units. */
export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Ends of a drawing along one direction, in the figure's units; `from` is where small values are. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

const TICKS_WANTED = 5;

/** Linear, wide enough for all values and beginning and ending at round numbers; `from` and `to` are those of the drawing. */
export function linearScale(values: readonly number[], { from, to }: Span, numTicks = TICKS_WANTED): Scale {
  const [low, high] = rangeOf(values);
  const step = roundStep((high - low) / numTicks);
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  return { ticks, at: (value) => from + ((value / step - first) / Math.max(1, last - first)) * (to - from) };
}

/** Logarithmic, for values above 0; ticks at powers of ten, or between them where there are few. */
export function logScale(values: readonly number[], { from, to }: Span): Scale {
  const [low, high] = rangeOf(values.map(Math.log10));
  const [first, last] = [low - 0.03 * (high - low), high + 0.03 * (high - low)];
  const fine = high - low < 1.5 ? [1, 2, 5] : [1];
  const powers = Array.from({ length: Math.ceil(last) - Math.floor(first) + 1 }, (_, index) => Math.floor(first) + index);
  const ticks = powers.flatMap((power) => fine.map((factor) => factor * 10 ** power)).filter((tick) => Math.log10(tick) >= first && Math.log10(tick) <= last);
  return { ticks, at: (value) => from + ((Math.log10(value) - first) / (last - first)) * (to - from) };
}

/** Least and most; a single value gets room on both sides. */
function rangeOf(values: readonly number[]): readonly [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low > high) return [0, 1];
  if (low < high) return [low, high];
  const room = low === 0 ? 1 : Math.abs(low) / 10;
  return [low - room, high + room];
}

/** 1, 2 or 5 times a power of ten, not below the given step. */
function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= step * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/** Ticks below a drawing, faint lines through it, and the axis' name. */
export function horizontalAxis(scale: Scale, area: { readonly top: number; readonly bottom: number; readonly right: number }, title: string, format: (value: number) => string): string {
  const { top, bottom, right } = area;
  // Labels that would run into each other are left out, the line stays.
  let free = -Infinity;
  const ticks = scale.ticks.map((tick) => {
    const x = scale.at(tick);
    const label = format(tick);
    const half = (label.length * 6) / 2;
    const line = `<path class="grid" d="M${number(x)} ${number(top)}V${number(bottom)}"/>`;
    if (x - half < free) return line;
    free = x + half + 6;
    return line + textAt(x, bottom + 14, label, { anchor: "middle", small: true });
  });
  return ticks.join("") + textAt(right, bottom + 30, title, { anchor: "end", small: true });
}

/** Ticks left of a drawing and faint lines through it; the axis' name stands above. */
export function verticalAxis(scale: Scale, area: { readonly left: number; readonly right: number; readonly top: number }, title: string, format: (value: number) => string): string {
  const { left, right, top } = area;
  const ticks = scale.ticks.map((tick) => {
    const y = scale.at(tick);
    return `<path class="grid" d="M${number(left)} ${number(y)}H${number(right)}"/>${textAt(left - 6, y + 4, format(tick), { anchor: "end", small: true })}`;
  });
  return ticks.join("") + textAt(left - 36 < 0 ? 0 : left - 36, top - 10, title, { small: true });
}

/** As many decimals as the ticks of a scale need to differ. */
export function tickFormat({ ticks }: Scale): (value: number) => string {
  const steps = ticks.slice(1).map((tick, index) => tick - (ticks[index] ?? 0));
  const step = Math.min(...steps, Infinity);
  const digits = Number.isFinite(step) ? Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9))) : 2;
  return (value) => (Math.abs(value) < step / 1e6 ? 0 : value).toFixed(digits);
}

/** Places for labels that would lie on each other: moved apart by `gap` at least, in the order of their values, and kept within the span. */
export function spreadLabels(places: readonly number[], gap: number, { from, to }: Span): number[] {
  const order = places.map((_, index) => index).sort((left, right) => (places[left] ?? 0) - (places[right] ?? 0));
  const spread = [...places];
  let free = from;
  for (const index of order) {
    spread[index] = Math.max(free, places[index] ?? 0);
    free = (spread[index] ?? 0) + gap;
  }
  let most = to;
  for (const index of order.reverse()) {
    spread[index] = Math.min(most, spread[index] ?? 0);
    most = (spread[index] ?? 0) - gap;
  }
  return spread;
}
