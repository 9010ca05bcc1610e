/** Numbers of a study as people read them. */
import type { Estimate } from "./statistics.js";
import type { StudyMetric } from "./study.js";

/** In the metric's own form: 0.9062, 33.3 %. */
export function formatValue(value: number, { displayFactor, digits, title }: StudyMetric): string {
  return `${(value * displayFactor).toFixed(digits)}${title.includes(", %") ? " %" : ""}`;
}

export function formatJoules(joules: number): string {
  return joules < 10_000 ? `${joules.toFixed(0)} J` : `${(joules / 1000).toFixed(1)} kJ`;
}

/** 0.0312, or 2.1e-5 for what would be all zeros. */
export function formatPValue(value: number): string {
  return value >= 0.001 || value === 0 ? value.toFixed(3) : value.toExponential(1);
}

/** Mean and half the width of its interval, both by `format`: `0.906 ± 0.012`; the mean alone where there is no interval. */
export function formatEstimate({ mean, low, high }: Estimate, format: (value: number) => string): string {
  if (low === undefined || high === undefined) return format(mean);
  const half = format((high - low) / 2);
  // An interval that is nothing at this number of digits says no more than the mean.
  return half === format(0) ? format(mean) : `${format(mean)} ± ${half}`;
}

export function signed(format: (value: number) => string): (value: number) => string {
  return (value) => `${value < 0 ? "" : "+"}${format(value)}`;
}
