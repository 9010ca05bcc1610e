/** Fetches question sets from their published addresses, or takes files that somebody has already. What is known of their bytes is compared. */
import { copyFile, mkdir, readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { FedllmError, problemError } from "../../errors.js";
import { makePreparationFolder } from "../../data/catalogue/store.js";
import { downloadFile } from "../../data/download/download.js";
import type { DownloadOptions } from "../../data/download/download.js";
import type { PublishedFile, QuestionSet } from "./catalogue.js";
import { countQuestions } from "./count.js";
import { copyChoiceFiles, isArchive, unpackChoiceFiles } from "./mmlu-files.js";
import { installQuestionFolder } from "./store.js";
import type { QuestionManifest } from "./store.js";

export interface FetchOptions extends Pick<DownloadOptions, "network" | "token" | "onProgress" | "pauseMs" | "maxAttempts"> {
  readonly dataDir: string;
  readonly set: QuestionSet;
  /** Another address of the set's only file, or the folder that all its files lie in; the bytes must be the published ones. */
  readonly url?: string;
}

type FileRecord = QuestionManifest["files"][number];

/**
 * Downloads a set and installs it. A broken download is gone on with. Throws DOWNLOAD_FAILED for other bytes than the published ones,
 * offline and for what servers say, DATASET_INVALID, IO_FAILED.
 */
export async function fetchQuestionSet({ dataDir, set, url, ...options }: FetchOptions): Promise<QuestionManifest> {
  const downloads = join(dataDir, "downloads", "questions", set.name);
  const files: FileRecord[] = [];
  for (const file of set.files) {
    const { sha256, numBytes } = file;
    await downloadFile({ ...options, url: addressOf(set, file, url), target: join(downloads, ...file.name.split("/")), sha256, numBytes });
    files.push({ name: file.name, sha256, numBytes });
  }
  const source = url ?? set.files.map((file) => file.url).join(", ");
  const manifest = await prepare(dataDir, set, { source, files, fill: (prepared) => fillFrom(set, downloads, prepared) });
  await rm(downloads, { recursive: true, force: true });
  return manifest;
}

function addressOf({ files }: QuestionSet, file: PublishedFile, url: string | undefined): string {
  if (url === undefined) return file.url;
  return files.length === 1 ? url : `${url.replace(/\/+$/, "")}/${file.name}`;
}

/**
 * Installs a set from a file, a folder with its files (by their published names or paths), or, for archives, an archive or the unpacked
 * folder. Other bytes than the published ones give a warning. Throws DATASET_INVALID, IO_FAILED.
 */
export async function installQuestionSet(dataDir: string, set: QuestionSet, from: string): Promise<QuestionManifest> {
  const isFolder = await stat(from).then(
    (info) => info.isDirectory(),
    (error: unknown) => {
      throw problemError("IO_FAILED", { subject: from, expected: `the files of ${set.name}`, received: error instanceof Error ? error.message : String(error) }, error);
    },
  );
  const source = resolve(from);
  if (set.isArchive === true) {
    const files = isFolder ? [] : [await recordOf(basename(from), from)];
    return prepare(dataDir, set, { source, files, fill: (prepared) => (isFolder ? copyChoiceFiles(from, prepared) : fillFromArchive(from, prepared)) });
  }
  const found = await findFiles(set, from, isFolder);
  const files = await Promise.all(found.map(({ file, path }) => recordOf(file.name, path)));
  return prepare(dataDir, set, {
    source,
    files,
    fill: async (prepared) => {
      for (const { file, path } of found) await copyTo(path, prepared, file.name);
    },
  });
}

async function findFiles(set: QuestionSet, from: string, isFolder: boolean): Promise<readonly { readonly file: PublishedFile; readonly path: string }[]> {
  const [first] = set.files;
  if (!isFolder && first !== undefined && set.files.length === 1) return [{ file: first, path: from }];
  const folder = isFolder ? from : dirname(from);
  const names = await readdir(folder, { recursive: true });
  return set.files.map((file) => {
    const wanted = [file.name, basename(file.name)];
    const path = names.find((name) => wanted.includes(name.replaceAll("\\", "/")));
    if (path !== undefined) return { file, path: join(folder, path) };
    throw problemError("DATASET_INVALID", { subject: from, expected: `the file ${file.name} in the folder`, received: `${String(names.length)} other files` });
  });
}

async function prepare(
  dataDir: string,
  set: QuestionSet,
  { source, files, fill }: { readonly source: string; readonly files: readonly FileRecord[]; readonly fill: (prepared: string) => Promise<void> },
): Promise<QuestionManifest> {
  const prepared = await makePreparationFolder(dataDir, `questions-${set.name}`);
  try {
    await fill(prepared);
    const numItems = await countQuestions(set.name, prepared);
    const warnings = [...files.flatMap((file) => differenceOf(set, file)), ...(numItems === set.numItems ? [] : [`${String(set.numItems)} questions are published, these are ${String(numItems)}`])];
    const manifest: QuestionManifest = { name: set.name, source, installedAt: new Date().toISOString(), licence: set.licence.name, numItems, files: [...files], warnings };
    await installQuestionFolder(dataDir, set, prepared, manifest);
    return manifest;
  } catch (error) {
    if (error instanceof FedllmError) throw error;
    throw new FedllmError("IO_FAILED", `cannot install ${set.name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    await rm(prepared, { recursive: true, force: true });
  }
}

function differenceOf({ files }: QuestionSet, { name, sha256 }: FileRecord): string[] {
  const published = files.find((file) => file.name === name) ?? files[0];
  return published === undefined || published.sha256 === sha256 ? [] : [`${name} is another file than the published one: SHA-256 ${sha256}`];
}

async function fillFrom(set: QuestionSet, folder: string, prepared: string): Promise<void> {
  for (const { name } of set.files) {
    const path = join(folder, ...name.split("/"));
    await (set.isArchive === true ? fillFromArchive(path, prepared) : copyTo(path, prepared, name));
  }
}

async function fillFromArchive(path: string, prepared: string): Promise<void> {
  if (!isArchive(path)) throw problemError("DATASET_INVALID", { subject: path, expected: "a folder, or a .tar, .tar.gz or .zip archive", received: "another name" });
  await unpackChoiceFiles(path, prepared);
}

async function copyTo(path: string, folder: string, name: string): Promise<void> {
  const target = join(folder, ...name.split("/"));
  await mkdir(dirname(target), { recursive: true });
  await copyFile(path, target);
}

async function recordOf(name: string, path: string): Promise<FileRecord> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path), hash);
    return { name, sha256: hash.digest("hex"), numBytes: (await stat(path)).size };
  } catch (error) {
    throw new FedllmError("IO_FAILED", `cannot read ${path}`, { cause: error });
  }
}
