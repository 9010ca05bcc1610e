/** Values set from outside an experiment file: `--set`, flags and variants, and how they get into the raw value. */
import { parse } from "yaml";
import { problemError } from "../errors.js";

/** Keys that would reach an object's prototype. */
const FORBIDDEN_KEYS = new Set(["__proto__", "constructor", "prototype"]);

/** One value set from outside the file; `origin` is what the user typed, for messages. */
export interface ConfigOverride {
  readonly path: readonly string[];
  readonly value: unknown;
  readonly origin: string;
}

/** Parses `a.b=value` of --set; the value is read as YAML, so numbers, lists and null work. Throws CONFIG_INVALID. */
export function parseSetOption(text: string): ConfigOverride {
  const split = text.indexOf("=");
  const path = split > 0 ? text.slice(0, split).split(".") : [];
  if (path.length === 0 || path.some((part) => part === "" || FORBIDDEN_KEYS.has(part))) {
    throw problemError("CONFIG_INVALID", {
      subject: "--set",
      expected: "field.path=value, for example training.numRounds=5",
      received: JSON.stringify(text),
    });
  }
  const valueText = text.slice(split + 1);
  try {
    return { path, value: parse(valueText) as unknown, origin: "--set" };
  } catch (error) {
    throw problemError(
      "CONFIG_INVALID",
      { subject: `--set ${path.join(".")}`, expected: "a YAML value", received: JSON.stringify(valueText) },
      error,
    );
  }
}

/** Sets one override inside the raw value, making sections on the way. */
export function setValue(raw: unknown, override: ConfigOverride): void {
  let target = raw as Record<string, unknown>;
  for (const [index, part] of override.path.entries()) {
    if (Array.isArray(target) && !(/^\d+$/.test(part) && Number(part) < target.length)) {
      const name = override.path.slice(0, index).join(".");
      throw problemError("CONFIG_INVALID", {
        subject: `${override.origin} ${override.path.join(".")}`,
        expected: "a field of a section",
        received: `${JSON.stringify(part)}, but ${name} is a list`,
        remedy: `Name an entry by its position, or set ${name} as a whole`,
      });
    }
    if (index === override.path.length - 1) {
      target[part] = override.value;
      return;
    }
    const next = Object.hasOwn(target, part) ? target[part] : undefined;
    if (next === undefined || next === null) target[part] = {};
    else if (typeof next !== "object") {
      throw problemError("CONFIG_INVALID", {
        subject: `${override.origin} ${override.path.join(".")}`,
        expected: `${override.path.slice(0, index + 1).join(".")} to be a section`,
        received: JSON.stringify(next),
      });
    }
    target = target[part] as Record<string, unknown>;
  }
}

/** The base with a variant's differences: sections are merged, everything else is replaced. Neither is changed. */
export function mergeRaw(base: unknown, differences: unknown): unknown {
  if (!isSection(base) || !isSection(differences)) return structuredClone(differences);
  const merged = new Map<string, unknown>(Object.entries(structuredClone(base)));
  for (const [key, value] of Object.entries(differences)) {
    if (!FORBIDDEN_KEYS.has(key)) merged.set(key, mergeRaw(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
