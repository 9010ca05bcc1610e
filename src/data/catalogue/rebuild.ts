/** Makes a data set of the catalogue again: from its original source on the hub, or from the release that has all users. */
import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { problemError } from "../../errors.js";
import type { CatalogueEntry } from "../catalogue.js";
import { fetchHubFile, openSnapshot } from "../download/hub.js";
import type { Hub } from "../download/hub.js";
import { importData } from "../import/import.js";
import { describeImportProblem } from "../import/sample-stream.js";
import type { ImportProblem } from "../import/sample-stream.js";
import { clientsName, findOne, finishInstall } from "./install.js";
import { findUnfilteredFiles } from "./published.js";
import { recipeOf } from "./recipes.js";
import { makePreparationFolder } from "./store.js";
import type { DatasetManifest } from "./store.js";

export interface RebuildOptions {
  /** Folder of the store. */
  readonly folder: string;
  readonly entry: CatalogueEntry;
  /** Files of the source that are here already; absent: those of the hub. */
  readonly sources?: readonly string[];
  readonly hub: Hub;
  /** Default: what the paper is believed to have used. */
  readonly minSamples?: number;
  readonly onProgress?: (numBytes: number) => void;
}

/**
 * Rebuilds and installs: the file of all clients without small users, and all users in `….unfiltered.json` beside it.
 * Throws DOWNLOAD_FAILED, DATASET_INVALID, CONFIG_INVALID for a limit that no user reaches.
 */
export async function rebuildDataset({ folder, entry, sources, hub, minSamples, onProgress }: RebuildOptions): Promise<DatasetManifest> {
  const recipe = recipeOf(entry.name);
  const { files, source } = sources === undefined ? await fetchSources(hub, entry.name) : { files: sources, source: sources.join(", ") };
  const prepared = await makePreparationFolder(folder, entry.name);
  try {
    const { numProblems, problems } = await importData({
      files,
      map: new Map(),
      keep: recipe.keep,
      userKey: "user",
      transform: { columns: recipe.columns, apply: recipe.apply },
      out: join(prepared, clientsName(entry)),
      minSamples: minSamples ?? recipe.minSamples,
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    return await finishInstall(folder, entry, prepared, { source, warnings: unusable(numProblems, problems) });
  } finally {
    await rm(prepared, { recursive: true, force: true });
  }
}

export interface UnfilteredOptions extends Pick<RebuildOptions, "folder" | "entry" | "minSamples" | "onProgress"> {
  /** File of all users, or a folder or zip archive that it is in. */
  readonly from: string;
}

/**
 * Installs out of the authors' release without a limit on users' sizes: the file of all clients without small users, and all users in
 * `….unfiltered.json` beside it. Throws DATASET_INVALID, IO_FAILED, CONFIG_INVALID for a limit that no user reaches.
 */
export async function installUnfiltered({ folder, entry, from, minSamples, onProgress }: UnfilteredOptions): Promise<DatasetManifest> {
  const { keep, minSamples: usual } = recipeOf(entry.name);
  const prepared = await makePreparationFolder(folder, entry.name);
  const unpacked = `${prepared}.source`;
  try {
    const file = await findOne(from, unpacked, (paths) => findUnfilteredFiles(entry, paths));
    const { numProblems, problems } = await importData({
      files: [file],
      map: new Map(),
      keep,
      out: join(prepared, clientsName(entry)),
      minSamples: minSamples ?? usual,
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    return await finishInstall(folder, entry, prepared, { source: resolve(from), warnings: unusable(numProblems, problems) });
  } finally {
    await rm(prepared, { recursive: true, force: true });
    await rm(unpacked, { recursive: true, force: true });
  }
}

function unusable(numProblems: number, [first]: readonly ImportProblem[]): string[] {
  return first === undefined ? [] : [`${String(numProblems)} records of the source cannot be used, the first: ${describeImportProblem(first)}`];
}

async function fetchSources(hub: Hub, name: string): Promise<{ readonly files: readonly string[]; readonly source: string }> {
  const { repo, files: pattern } = recipeOf(name);
  const snapshot = await openSnapshot(hub, repo);
  const wanted = snapshot.files.filter((file) => pattern.test(file)).sort();
  if (wanted.length === 0) {
    const received = `${String(snapshot.files.length)} other files`;
    throw problemError("DOWNLOAD_FAILED", { subject: repo, expected: "Parquet files of its training part", received, remedy: "Give the files with --source" });
  }
  const files: string[] = [];
  for (const file of wanted) files.push((await fetchHubFile(hub, snapshot, file)).path);
  return { files, source: `${repo} at ${snapshot.commit}` };
}
