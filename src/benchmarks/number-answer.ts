/** The number that a worked solution ends with, and whether two numbers are the same answer. Used for GSM8K. */

/** Digits with groups of thousands or without, maybe a fraction, currency and sign before them; a minus behind a number subtracts. */
const NUMBER = /(?:(?<![\d)]\s?)[-−])?[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?/gu;
const STATEMENT = /\banswer\s+is\b/giu;

/** Half of the last place that money has; answers are whole numbers or amounts. */
const TOLERANCE = 0.005;

/** A text that is one number, like `1,234`, `$12.50`, `-3` or `25%`; undefined for any other. */
export function parseNumber(text: string): number | undefined {
  const match = /^\s*([-−]?)\s?[$€£]?\s?(\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(\.\d+)?\s?%?\s*$/u.exec(text);
  if (match === null) return undefined;
  const value = Number(`${(match[2] ?? "").replaceAll(",", "")}${match[3] ?? ""}`);
  if (!Number.isFinite(value)) return undefined;
  return match[1] === "" ? value : -value;
}

/**
 * The answer of a solution: the number after the first `####`, else after the last "answer is", else the last number of the text;
 * undefined where there is none.
 */
export function extractNumber(solution: string): number | undefined {
  const marked = /####([^\n]*)/u.exec(solution)?.[1];
  const statement = [...solution.matchAll(STATEMENT)].at(-1);
  const stated = statement === undefined ? undefined : solution.slice(statement.index).split("\n", 1)[0];
  for (const part of [marked, stated]) {
    const first = part === undefined ? undefined : numbersIn(part)[0];
    if (first !== undefined) return first;
  }
  return numbersIn(solution).at(-1);
}

/** Whether an answer is right. */
export function isSameNumber(left: number, right: number): boolean {
  return Math.abs(left - right) < TOLERANCE;
}

function numbersIn(text: string): readonly number[] {
  return [...text.matchAll(NUMBER)].flatMap(([found]) => parseNumber(found) ?? []);
}
