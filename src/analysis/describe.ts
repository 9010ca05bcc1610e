/** Sums up the findings of samples: for a client, or for all. */
import { describeNumbers, histogramByDoubling } from "../data/statistics.js";
import { summarizePreferences } from "./preferences.js";
import { describeQuality } from "./quality.js";
import type { DifficultyFinding } from "./quality.js";
import type { GroupReport, InstructionTypes, LengthName, NamedCount, OverallReport, ProjectedSample } from "./report.js";
import type { TextMeasures, TokenCounts } from "./text-measures.js";

/** Everything that was found of one sample. */
export interface SampleFindings {
  readonly clientIndex: number;
  readonly sampleIndex: number;
  readonly hash: string;
  readonly text: TextMeasures;
  readonly tokens?: TokenCounts;
  readonly difficulty?: DifficultyFinding;
  readonly embedding?: Float32Array;
  readonly projected?: Pick<ProjectedSample, "pca" | "umap">;
}

export interface DescribeLimits {
  readonly verbs: number;
  readonly objectsPerVerb: number;
}

/** Of all samples together, as in the published figures of instruction types. */
export const OVERALL_LIMITS: DescribeLimits = { verbs: 20, objectsPerVerb: 4 };
export const CLIENT_LIMITS: DescribeLimits = { verbs: 5, objectsPerVerb: 2 };

const LENGTHS: Readonly<Record<LengthName, (finding: SampleFindings) => number | undefined>> = {
  instructionCharacters: ({ text }) => text.instructionCharacters,
  responseCharacters: ({ text }) => text.responseCharacters,
  rejectedCharacters: ({ text }) => text.rejectedCharacters,
  instructionTokens: ({ tokens }) => tokens?.instruction,
  responseTokens: ({ tokens }) => tokens?.response,
  rejectedTokens: ({ tokens }) => tokens?.rejected,
};

/** All samples together; sizes: samples of each client. */
export function describeAll(findings: readonly SampleFindings[], sizes: readonly number[]): OverallReport {
  const samplesPerClient = describeNumbers(sizes);
  return {
    ...describeGroup(findings, OVERALL_LIMITS),
    ...(samplesPerClient === undefined ? {} : { samplesPerClient }),
    lengthHistograms: ofLengths(findings, (lengths) => (lengths.length === 0 ? undefined : histogramByDoubling(lengths))),
  };
}

export function describeGroup(findings: readonly SampleFindings[], limits: DescribeLimits): GroupReport {
  const comparisons = findings.flatMap(({ text }) => (text.comparison === undefined ? [] : [text.comparison]));
  const quality = describeQuality(findings.flatMap(({ difficulty }) => difficulty ?? []));
  return {
    numSamples: findings.length,
    ...ofLengths(findings, describeNumbers),
    languages: ranked(countBy(findings, ({ text }) => text.language)),
    instructionTypes: describeTypes(findings, limits),
    ...(quality === undefined ? {} : { quality }),
    ...(comparisons.length === 0 ? {} : { preferences: summarizePreferences(comparisons) }),
  };
}

/** How often each name comes up; values without one do not count. */
export function countBy<T>(values: readonly T[], nameOf: (value: T) => string | undefined): Map<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) {
    const name = nameOf(value);
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** Most frequent first, of equals the first name of the alphabet. */
export function ranked(counts: ReadonlyMap<string, number>): NamedCount[] {
  return [...counts].map(([name, count]) => ({ name, count })).sort((left, right) => right.count - left.count || (left.name < right.name ? -1 : 1));
}

function describeTypes(findings: readonly SampleFindings[], limits: DescribeLimits): InstructionTypes {
  const typed = findings.flatMap(({ text }) => (text.type === undefined ? [] : [text.type]));
  const verbs = ranked(countBy(typed, ({ verb }) => verb)).slice(0, limits.verbs);
  return {
    isApproximate: true,
    numTyped: typed.length,
    verbs: verbs.map(({ name, count }) => {
      const own = typed.filter(({ verb }) => verb === name);
      return {
        verb: name,
        isQuestion: own[0]?.isQuestion === true,
        count,
        objects: ranked(countBy(own, ({ object }) => object)).slice(0, limits.objectsPerVerb),
      };
    }),
  };
}

/** Lengths of all samples that have them, each summed up. */
function ofLengths<T>(findings: readonly SampleFindings[], sumUp: (lengths: readonly number[]) => T | undefined) {
  const entries = Object.entries(LENGTHS).map(([name, lengthOf]) => [name, sumUp(findings.flatMap((finding) => lengthOf(finding) ?? []))] as const);
  return Object.fromEntries(entries.filter(([, summed]) => summed !== undefined)) as Readonly<Partial<Record<LengthName, T>>>;
}
