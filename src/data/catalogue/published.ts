/**
 * What is published about the data sets of the catalogue beside their contents: whose terms they are under, where they are said to
 * be, and by which names their files go about. Nothing of them comes with this program.
 */
import { basename, dirname } from "node:path/posix";
import { problemError } from "../../errors.js";
import { assert } from "../../util/assert.js";
import { CATALOGUE, catalogueEntry } from "../catalogue.js";
import type { CatalogueEntry } from "../catalogue.js";

/** Terms of use, shown before the data is fetched. */
export interface Licence {
  readonly name: string;
  readonly url: string;
  /** What matters most about it. */
  readonly note: string;
}

/**
 * The filtered archive of all data sets, at the address in the benchmark's README. It was not tried: recorded only.
 * A page instead of an archive (a warning about size, or a sign-in) is noticed and refused.
 */
export const ARCHIVE_URL = "https://drive.usercontent.google.com/download?id=1hKv5A0ROmTQQkcsTcYogCUIeF7Ux1pmy&export=download&confirm=t";

/** The folder of the same data without a limit on users' sizes, at the address in the benchmark's README; for browsers, and not tried either. */
export const UNFILTERED_URL = "https://drive.google.com/drive/folders/1hKXunwJA_K1P-Tn8SBl8HYfw9YjhlpIy";

const APACHE: Licence = { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0", note: "free use with attribution" };
const NON_COMMERCIAL: Licence = {
  name: "CC BY-NC 4.0",
  url: "https://creativecommons.org/licenses/by-nc/4.0/",
  note: "no commercial use; prompts are CC BY 4.0, the models' outputs CC BY-NC 4.0",
};
const OPEN_DATA: Licence = { name: "ODC-BY", url: "https://opendatacommons.org/licenses/by/1-0/", note: "free use with attribution" };

const LICENCES: Readonly<Record<string, Licence>> = {
  "fed-aya": APACHE,
  "fed-chatbot-it": NON_COMMERCIAL,
  "fed-wildchat": OPEN_DATA,
  "fed-wildchat-multi": OPEN_DATA,
  "fed-chatbot-pa": NON_COMMERCIAL,
};

/** Other names that copies of a file have been seen with. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  "chatbotIT_237c_6k.json": ["chatbotIT_237c_6k.json.json"],
  "local1702.json": ["local_1702.json"],
  "local813.json": ["local_813.json"],
};

/** The terms of a data set. */
export function licenceOf({ name }: CatalogueEntry): Licence {
  const licence = LICENCES[name];
  assert(licence !== undefined, `the terms of ${name} are known`);
  return licence;
}

/** Folder of a data set below the archive's root. */
export function folderOf({ file }: CatalogueEntry): string {
  return dirname(file);
}

/** The data set of this name. Throws CONFIG_INVALID. */
export function requireEntry(name: string): CatalogueEntry {
  const entry = catalogueEntry(name);
  if (entry !== undefined) return entry;
  throw problemError("CONFIG_INVALID", { subject: "data set", expected: `one of ${CATALOGUE.map((known) => known.name).join(", ")}`, received: JSON.stringify(name) });
}

/**
 * Which of these files, named by paths with forward slashes, belong to the data set, and the paths that they have below the
 * archive's root. That root may have any name, or be left out, and so may the folders above the file of all clients, whose name says
 * enough. Undefined when that file is not there.
 */
export function findPublishedFiles(entry: CatalogueEntry, paths: readonly string[]): ReadonlyMap<string, string> | undefined {
  const findAt = (ends: readonly string[]) => paths.find((path) => ends.some((end) => `/${path}`.toLowerCase().endsWith(`/${end}`.toLowerCase())));
  const names = namesOf(entry.file);
  const clients = findAt(names.map((name) => `${folderOf(entry)}/${name}`)) ?? findAt(names);
  if (clients === undefined) return undefined;
  const base = clients.slice(0, clients.lastIndexOf("/") + 1);
  const locals = entry.locals.flatMap(({ file }) => {
    const wanted = namesOf(file).map((name) => `${base}local/${name}`.toLowerCase());
    const path = paths.find((each) => wanted.includes(each.toLowerCase()));
    return path === undefined ? [] : [[path, file] as const];
  });
  return new Map([[clients, entry.file], ...locals]);
}

/**
 * Which of these files has all users of the data set in the release without a limit on users' sizes, whose names are not known: the one
 * file of samples in a folder that is called like the data set, or anywhere where there is no such folder; files of single clients are
 * left out. Several or none are possible.
 */
export function findUnfilteredFiles(entry: CatalogueEntry, paths: readonly string[]): readonly string[] {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[^a-z/]/gu, "");
  const all = paths.filter((path) => /\.jsonl?(?:\.gz)?$/iu.test(path) && !/(?:^|\/)local\//iu.test(path));
  const own = all.filter((path) => plain(`/${path}`).includes(`/${plain(folderOf(entry))}/`));
  return own.length > 0 ? own : all;
}

function namesOf(file: string): readonly string[] {
  const name = basename(file);
  return [name, ...(OTHER_NAMES[name] ?? [])];
}
