/** A part of a question set, for a quick look. */
import { PythonRandom } from "../../data/python-random.js";
import { problemError } from "../../errors.js";
import { deriveSeed } from "../../util/random.js";
import type { MetricOptions } from "../metric.js";

/** At most `limit` items, drawn by the seed and in the set's order. */
export function limitItems<Item>(items: readonly Item[], { limit, seed }: Pick<MetricOptions, "limit" | "seed">): readonly Item[] {
  if (limit === undefined || items.length <= limit) return items;
  const drawn = new Set(new PythonRandom(deriveSeed(seed, "metric items")).sample(items.length, limit));
  return items.filter((_, index) => drawn.has(index));
}

/** Throws CONFIG_INVALID for settings that a metric does not know. */
export function checkSettingNames(metric: string, { settings }: Pick<MetricOptions, "settings">, known: readonly string[]): void {
  for (const name of Object.keys(settings)) {
    if (known.includes(name)) continue;
    throw problemError("CONFIG_INVALID", {
      subject: `option of metric ${metric}`,
      expected: known.length === 0 ? "none" : `one of ${known.join(", ")}`,
      received: name,
    });
  }
}

/** A whole number among the settings. Throws CONFIG_INVALID for another value. */
export function integerSetting(metric: string, { settings }: Pick<MetricOptions, "settings">, name: string, fallback: number, minimum = 1): number {
  const value = settings[name] ?? fallback;
  if (Number.isSafeInteger(value) && Number(value) >= minimum) return Number(value);
  throw problemError("CONFIG_INVALID", { subject: `${metric}.${name}`, expected: `a whole number of at least ${String(minimum)}`, received: JSON.stringify(value) });
}
