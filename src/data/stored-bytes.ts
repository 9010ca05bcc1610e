/**
 * Reads files as streams of text bytes: plain or gzipped, hashed as they are stored, and never unpacked into more than the named
 * limits allow. Lower errors become DATASET_INVALID or IO_FAILED that name the file.
 */
import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { problemError } from "../errors.js";

/** How much compressed data may grow. */
export interface ExpansionLimits {
  /** Most bytes after unpacking. */
  readonly maxBytes: number;
  /** Most bytes after unpacking for each stored byte, once `FREE_BYTES` have been unpacked. */
  readonly maxRatio: number;
}

/** 64 GiB in all; text of real data sets shrinks by less than 20 times, the format allows about 1000. */
export const DEFAULT_EXPANSION: ExpansionLimits = { maxBytes: 64 * 2 ** 30, maxRatio: 200 };
/** Small files may shrink by any ratio: what they can fill is harmless. */
const FREE_BYTES = 16 * 2 ** 20;
const PIECE_BYTES = 256 * 1024;

/** A file as it is read: its bytes so far, as stored. */
export interface StoredFile {
  readonly hash: Hash;
  /** Bytes read from the disk so far. */
  numBytes: number;
}

/** A file whose bytes have not been read yet. */
export function newStoredFile(): StoredFile {
  return { hash: createHash("sha256"), numBytes: 0 };
}

/** The text bytes of a file in pieces; a name that ends with `.gz` means gzip. Throws DATASET_INVALID and IO_FAILED. */
export async function* readTextBytes(path: string, file: StoredFile, limits: ExpansionLimits = DEFAULT_EXPANSION): AsyncGenerator<Uint8Array> {
  try {
    const stored = readStored(path, file);
    yield* /\.gz$/i.test(path) ? limitExpansion(decompress(stored), path, () => file.numBytes, limits) : stored;
  } catch (error) {
    throw toReadError(path, error);
  }
}

async function* readStored(path: string, file: StoredFile): AsyncGenerator<Uint8Array> {
  for await (const piece of createReadStream(path, { highWaterMark: PIECE_BYTES }) as AsyncIterable<Buffer>) {
    file.hash.update(piece);
    file.numBytes += piece.length;
    yield piece;
  }
}

async function* decompress(stored: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = Readable.from(stored);
  const gunzip = createGunzip({ chunkSize: PIECE_BYTES });
  source.on("error", (error) => gunzip.destroy(error));
  try {
    yield* source.pipe(gunzip) as AsyncIterable<Buffer>;
    // Zeros after the end of the compressed data are allowed; they must still be read for the hash of the file.
    source.unpipe(gunzip).resume();
    await finished(source);
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}

/** Passes pieces on until they are more than the limits allow. `numStored` says how many stored bytes they came from. Throws DATASET_INVALID. */
export async function* limitExpansion(
  pieces: AsyncIterable<Uint8Array>,
  subject: string,
  numStored: () => number,
  { maxBytes, maxRatio }: ExpansionLimits,
): AsyncGenerator<Uint8Array> {
  let numBytes = 0;
  for await (const piece of pieces) {
    numBytes += piece.length;
    if (numBytes > maxBytes) {
      throw problemError("DATASET_INVALID", { subject, expected: `at most ${String(maxBytes)} bytes after unpacking`, received: "more" });
    }
    if (numBytes > FREE_BYTES && numBytes > maxRatio * numStored()) {
      throw problemError("DATASET_INVALID", {
        subject,
        expected: `data that unpacking makes at most ${String(maxRatio)} times larger`,
        received: `${String(numBytes)} bytes out of ${String(numStored())}`,
        remedy: "No data set shrinks like that: this is an archive made to fill memory or disk",
      });
    }
    yield piece;
  }
}

/** Passes UTF-8 text on as it is, cut between characters. Throws DATASET_INVALID with the byte where it is not UTF-8. */
export async function* requireUtf8(pieces: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  let rest: Uint8Array = new Uint8Array(0);
  let offset = 0;
  for await (const piece of pieces) {
    const joined = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    const whole = joined.subarray(0, joined.length - openTail(joined));
    checkUtf8(whole, path, offset);
    rest = joined.subarray(whole.length);
    offset += whole.length;
    if (whole.length > 0) yield whole;
  }
  checkUtf8(rest, path, offset);
}

function checkUtf8(bytes: Uint8Array, path: string, offset: number): void {
  if (isUtf8(bytes)) return;
  throw problemError("DATASET_INVALID", {
    subject: `${path}, byte ${String(offset + findInvalidUtf8(bytes))}`,
    expected: "UTF-8 text",
    received: "a byte sequence that is not UTF-8",
    remedy: "Convert the file, for example with iconv",
  });
}

/** Bytes at the end that begin a character whose rest is still to come. */
function openTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? back : 0;
  }
  return 0;
}

/** Position of the first byte that begins no valid sequence: where decoding had to insert U+FFFD. */
export function findInvalidUtf8(bytes: Uint8Array): number {
  const original = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const repaired = Buffer.from(original.toString("utf8"), "utf8");
  let different = 0;
  while (different < original.length && original[different] === repaired[different]) different++;
  // An invalid sequence may share its first bytes with the replacement EF BF BD.
  for (let start = Math.max(0, different - 2); start < different; start++) {
    if (repaired[start] === 0xef && repaired[start + 1] === 0xbf && repaired[start + 2] === 0xbd) return start;
  }
  return different;
}

function toReadError(path: string, error: unknown): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (typeof code !== "string" || !(error instanceof Error)) return error;
  if (code.startsWith("Z_")) {
    return problemError("DATASET_INVALID", { subject: path, expected: "a whole gzip file", received: `damaged data (${error.message})` }, error);
  }
  if ("syscall" in error) {
    return problemError("IO_FAILED", { subject: path, expected: "a readable file", received: error.message }, error);
  }
  return error;
}
