/**
 * The clients' own states as files, one per state, named by the SHA-256 of all their bytes: `<hash>.bin`. Layout, all
 * numbers little-endian: 8 bytes magic, u32 version, u32 header length, header (JSON, UTF-8), float32 data.
 * A state that did not change keeps its file, so a round writes the states of its cohort only, and in memory a stored
 * state is no more than its hash and its numbers: its vectors are read whenever they are asked for.
 * Which file belongs to which client, and which are still needed, is the checkpoint's part (checkpoint.ts).
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { FedllmError, problemError } from "../errors.js";
import { hasErrorCode, makeFolder, removeTemporaryFiles, syncFolder, writeFileAtomic } from "../util/atomic-file.js";
import { assertExactNumbers, decodeStateHeader, type StateHeader } from "./checkpoint-header.js";
import type { NamedState } from "./protocol.js";

const MAGIC = Buffer.from("FEDLLMCS", "ascii");
const VERSION = 1;
/** Magic, version, header length. */
const PREFIX_BYTES = 16;
const NAME_PATTERN = /^([0-9a-f]{64})\.bin$/;

interface StoredState {
  readonly hash: string;
  readonly state: NamedState;
}

/** The files of one arm in a folder of its own, made when there is a first state. */
export class ClientStateFiles {
  readonly #folder: string;
  /** By the state that was stored, and by the one that stands for the file. */
  readonly #known = new WeakMap<NamedState, StoredState>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Writes the state durably unless it came from a file here; the hash of its file. Throws IO_FAILED. */
  async store(state: NamedState): Promise<string> {
    const known = this.#known.get(state);
    if (known !== undefined) return known.hash;
    const parts = encodeState(state);
    const hasher = createHash("sha256");
    for (const part of parts) hasher.update(part);
    const hash = hasher.digest("hex");
    await makeFolder(this.#folder);
    await writeFileAtomic(this.#pathOf(hash), parts);
    this.#known.set(state, { hash, state: this.#fromFile(hash, state.numbers) });
    return hash;
  }

  /** The state that stands for the file of a stored one; any other state as it is. */
  release(state: NamedState): NamedState {
    return this.#known.get(state)?.state ?? state;
  }

  /** Checks a file and gives the state that stands for it. Throws CHECKPOINT_CORRUPT or IO_FAILED. */
  async open(hash: string): Promise<NamedState> {
    const path = this.#pathOf(hash);
    const bytes = await readFile(path).catch((error: unknown) => {
      throw unreadable(path, error);
    });
    return this.#fromFile(hash, parseState(bytes, hash, path).numbers);
  }

  /** Removes the files of all other states, and what killed writers left. */
  async removeAllBut(hashes: ReadonlySet<string>): Promise<void> {
    const names = await this.#names();
    const removed = names.filter((name) => !hashes.has(NAME_PATTERN.exec(name)?.[1] ?? ""));
    for (const name of removed) await rm(join(this.#folder, name), { force: true });
    if (removed.length > 0) await syncFolder(this.#folder);
  }

  /** Removes what killed writers left half-written. */
  async removePartial(): Promise<void> {
    if ((await this.#names()).length > 0) await removeTemporaryFiles(this.#folder);
  }

  #fromFile(hash: string, numbers: NamedState["numbers"]): NamedState {
    const path = this.#pathOf(hash);
    const state: NamedState = {
      numbers,
      get arrays() {
        return readArrays(path, hash);
      },
    };
    this.#known.set(state, { hash, state });
    return state;
  }

  #pathOf(hash: string): string {
    return join(this.#folder, `${hash}.bin`);
  }

  async #names(): Promise<readonly string[]> {
    try {
      return await readdir(this.#folder);
    } catch (error) {
      if (hasErrorCode(error, "ENOENT")) return [];
      throw new FedllmError("IO_FAILED", `cannot read the folder ${this.#folder}`, { cause: error });
    }
  }
}

/** The bytes of the numbers; a view on a little-endian machine, a swapped copy elsewhere. */
export function littleEndianBytes(vector: Float32Array): Buffer {
  const view = Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);
  return endianness() === "LE" ? view : Buffer.from(view).swap32();
}

function encodeState({ arrays, numbers }: NamedState): readonly Uint8Array[] {
  assertExactNumbers(numbers);
  const vectors = Object.entries(arrays);
  const header: StateHeader = { numbers, vectors: vectors.map(([name, { length }]) => ({ name, length })) };
  const headerBytes = Buffer.from(JSON.stringify(header), "utf8");
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(VERSION, 8);
  prefix.writeUInt32LE(headerBytes.length, 12);
  return [prefix, headerBytes, ...vectors.map(([, vector]) => littleEndianBytes(vector))];
}

/** Blocks for as long as one file takes: a state is read once per client and round, before it trains. */
function readArrays(path: string, hash: string): NamedState["arrays"] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  return parseState(bytes, hash, path).arrays;
}

function parseState(bytes: Buffer, hash: string, path: string): NamedState {
  const actual = createHash("sha256").update(bytes).digest("hex");
  if (actual !== hash) throw corrupt(path, `SHA-256 ${hash}`, actual);
  // The hash fits, so what follows guards against a foreign writer or another release.
  if (bytes.length < PREFIX_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC) || bytes.readUInt32LE(8) !== VERSION) {
    throw corrupt(path, `a client's state of version ${String(VERSION)}`, "another file");
  }
  const dataStart = PREFIX_BYTES + bytes.readUInt32LE(12);
  const header = decodeStateHeader(bytes.toString("utf8", PREFIX_BYTES, dataStart));
  if (header === undefined) throw corrupt(path, "a complete header", "one that does not parse");
  const numValues = header.vectors.reduce((sum, { length }) => sum + length, 0);
  if (dataStart + numValues * 4 !== bytes.length) {
    throw corrupt(path, `${String(numValues)} numbers of data`, `${String(bytes.length - dataStart)} bytes`);
  }
  const arrays = new Map<string, Float32Array>();
  let position = dataStart;
  for (const { name, length } of header.vectors) {
    const end = position + length * 4;
    // A copy, because a Float32Array has to start at a multiple of four.
    const copy = Buffer.from(new ArrayBuffer(length * 4));
    bytes.copy(copy, 0, position, end);
    if (endianness() === "BE") copy.swap32();
    arrays.set(name, new Float32Array(copy.buffer, 0, length));
    position = end;
  }
  return { arrays: Object.fromEntries(arrays), numbers: header.numbers };
}

function unreadable(path: string, cause: unknown): FedllmError {
  return hasErrorCode(cause, "ENOENT")
    ? corrupt(path, "an existing file", "none", cause)
    : new FedllmError("IO_FAILED", `cannot read ${path}`, { cause });
}

function corrupt(path: string, expected: string, received: string, cause?: unknown): FedllmError {
  return problemError("CHECKPOINT_CORRUPT", { subject: `client state ${path}`, expected, received }, cause);
}
