/**
 * Unpacks chosen files of a tar archive (ustar and its GNU and pax kin; also gzipped, as .tar.gz) into a folder, as a stream: an archive of any
 * size takes the memory of a piece. Only plain files are taken, under names that the caller gives, so that no name and no link of the
 * archive can lead anywhere.
 */
import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { newStoredFile, readTextBytes } from "../../data/stored-bytes.js";
import { FedllmError, problemError } from "../../errors.js";

const BLOCK_BYTES = 512;
const CHECKSUM_START = 148;
const CHECKSUM_END = 156;
const TYPE_AT = 156;
/** Longest name that a header of its own may carry. */
const MAX_NAME_BYTES = 65_536;
const MAX_ENTRIES = 100_000;
const LIMITS = { maxBytes: 8 * 2 ** 30, maxRatio: 200 };

interface Header {
  readonly name: string;
  readonly numBytes: number;
  /** "0": plain file, "5": folder, "L" and "x": name of the next entry, … */
  readonly type: string;
}

/** Bytes of a stream, asked for by number. */
class Source {
  private readonly pieces: AsyncIterator<Uint8Array>;
  private rest: Uint8Array = new Uint8Array(0);

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.pieces = pieces[Symbol.asyncIterator]();
  }

  /** The next bytes, at least one and at most so many; undefined at the end. */
  async take(most: number): Promise<Uint8Array | undefined> {
    while (this.rest.length === 0) {
      const next = await this.pieces.next();
      if (next.done === true) return undefined;
      this.rest = next.value;
    }
    const taken = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(taken.length);
    return taken;
  }

  /** Hands exactly so many bytes on, piece by piece; false: the stream ended before. */
  async pass(numBytes: number, use: (piece: Uint8Array) => Promise<void> | void): Promise<boolean> {
    for (let left = numBytes; left > 0; ) {
      const piece = await this.take(left);
      if (piece === undefined) return false;
      await use(piece);
      left -= piece.length;
    }
    return true;
  }

  /** Exactly so many bytes; undefined: the stream ended before. */
  async exactly(numBytes: number): Promise<Buffer | undefined> {
    const pieces: Uint8Array[] = [];
    return (await this.pass(numBytes, (piece) => void pieces.push(piece))) ? Buffer.concat(pieces) : undefined;
  }

  async close(): Promise<void> {
    await this.pieces.return?.();
  }
}

/**
 * Unpacks the files for which `nameFor` gives a name, a path inside `folder` with forward slashes; returns their paths in the order of
 * the archive. Throws DATASET_INVALID for a damaged archive and for two files of one name, IO_FAILED.
 */
export async function unpackTar(path: string, folder: string, nameFor: (entry: string) => string | undefined): Promise<readonly string[]> {
  const source = new Source(readTextBytes(path, newStoredFile(), LIMITS));
  try {
    return await unpackEntries(source, path, (entry) => {
      const name = nameFor(entry);
      return name === undefined ? undefined : join(folder, name);
    });
  } catch (error) {
    if (error instanceof FedllmError) throw error;
    throw new FedllmError("IO_FAILED", `cannot unpack ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    await source.close();
  }
}

async function unpackEntries(source: Source, path: string, targetFor: (entry: string) => string | undefined): Promise<readonly string[]> {
  const written = new Set<string>();
  let longName: string | undefined;
  for (let numEntries = 0; numEntries <= MAX_ENTRIES; numEntries++) {
    const block = await source.exactly(BLOCK_BYTES);
    if (block === undefined) throw damaged(path, "an end in the middle");
    if (block.every((byte) => byte === 0)) return [...written];
    const header = readHeader(block, path);
    if (header.type === "L" || header.type === "x") {
      longName = nameOfNext(header, await readNameData(source, header, path)) ?? longName;
      continue;
    }
    const target = header.type === "0" ? targetFor(longName ?? header.name) : undefined;
    longName = undefined;
    if (target !== undefined && written.has(target)) throw damaged(path, `two files for ${target}`);
    await (target === undefined ? skip(source, header.numBytes, path) : writeEntry(source, header.numBytes, { path, target }));
    if (target !== undefined) written.add(target);
  }
  throw damaged(path, `more than ${String(MAX_ENTRIES)} entries`);
}

function readHeader(block: Buffer, path: string): Header {
  let sum = 0;
  for (const [index, byte] of block.entries()) sum += index >= CHECKSUM_START && index < CHECKSUM_END ? 0x20 : byte;
  if (sum !== parseOctal(block.subarray(CHECKSUM_START, CHECKSUM_END))) throw damaged(path, "a header with a wrong sum");
  const numBytes = parseOctal(block.subarray(124, 136));
  if (numBytes === undefined) throw damaged(path, "an entry without a size");
  const isUstar = block.toString("latin1", 257, 262) === "ustar";
  const prefix = isUstar && block.toString("latin1", 257, 265) !== "ustar  \0" ? textAt(block, 345, 500) : "";
  const name = textAt(block, 0, 100);
  const type = block.toString("latin1", TYPE_AT, TYPE_AT + 1);
  return { name: prefix === "" ? name : `${prefix}/${name}`, numBytes, type: type === "\0" ? "0" : type };
}

async function readNameData(source: Source, { numBytes }: Header, path: string): Promise<Buffer> {
  if (numBytes > MAX_NAME_BYTES) throw damaged(path, `a name of ${String(numBytes)} bytes`);
  const data = await source.exactly(paddedLength(numBytes));
  if (data === undefined) throw damaged(path, "an end in the middle");
  return data.subarray(0, numBytes);
}

/** A GNU long name is the data itself; of pax records (`<length> key=value\n`) `path` counts. */
function nameOfNext({ type }: Header, data: Buffer): string | undefined {
  const text = data.toString("utf8");
  return type === "L" ? text.replace(/\0.*$/su, "") : /(?:^|\n)\d+ path=([^\n]*)\n/u.exec(text)?.[1];
}

async function skip(source: Source, numBytes: number, path: string): Promise<void> {
  if (!(await source.pass(paddedLength(numBytes), () => undefined))) throw damaged(path, "an end in the middle");
}

async function writeEntry(source: Source, numBytes: number, { path, target }: { readonly path: string; readonly target: string }): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const handle = await open(target, "wx");
  try {
    const isWhole = (await source.pass(numBytes, (piece) => handle.writeFile(piece))) && (await source.pass(paddedLength(numBytes) - numBytes, () => undefined));
    if (!isWhole) throw damaged(path, "an end in the middle");
  } finally {
    await handle.close();
  }
}

/** Data fills whole blocks. */
function paddedLength(numBytes: number): number {
  return Math.ceil(numBytes / BLOCK_BYTES) * BLOCK_BYTES;
}

function parseOctal(bytes: Buffer): number | undefined {
  const text = bytes.toString("latin1").replace(/[\0 ]+$/u, "").trim();
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

function textAt(block: Buffer, start: number, end: number): string {
  const bytes = block.subarray(start, end);
  const length = bytes.indexOf(0);
  return bytes.toString("utf8", 0, length < 0 ? bytes.length : length);
}

function damaged(path: string, received: string): FedllmError {
  return problemError("DATASET_INVALID", { subject: path, expected: "a whole tar archive", received, remedy: "Nothing of it is used" });
}
