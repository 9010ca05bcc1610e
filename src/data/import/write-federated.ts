/**
 * Writes federated files out of a spool: `{user: [samples]}` in the order of the users, or JSON Lines with a user field, by the
 * file's name; `.gz` compresses. Memory is bounded by a few megabytes; the file is there completely or not at all.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { gzipSync } from "node:zlib";
import { problemError } from "../../errors.js";
import { makeFolder, writeFileAtomic } from "../../util/atomic-file.js";
import { DEFAULT_USER_FIELD } from "../dataset.js";
import type { SpooledUser, UserSpool } from "./user-spool.js";

const PART_BYTES = 4 * 2 ** 20;
const NEWLINE = Buffer.from("\n");
const COMMA = Buffer.from(",\n");

/** A file that was written. */
export interface WrittenDataset {
  readonly path: string;
  readonly numClients: number;
  readonly numSamples: number;
  /** As stored. */
  readonly numBytes: number;
  /** Of the file as stored, in hexadecimal digits. */
  readonly sha256: string;
}

/** Refuses a path before any work is done. Throws CONFIG_INVALID for other names than federated files have, and for files that are there. */
export function checkOutputPath(path: string, isOverwriting: boolean): void {
  if (!/\.(json|jsonl)(\.gz)?$/i.test(path)) {
    throw problemError("CONFIG_INVALID", { subject: "--out", expected: "a name that ends with .json or .jsonl, also with .gz", received: path });
  }
  if (isOverwriting || !existsSync(path)) return;
  throw problemError("CONFIG_INVALID", { subject: "--out", expected: "a new file", received: `${path}, which exists`, remedy: "Replace it with --overwrite" });
}

/** Writes the chosen users' lines, each a sample's JSON object, atomically. Users without lines are left out. Throws IO_FAILED. */
export async function writeFederated(path: string, spool: UserSpool, isChosen: (user: SpooledUser) => boolean): Promise<WrittenDataset> {
  const hash = createHash("sha256");
  const totals = { numClients: 0, numSamples: 0, numBytes: 0 };
  const users = spool.linesByUser((user) => user.numLines > 0 && isChosen(user));
  const isLines = /\.jsonl(\.gz)?$/i.test(path);
  const isCompressed = /\.gz$/i.test(path);
  function* parts(): Generator<Uint8Array> {
    for (const part of joinPieces(isLines ? linePieces(users, totals) : objectPieces(users, totals))) {
      // A gzip file may consist of many; each part is one.
      const stored = isCompressed ? gzipSync(part) : part;
      hash.update(stored);
      totals.numBytes += stored.length;
      yield stored;
    }
  }
  await makeFolder(dirname(path));
  await writeFileAtomic(path, parts());
  return { path, ...totals, sha256: hash.digest("hex") };
}

type SpooledLines = ReturnType<UserSpool["linesByUser"]>;
interface Counts {
  numClients: number;
  numSamples: number;
}

function* objectPieces(users: SpooledLines, counts: Counts): Generator<Buffer> {
  yield Buffer.from("{");
  for (const { user, lines } of users) {
    yield Buffer.from(`${counts.numClients === 0 ? "" : ","}\n${JSON.stringify(user.id)}: [\n`);
    counts.numClients++;
    let isFirst = true;
    for (const line of lines) {
      if (!isFirst) yield COMMA;
      isFirst = false;
      counts.numSamples++;
      yield line;
    }
    yield Buffer.from("\n]");
  }
  yield Buffer.from("\n}\n");
}

function* linePieces(users: SpooledLines, counts: Counts): Generator<Buffer> {
  for (const { user, lines } of users) {
    counts.numClients++;
    const opening = Buffer.from(`{${JSON.stringify(DEFAULT_USER_FIELD)}:${JSON.stringify(user.id)},`);
    for (const line of lines) {
      counts.numSamples++;
      // Every line is an object with fields: its bracket gives way to one with the user in front.
      yield opening;
      yield line.subarray(1);
      yield NEWLINE;
    }
  }
}

/** Pieces together in parts of a few megabytes. */
function* joinPieces(pieces: Iterable<Buffer>): Generator<Buffer> {
  let waiting: Buffer[] = [];
  let numBytes = 0;
  for (const piece of pieces) {
    waiting.push(piece);
    numBytes += piece.length;
    if (numBytes < PART_BYTES) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    numBytes = 0;
  }
  if (numBytes > 0) yield Buffer.concat(waiting);
}
