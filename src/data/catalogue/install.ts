/** Installs a data set of the catalogue out of the published archive, or a folder or file that somebody has already. */
import type { Stats } from "node:fs";
import { copyFile, mkdir, readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { relative } from "node:path/posix";
import { FedllmError, problemError } from "../../errors.js";
import { describeSampleProblem, readFederatedDataset } from "../dataset.js";
import type { CatalogueEntry } from "../catalogue.js";
import { unpackArchive } from "./archive.js";
import { findPublishedFiles, folderOf } from "./published.js";
import { installFolder, makePreparationFolder } from "./store.js";
import type { DatasetManifest } from "./store.js";

/** Folders deeper than this are not looked into. */
const MAX_FOLDER_DEPTH = 6;
const SHOWN_PROBLEMS_MAX = 3;
const SHOWN_FILES_MAX = 10;

/**
 * Installs from a zip archive, a folder in the published layout, or the file of all clients itself. The files are kept as they are.
 * Throws DATASET_INVALID when they are not there or hold something else, IO_FAILED.
 */
export async function installFrom(folder: string, entry: CatalogueEntry, from: string, source = resolve(from)): Promise<DatasetManifest> {
  const prepared = await makePreparationFolder(folder, entry.name);
  try {
    await gatherFiles(entry, from, prepared);
    return await finishInstall(folder, entry, prepared, { source });
  } finally {
    await rm(prepared, { recursive: true, force: true });
  }
}

/** Checks the clients' file of a prepared folder, compares it with what the paper says, and puts the folder in its place. */
export async function finishInstall(
  folder: string,
  entry: CatalogueEntry,
  prepared: string,
  { source, warnings: known = [] }: { readonly source: string; readonly warnings?: readonly string[] },
): Promise<DatasetManifest> {
  // Nothing is kept in memory: only counts are needed.
  const dataset = await readFederatedDataset(join(prepared, clientsName(entry)), { onSample: () => false });
  if (dataset.kind !== entry.kind) {
    throw problemError("DATASET_INVALID", { subject: source, expected: `${entry.kind} samples, as ${entry.name} has`, received: dataset.kind });
  }
  const numClients = dataset.clients.length;
  const { numSamples, numProblems, sha256 } = dataset;
  const warnings = [
    ...known,
    ...differenceOf("clients", entry.numClients, numClients),
    ...differenceOf("samples", entry.numSamples, numSamples),
    ...(numProblems === 0 ? [] : [`${String(numProblems)} samples cannot be used, the first: ${dataset.problems.slice(0, SHOWN_PROBLEMS_MAX).map(describeSampleProblem).join("; ")}`]),
  ];
  const manifest = { name: entry.name, source, installedAt: new Date().toISOString(), numClients, numSamples, sha256, warnings };
  await installFolder(folder, entry, prepared, manifest);
  return manifest;
}

/** Name of the file of all clients in the data set's folder. */
export function clientsName({ file }: CatalogueEntry): string {
  return basename(file);
}

function differenceOf(what: string, expected: number, received: number): string[] {
  return expected === received ? [] : [`the paper has ${String(expected)} ${what}, this data has ${String(received)}`];
}

async function gatherFiles(entry: CatalogueEntry, from: string, prepared: string): Promise<void> {
  const info = await statSource(from);
  if (info.isDirectory()) return copyFound(entry, from, prepared);
  if (/\.json$/i.test(from)) return copyFile(from, join(prepared, clientsName(entry)));
  await unpackArchive(from, prepared, (entries) => found(entry, entries.map(({ path }) => path), from));
}

async function statSource(from: string): Promise<Stats> {
  return stat(from).catch((error: unknown) => {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("IO_FAILED", { subject: from, expected: "a zip archive, a folder or a file", received }, error);
  });
}

/**
 * Path of the one file that `choose` finds: the file `from` itself, in the folder `from`, or in that archive, out of which it is unpacked
 * into `unpacked`. Throws DATASET_INVALID when there is not exactly one, IO_FAILED.
 */
export async function findOne(from: string, unpacked: string, choose: (paths: readonly string[]) => readonly string[]): Promise<string> {
  const onlyOne = (paths: readonly string[]): string => {
    const [path, ...others] = choose(paths);
    if (path !== undefined && others.length === 0) return path;
    const received = path === undefined ? "none" : `${String(others.length + 1)}: ${[path, ...others].slice(0, SHOWN_FILES_MAX).join(", ")}`;
    throw problemError("DATASET_INVALID", { subject: from, expected: "one file of all users", received, remedy: "Name the file itself with --from" });
  };
  const info = await statSource(from);
  if (info.isDirectory()) return join(from, onlyOne(await listFiles(from, MAX_FOLDER_DEPTH)));
  if (!/\.zip$/iu.test(from)) return from;
  const [name = ""] = await unpackArchive(from, unpacked, (entries) => {
    const path = onlyOne(entries.map((entry) => entry.path));
    return new Map([[path, basename(path)]]);
  });
  return join(unpacked, name);
}

async function copyFound(entry: CatalogueEntry, from: string, prepared: string): Promise<void> {
  const paths = await listFiles(from, MAX_FOLDER_DEPTH);
  try {
    // The folder itself may be the data set's: its name counts too.
    const named = paths.map((path) => `${basename(resolve(from))}/${path}`);
    for (const [path, name] of found(entry, named, from)) {
      await mkdir(dirname(join(prepared, name)), { recursive: true });
      await copyFile(join(resolve(from), "..", path), join(prepared, name));
    }
  } catch (error) {
    if (error instanceof FedllmError) throw error;
    throw new FedllmError("IO_FAILED", `cannot copy from ${from}`, { cause: error });
  }
}

/** The found files by their paths below the data set's own folder. */
function found(entry: CatalogueEntry, paths: readonly string[], from: string): ReadonlyMap<string, string> {
  const files = findPublishedFiles(entry, paths);
  if (files !== undefined) return new Map([...files].map(([path, file]) => [path, relative(folderOf(entry), file)]));
  throw problemError("DATASET_INVALID", {
    subject: from,
    expected: `the file ${entry.file} somewhere inside`,
    received: `${String(paths.length)} other files`,
    remedy: `Name the file itself with --from, if it has another name`,
  });
}

/** Paths below the folder with forward slashes, in the order of their names; links are not followed. */
async function listFiles(folder: string, depth: number): Promise<string[]> {
  const entries = (await readdir(folder, { withFileTypes: true })).sort((left, right) => (left.name < right.name ? -1 : 1));
  const lists = entries.map(async (entry) => {
    if (entry.isDirectory()) return depth === 0 ? [] : (await listFiles(join(folder, entry.name), depth - 1)).map((path) => `${entry.name}/${path}`);
    return entry.isFile() ? [entry.name] : [];
  });
  return (await Promise.all(lists)).flat();
}
