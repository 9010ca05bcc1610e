/**
 * Unpacks chosen entries of a zip archive into a folder. The list of entries is checked as a whole first: one entry that would leave
 * the folder, a link, an encrypted one, or sizes that no data set has, and nothing is unpacked at all. What is really unpacked is
 * counted too, since archives can lie about sizes.
 */
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { openPromise } from "yauzl";
import type { Entry, ZipFile } from "yauzl";
import { FedllmError, problemError } from "../../errors.js";
import { DEFAULT_EXPANSION, limitExpansion } from "../stored-bytes.js";
import type { ExpansionLimits } from "../stored-bytes.js";

const MAX_ENTRIES = 100_000;
const FILE_TYPE_MASK = 0o170000;
const LINK_TYPE = 0o120000;
const ENCRYPTED_FLAG = 1;

/** A file in an archive. */
export interface ArchiveEntry {
  /** With forward slashes. */
  readonly path: string;
  readonly numBytes: number;
}

/**
 * Unpacks what `choose` picks from the files of the archive, under the names it gives them, which are paths inside `folder`.
 * Returns the names in the order of the archive. Throws DATASET_INVALID for archives that are damaged or not safe, IO_FAILED.
 */
export async function unpackArchive(
  path: string,
  folder: string,
  choose: (entries: readonly ArchiveEntry[]) => ReadonlyMap<string, string>,
  limits: ExpansionLimits = DEFAULT_EXPANSION,
): Promise<readonly string[]> {
  const archive = await openArchive(path);
  try {
    const entries = await listEntries(archive, path, limits);
    const chosen = choose(entries.map(({ fileName, uncompressedSize }) => ({ path: fileName, numBytes: uncompressedSize })));
    const written: string[] = [];
    let numLeft = limits.maxBytes;
    for (const entry of entries) {
      const name = chosen.get(entry.fileName);
      if (name === undefined) continue;
      numLeft -= await unpackEntry(archive, entry, { subject: `${path}, entry ${JSON.stringify(entry.fileName)}`, target: join(folder, name), limits: { ...limits, maxBytes: numLeft } });
      written.push(name);
    }
    return written;
  } catch (error) {
    throw asArchiveError(error, path);
  } finally {
    archive.close();
  }
}

async function openArchive(path: string): Promise<ZipFile> {
  return openPromise(path, { autoClose: false, lazyEntries: true, strictFileNames: true }).catch((error: unknown) => {
    throw asArchiveError(error, path);
  });
}

async function listEntries(archive: ZipFile, path: string, limits: ExpansionLimits): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  const names = new Set<string>();
  let numBytes = 0;
  for await (const entry of archive.eachEntry()) {
    const problem = problemOf(entry, names);
    if (problem !== undefined) throw unsafe(path, entry.fileName, problem);
    names.add(entry.fileName.toLowerCase());
    numBytes += entry.uncompressedSize;
    if (names.size > MAX_ENTRIES) throw unsafe(path, entry.fileName, `more than ${String(MAX_ENTRIES)} entries`);
    if (numBytes > limits.maxBytes) throw unsafe(path, entry.fileName, `more than ${String(limits.maxBytes)} bytes after unpacking`);
    if (!entry.fileName.endsWith("/")) entries.push(entry);
  }
  return entries;
}

/** Why an entry must not be unpacked; names that would leave the folder. */
function problemOf(entry: Entry, names: ReadonlySet<string>): string | undefined {
  const { fileName } = entry;
  const parts = fileName.split("/");
  if (fileName === "" || /^\/|^[a-z]:|\\|\0/iu.test(fileName) || parts.includes("..")) return "a name that leads out of the folder";
  if (((entry.externalFileAttributes >>> 16) & FILE_TYPE_MASK) === LINK_TYPE) return "a link";
  if ((entry.generalPurposeBitFlag & ENCRYPTED_FLAG) !== 0) return "an encrypted file";
  if (names.has(fileName.toLowerCase())) return "a second entry of this name";
  return undefined;
}

async function unpackEntry(
  archive: ZipFile,
  entry: Entry,
  { subject, target, limits }: { readonly subject: string; readonly target: string; readonly limits: ExpansionLimits },
): Promise<number> {
  await mkdir(dirname(target), { recursive: true });
  const stream: Readable = await archive.openReadStreamPromise(entry);
  const failures: Error[] = [];
  // It may fail before anybody reads it, which would end the program if nobody listened.
  stream.on("error", (error) => {
    failures.push(error);
  });
  let numBytes = 0;
  const counted = async function* () {
    for await (const piece of limitExpansion(stream as AsyncIterable<Uint8Array>, subject, () => entry.compressedSize, limits)) {
      numBytes += piece.length;
      yield piece;
    }
  };
  await pipeline(counted, createWriteStream(target, { flags: "wx" })).catch((error: unknown) => {
    // What went wrong first says more than that the stream is closed.
    throw error instanceof FedllmError ? error : (failures[0] ?? error);
  });
  if (failures[0] !== undefined) throw failures[0];
  return numBytes;
}

function unsafe(path: string, entry: string, problem: string): FedllmError {
  return problemError("DATASET_INVALID", {
    subject: `${path}, entry ${JSON.stringify(entry.slice(0, 200))}`,
    expected: "an archive of plain files inside its own folder",
    received: problem,
    remedy: "Nothing was unpacked",
  });
}

function asArchiveError(error: unknown, path: string): FedllmError {
  if (error instanceof FedllmError) return error;
  const received = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && "syscall" in error) return problemError("IO_FAILED", { subject: path, expected: "a readable archive, and room to unpack it", received }, error);
  return problemError("DATASET_INVALID", { subject: path, expected: "a whole zip archive of plain files", received, remedy: "Nothing of it is used" }, error);
}
