/** A study without the paths of the machine that wrote it: a report is there to be passed on. */
import { homedir } from "node:os";
import { relative, sep } from "node:path";
import { PROJECT_ROOT } from "../../native/libraries.js";
import type { Study } from "./study.js";

/** Where paths begin that say more of the machine than of the run. */
export interface MachinePaths {
  readonly workingFolder: string;
  readonly packageRoot: string;
  readonly home: string;
}

export function machinePaths(): MachinePaths {
  return { workingFolder: process.cwd(), packageRoot: PROJECT_ROOT, home: homedir() };
}

/** Folders of runs are relative to the working folder; in configuration and record what lies in it, in the package or in the home folder is named from there. */
export function withoutMachinePaths(study: Study, paths: MachinePaths = machinePaths()): Study {
  const shorten = shortener(paths);
  return {
    ...study,
    runs: study.runs.map((run) => ({
      ...run,
      folder: relative(paths.workingFolder, run.folder).split(sep).join("/"),
      config: shorten(run.config),
      record: mapTexts(run.record, shorten),
    })),
  };
}

function shortener({ workingFolder, packageRoot, home }: MachinePaths): (text: string) => string {
  // The longest first: the working folder mostly lies in the home folder.
  const named = [[workingFolder, "."], [packageRoot, "<fedllm-native>"], [home, "~"]] as const;
  const prefixes = named.filter(([folder]) => folder.length > 1).sort(([left], [right]) => right.length - left.length);
  return (text) => prefixes.reduce((shown, [folder, name]) => shown.replaceAll(`${folder}${sep}`, `${name}/`), text);
}

function mapTexts<T>(value: T, change: (text: string) => string): T {
  if (typeof value === "string") return change(value) as T;
  if (Array.isArray(value)) return value.map((inner: unknown) => mapTexts(inner, change)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]: [string, unknown]) => [key, mapTexts(inner, change)])) as T;
}
