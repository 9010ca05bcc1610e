/** References `dataset:NAME`, `dataset:NAME/LOCAL` and `dataset:NAME/unfiltered`, which has all users: files of the catalogue, looked for where the published archive is unpacked or installed. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { CATALOGUE, catalogueEntry } from "../data/catalogue.js";
import type { CatalogueEntry } from "../data/catalogue.js";
import { unfilteredPath } from "../data/unfiltered.js";
import { problemError } from "../errors.js";
import { readDataEnvironment } from "./data-environment.js";
import { suggest } from "./suggest.js";

const PREFIX = "dataset:";
const ALL_USERS = "unfiltered";
/** Below the working folder, in the order in which they are looked into; the first is where the files are expected. */
const FOLDERS = ["data", "data/FedLLM-Bench-Data", "FedLLM-Bench-Data"] as const;

export function isDatasetReference(value: string): boolean {
  return value.startsWith(PREFIX);
}

/** `dataset:NAME` for a bare NAME of the catalogue that is no file, references as they are; undefined: it is a path. */
export function asDatasetReference(value: string): string | undefined {
  if (isDatasetReference(value)) return value;
  return catalogueEntry(value) === undefined || statSync(value, { throwIfNoEntry: false })?.isFile() === true ? undefined : `${PREFIX}${value}`;
}

/**
 * The file of a reference, in one of the folders or where `data get` installs it; one that is nowhere is named in the first folder.
 * Throws CONFIG_INVALID for an unknown name.
 */
export function locateDataset(reference: string, workingFolder: string, dataDir: string = readDataEnvironment().dataDir): string {
  const [name = "", localName] = reference.slice(PREFIX.length).split("/");
  const entry = catalogueEntry(name);
  const file = entry === undefined ? undefined : fileOf(entry, localName);
  if (file === undefined) {
    const names = entry === undefined ? CATALOGUE.map((known) => known.name) : [...entry.locals.map((local) => local.file.replace(/^.*\/|\.json$/gu, "")), ALL_USERS];
    const close = suggest(localName ?? name, names);
    throw problemError("CONFIG_INVALID", {
      subject: "data.train",
      expected: `${PREFIX}${entry === undefined ? "" : `${name}/`} and one of ${names.join(", ")}`,
      received: JSON.stringify(reference),
      ...(close === undefined ? {} : { remedy: `Did you mean ${close}?` }),
    });
  }
  const places = [...FOLDERS.map((folder) => join(workingFolder, folder, file)), join(dataDir, file)];
  return places.find((place) => existsSync(place)) ?? places[0] ?? file;
}

function fileOf({ file, locals }: CatalogueEntry, localName: string | undefined): string | undefined {
  if (localName === undefined) return file;
  return localName === ALL_USERS ? unfilteredPath(file) : locals.find(({ file: path }) => path.endsWith(`/${localName}.json`))?.file;
}
