/** What a table of a study is made of, and the usual kinds of columns. */
import type { Estimate } from "./statistics.js";

export type Cell = string | number | Estimate | null;

export interface StudyColumn {
  /** Of files that programs read: lower case with underscores, the unit last. */
  readonly key: string;
  readonly title: string;
  readonly kind: "text" | "number" | "estimate";
  /** How numbers are shown. */
  readonly format: (value: number) => string;
  /** How half an interval is shown beside its mean; absent: as the mean. */
  readonly formatHalf?: (value: number) => string;
}

export interface StudyTable {
  /** Of its files. */
  readonly name: string;
  readonly title: string;
  /** What columns mean, a sentence each. */
  readonly notes: readonly string[];
  readonly columns: readonly StudyColumn[];
  readonly rows: readonly (readonly Cell[])[];
  /** Too long for a page or a terminal; only in files. */
  readonly isLong?: boolean;
}

export const text = (key: string, title = key.replaceAll("_", " ")): StudyColumn => ({ key, title, kind: "text", format: String });
export const whole = (key: string, title = key.replaceAll("_", " ")): StudyColumn => ({ key, title, kind: "number", format: (value) => String(Math.round(value)) });
export const estimate = (key: string, title: string, format: (value: number) => string): StudyColumn => ({ key, title, kind: "estimate", format });
export const plain = (key: string, title: string, format: (value: number) => string): StudyColumn => ({ key, title, kind: "number", format });

/** In the unit that is shown. */
export function scaled(value: Estimate, factor: number): Estimate {
  const { low, high } = value;
  return { ...value, mean: value.mean * factor, min: value.min * factor, max: value.max * factor, ...(low === undefined || high === undefined ? {} : { low: low * factor, high: high * factor }) };
}
