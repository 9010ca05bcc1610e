/**
 * What a user prefers, out of pairs of answers: for each property of an answer the pairs that differ in it, and how often the
 * chosen answer is the one that has it. Properties are counted, not judged: whether an answer is right is not among them.
 */
import type { PreferenceSample } from "../data/samples.js";
import { measureSample } from "../data/statistics.js";

/** Properties by which two answers may differ; `longer`: it has more characters. */
export const PREFERENCE_PROPERTIES = ["longer", "list", "emphasis", "code", "exclamation", "closing question"] as const;

export type PreferenceProperty = (typeof PREFERENCE_PROPERTIES)[number];

export interface PropertyPreference {
  readonly property: PreferenceProperty;
  /** Pairs of which exactly one answer has the property. */
  readonly numPairs: number;
  /** Of these, pairs whose chosen answer has it. */
  readonly numChosen: number;
  /** 95 % interval (Wilson) of the share in which the chosen answer has it; absent without pairs. */
  readonly interval?: readonly [low: number, high: number];
  /** What the interval says: it lies above one half, below it, or holds it. */
  readonly verdict: "preferred" | "avoided" | "undecided";
}

const TESTS: Readonly<Record<Exclude<PreferenceProperty, "longer">, RegExp>> = {
  list: /^\s*(?:[-*•]|\d+[.)])\s/mu,
  emphasis: /\*\*|^#{1,6}\s/mu,
  code: /```/u,
  exclamation: /[!！]/u,
  "closing question": /[?？؟]\s*$/u,
};

/** Standard normal quantile of a two-sided interval of 95 %. */
const Z = 1.959964;

/** Which answers differ in which property: 1 the chosen one has it, -1 the rejected one, 0 both or none. In the order of PREFERENCE_PROPERTIES. */
export function comparePair(pair: PreferenceSample): number[] {
  const { response, rejected = 0 } = measureSample(pair);
  return PREFERENCE_PROPERTIES.map((property) => {
    if (property === "longer") return Math.sign(response - rejected);
    return Number(TESTS[property].test(pair.chosen)) - Number(TESTS[property].test(pair.rejected));
  });
}

/** Sums up what comparePair gave for each pair of a user. */
export function summarizePreferences(comparisons: readonly (readonly number[])[]): PropertyPreference[] {
  return PREFERENCE_PROPERTIES.map((property, index) => {
    const numPairs = comparisons.filter((comparison) => comparison[index] !== 0).length;
    const numChosen = comparisons.filter((comparison) => comparison[index] === 1).length;
    if (numPairs === 0) return { property, numPairs, numChosen, verdict: "undecided" };
    const interval = wilsonInterval(numChosen, numPairs);
    const verdict = interval[0] > 0.5 ? "preferred" : interval[1] < 0.5 ? "avoided" : "undecided";
    return { property, numPairs, numChosen, interval, verdict };
  });
}

/** Interval of 95 % for a probability from `successes` of `trials`, at least one trial (Wilson 1927). */
export function wilsonInterval(successes: number, trials: number): readonly [low: number, high: number] {
  const share = successes / trials;
  const squared = (Z * Z) / trials;
  const middle = (share + squared / 2) / (1 + squared);
  const half = (Z * Math.sqrt((share * (1 - share)) / trials + squared / (4 * trials))) / (1 + squared);
  return [middle - half, middle + half];
}
