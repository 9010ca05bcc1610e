/** Settings of metrics as users give them: numbers, choices and lists, each checked by itself. Names are checked by checkSettingNames (limit.ts). */
import { problemError } from "../../errors.js";
import type { MetricOptions } from "../metric.js";

type Given = Pick<MetricOptions, "settings">;

/** A number within bounds. Throws CONFIG_INVALID for another value. */
export function numberSetting(metric: string, { settings }: Given, name: string, fallback: number, bounds: { readonly min: number; readonly max: number }): number {
  const value = settings[name] ?? fallback;
  if (typeof value === "number" && value >= bounds.min && value <= bounds.max) return value;
  throw settingError(metric, name, `a number from ${String(bounds.min)} to ${String(bounds.max)}`, value);
}

/** One of several words, the first of them by default. Throws CONFIG_INVALID for another value. */
export function choiceSetting<Choice extends string>(metric: string, { settings }: Given, name: string, choices: readonly [Choice, ...Choice[]]): Choice {
  const value = settings[name] ?? choices[0];
  const choice = choices.find((candidate) => candidate === value);
  if (choice !== undefined) return choice;
  throw settingError(metric, name, `one of ${choices.join(", ")}`, value);
}

/** true or false, false by default. Throws CONFIG_INVALID for another value. */
export function booleanSetting(metric: string, { settings }: Given, name: string): boolean {
  const value = settings[name] ?? false;
  if (typeof value === "boolean") return value;
  throw settingError(metric, name, "true or false", value);
}

/** A list of texts with something in each; undefined where there is none. Throws CONFIG_INVALID for another value. */
export function textsSetting(metric: string, { settings }: Given, name: string): readonly string[] | undefined {
  const value = settings[name];
  if (value === undefined) return undefined;
  const isList = Array.isArray(value) && value.length > 0 && value.every((text) => typeof text === "string" && text.trim() !== "");
  if (isList) return value as readonly string[];
  throw settingError(metric, name, "a list of texts", value);
}

/** A text with something in it; undefined where there is none. Throws CONFIG_INVALID for another value. */
export function textSetting(metric: string, { settings }: Given, name: string): string | undefined {
  const value = settings[name];
  if (value === undefined || (typeof value === "string" && value.trim() !== "")) return value;
  throw settingError(metric, name, "a text", value);
}

function settingError(metric: string, name: string, expected: string, value: unknown): Error {
  return problemError("CONFIG_INVALID", { subject: `${metric}.${name}`, expected, received: JSON.stringify(value) });
}
