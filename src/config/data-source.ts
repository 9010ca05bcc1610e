/** Which data an experiment is run with: a file, or synthetic data, which is then named as such wherever the run is named. */
import { syntheticOptions } from "../data/synthetic/profiles.js";
import type { SyntheticSource } from "../data/synthetic/write.js";
import { FedllmError, problemError } from "../errors.js";
import { generatedSection, type GeneratedConfig } from "./generated.js";
import { describeIssues } from "./problems.js";
import type { DataSource, ParsedExperiment } from "./schema.js";

/** Ends the name of every run with synthetic data. */
const SYNTHETIC_SUFFIX = "-synthetic";
/** Names become names of folders. */
const NAME_LENGTH_MAX = 64;

/** The field of synthetic samples that names their language. */
const LANGUAGE_FIELD = "language";

/** An experiment with exactly one source of data. */
export type ChosenExperiment = Omit<ParsedExperiment, "data"> & { readonly data: ParsedExperiment["data"] & DataSource };

/** Leaves the source that is not used out. Throws CONFIG_INVALID when there is none, and for synthetic data that cannot be made. */
export function chooseData(parsed: ParsedExperiment): ChosenExperiment {
  const { train, generated, synthetic, heldOutFile, ...data } = parsed.data;
  const heldOut = heldOutFile === undefined ? {} : { heldOutFile };
  if (!synthetic && train !== undefined) return { ...parsed, data: { ...data, ...heldOut, train, synthetic: false } };
  if (generated === undefined) {
    throw problemError("CONFIG_INVALID", {
      subject: synthetic ? "data.generated" : "data.train",
      expected: synthetic ? "a profile of synthetic data, since data.synthetic is true" : "a data file, or synthetic data in data.generated",
      received: "nothing",
    });
  }
  if (!synthetic && heldOutFile !== undefined) {
    throw problemError("CONFIG_INVALID", {
      subject: "data.heldOutFile",
      expected: "none with synthetic data, whose clients hold a part of their own out",
      received: heldOutFile,
    });
  }
  const { groups } = data;
  // Groups by language need samples that name theirs.
  const needsLanguage = groups !== undefined && groups.by !== "file" && groups.field === LANGUAGE_FIELD;
  const complete = needsLanguage ? { ...generated, languageField: generated.languageField ?? true } : generated;
  syntheticSource(complete);
  return { ...parsed, name: syntheticName(parsed.name), data: { ...data, generated: complete, synthetic: true } };
}

function syntheticName(name: string): string {
  return name.endsWith(SYNTHETIC_SUFFIX) ? name : `${name.slice(0, NAME_LENGTH_MAX - SYNTHETIC_SUFFIX.length)}${SYNTHETIC_SUFFIX}`;
}

/** The data set that a section asks for. Throws CONFIG_INVALID for options that contradict each other. */
export function syntheticSource({ profile, seed, ...changes }: GeneratedConfig): SyntheticSource {
  return { profile, seed, options: syntheticOptions(profile, changes) };
}

/** The same from values that nobody has checked, and changes of single fields. Throws CONFIG_INVALID. */
export function parseGenerated(
  base: Readonly<Record<string, unknown>>,
  changes: readonly { readonly path: readonly string[]; readonly value: unknown }[] = [],
): SyntheticSource {
  const raw = structuredClone(base) as Record<string, unknown>;
  for (const { path, value } of changes) {
    const [name = "", inner] = path;
    raw[name] = inner === undefined ? value : { ...(raw[name] as object | undefined), [inner]: value };
  }
  const parsed = generatedSection.safeParse(raw);
  if (parsed.success) return syntheticSource(parsed.data);
  // As a part of the experiment, whose fields the messages know.
  const issues = parsed.error.issues.map((issue) => ({ ...issue, path: ["data", "generated", ...issue.path] }));
  throw new FedllmError("CONFIG_INVALID", describeIssues(issues, { data: { generated: raw } }, () => undefined).join("\n"));
}
