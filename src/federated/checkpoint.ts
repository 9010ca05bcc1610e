/**
 * Snapshots as files, one per round, the last two kept: `checkpoint-<round>.bin`. Layout, all numbers little-endian:
 *   8 bytes magic, u32 version, u32 header length, header (JSON, UTF-8), float32 data, SHA-256 of all bytes before it.
 * The data are the server's vectors. The header lists round, fingerprints, the server's numbers, name and length of each
 * vector, and for each client with a state of its own the hash of that state's file (client-state-files.ts). Magic,
 * version and trailer keep their places in every version, so damage is told from a newer file.
 * Checkpoints share the files of states that did not change, so damage to one of these spoils all that name it.
 * A checkpoint is trusted only when its hash fits: a torn or flipped newest one gives way to the one before.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { open, readdir, rm, type FileHandle } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { FedllmError, problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { hasErrorCode, makeFolder, removeTemporaryFiles, syncFolder, writeFileAtomic } from "../util/atomic-file.js";
import { decodeHeader, encodeHeader, type CheckpointHeader } from "./checkpoint-header.js";
import { ClientStateFiles, littleEndianBytes } from "./client-state-files.js";
import type { FederationState, NamedState } from "./protocol.js";
import type { CheckpointSink, Snapshot } from "./records.js";

const MAGIC = Buffer.from("FEDLLMCP", "ascii");
const VERSION = 2;
/** Magic, version, header length. */
const PREFIX_BYTES = 16;
const HASH_BYTES = 32;
/** Above any real header (about 100 bytes per vector and client), below what could exhaust memory. */
const MAX_HEADER_BYTES = 64 * 1024 * 1024;
const READ_CHUNK_BYTES = 1024 * 1024;
const NUM_KEPT = 2;
const NAME_PATTERN = /^checkpoint-(\d{8})\.bin$/;
/** Folder of the clients' states beside the checkpoints. */
const CLIENT_STATES = "clients";

/** What a checkpoint must agree with before a run may go on from it. */
export interface CheckpointIdentity {
  /** Of everything in the configuration that changes results. */
  readonly configFingerprint: string;
  readonly layoutFingerprint: string;
}

export interface LoadedCheckpoint {
  readonly snapshot: Snapshot;
  /** Sentences for the user, for example that the newest file was damaged. */
  readonly warnings: readonly string[];
}

/** The checkpoints of one arm in a folder of its own (made when absent) inside a run's folder, whose run's lock the caller holds. */
export class CheckpointFolder implements CheckpointSink {
  readonly #folder: string;
  readonly #identity: CheckpointIdentity;
  readonly #clientStates: ClientStateFiles;

  constructor(folder: string, identity: CheckpointIdentity) {
    this.#folder = folder;
    this.#identity = identity;
    this.#clientStates = new ClientStateFiles(join(folder, CLIENT_STATES));
  }

  /**
   * Writes the snapshot durably, then removes all but it and the one before. Files of later rounds go too: the run was
   * taken up before them. Clients' states that no kept checkpoint names are removed as well. Throws IO_FAILED.
   */
  async save(snapshot: Snapshot): Promise<void> {
    await makeFolder(this.#folder);
    const newest = checkpointName(snapshot.round);
    const hashes = new Map<string, string>();
    for (const [id, client] of snapshot.state.clients) hashes.set(id, await this.#clientStates.store(client));
    await writeFileAtomic(join(this.#folder, newest), encode(snapshot, this.#identity, hashes));
    const names = await this.#names();
    const kept = names.slice(names.indexOf(newest)).slice(0, NUM_KEPT);
    const removed = names.filter((name) => !kept.includes(name));
    for (const name of removed) await rm(join(this.#folder, name), { force: true });
    if (removed.length > 0) await syncFolder(this.#folder);
    await this.#removeClientStates(hashes, kept.filter((name) => name !== newest));
  }

  /** The state as a file of its own, which the next checkpoint keeps if it names it. Throws IO_FAILED. */
  async stage(state: NamedState): Promise<NamedState> {
    await this.#clientStates.store(state);
    return this.#clientStates.release(state);
  }

  /** The same state, in which clients' states that were saved are read from their files when they are asked for. */
  release({ server, clients }: FederationState): FederationState {
    return { server, clients: new Map([...clients].map(([id, state]) => [id, this.#clientStates.release(state)])) };
  }

  /**
   * The newest good snapshot; undefined when there is no checkpoint at all. Throws CHECKPOINT_CORRUPT when there are
   * some but none is good, and CONFIG_INVALID when a good one belongs to another configuration, layout or version.
   */
  async load(): Promise<LoadedCheckpoint | undefined> {
    await makeFolder(this.#folder);
    await removeTemporaryFiles(this.#folder);
    await this.#clientStates.removePartial();
    const names = await this.#names();
    const warnings: string[] = [];
    for (const name of names) {
      const path = join(this.#folder, name);
      try {
        const snapshot = await this.#readSnapshot(path);
        if (warnings.length > 0) warnings.push(`Going on from the checkpoint of round ${String(snapshot.round)}.`);
        return { snapshot, warnings };
      } catch (error) {
        if (!(error instanceof FedllmError) || error.code !== "CHECKPOINT_CORRUPT") throw error;
        warnings.push(error.message);
      }
    }
    if (names.length === 0) return undefined;
    throw problemError("CHECKPOINT_CORRUPT", {
      subject: this.#folder,
      expected: "at least one undamaged checkpoint",
      received: warnings.join("; "),
      remedy: "Restore the folder from a copy, or start the run again in another folder",
    });
  }

  /** Checks the clients' states too: a checkpoint is good only with all of them. */
  async #readSnapshot(path: string): Promise<Snapshot> {
    const { header, server } = await readCheckpoint(path);
    checkIdentity(header, this.#identity, path);
    const clients = new Map<string, NamedState>();
    for (const { id, hash } of header.clients) clients.set(id, await this.#clientStates.open(hash));
    return { round: header.round, state: { server, clients } };
  }

  /** All but those of the newest checkpoint and of the other ones that are kept. */
  async #removeClientStates(newest: ReadonlyMap<string, string>, others: readonly string[]): Promise<void> {
    const needed = new Set(newest.values());
    for (const name of others) {
      for (const hash of await readClientHashes(join(this.#folder, name))) needed.add(hash);
    }
    await this.#clientStates.removeAllBut(needed);
  }

  /** Newest first. */
  async #names(): Promise<readonly string[]> {
    const names = await readdir(this.#folder);
    return names
      .filter((name) => NAME_PATTERN.test(name))
      .sort()
      .reverse();
  }
}

/** Rounds of the checkpoints in a folder, ascending; none where there is no folder. */
export function checkpointRounds(folder: string): number[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .flatMap((name) => Number.parseInt(NAME_PATTERN.exec(name)?.[1] ?? "", 10) || [])
    .sort((left, right) => left - right);
}

/**
 * The snapshot of one round as a reader sees it, whatever configuration it is of; changes nothing in the folder. Throws
 * CHECKPOINT_CORRUPT when it is damaged or gone.
 */
export async function readSnapshot(folder: string, round: number): Promise<Snapshot> {
  const { header, server } = await readCheckpoint(join(folder, checkpointName(round)));
  const states = new ClientStateFiles(join(folder, CLIENT_STATES));
  const clients = new Map<string, NamedState>();
  for (const { id, hash } of header.clients) clients.set(id, await states.open(hash));
  return { round: header.round, state: { server, clients } };
}

function checkpointName(round: number): string {
  assert(Number.isSafeInteger(round) && round >= 0 && round < 1e8, "the round of a checkpoint has at most 8 digits");
  return `checkpoint-${String(round).padStart(8, "0")}.bin`;
}

/** The parts of the file in order; nothing is copied but the header. */
function encode(
  snapshot: Snapshot,
  identity: CheckpointIdentity,
  clientHashes: ReadonlyMap<string, string>,
): Iterable<Uint8Array> {
  const header = encodeHeader(snapshot, identity, clientHashes);
  const vectors = Object.values(snapshot.state.server.arrays);
  const headerBytes = Buffer.from(JSON.stringify(header), "utf8");
  assert(headerBytes.length <= MAX_HEADER_BYTES, "the header of a checkpoint stays below its limit");
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(VERSION, 8);
  prefix.writeUInt32LE(headerBytes.length, 12);
  return withHash([prefix, headerBytes], vectors);
}

function* withHash(head: readonly Uint8Array[], vectors: readonly Float32Array[]): Generator<Uint8Array> {
  const hash = createHash("sha256");
  for (const part of head) {
    hash.update(part);
    yield part;
  }
  for (const vector of vectors) {
    const part = littleEndianBytes(vector);
    hash.update(part);
    yield part;
  }
  yield hash.digest();
}

interface CheckpointFile {
  readonly header: CheckpointHeader;
  readonly server: NamedState;
}

async function readCheckpoint(path: string): Promise<CheckpointFile> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "r");
    const { size } = await handle.stat();
    await verifyHash(handle, path, size);
    const { header, dataStart } = await readHeader(handle, path, size);
    return { header, server: await readServerState(handle, path, header, dataStart, size - HASH_BYTES) };
  } catch (error) {
    if (error instanceof FedllmError) throw error;
    if (hasErrorCode(error, "ENOENT")) throw corrupt(path, "an existing file", "none", error);
    throw new FedllmError("IO_FAILED", `cannot read ${path}`, { cause: error });
  } finally {
    await handle?.close();
  }
}

/** The files a checkpoint needs; none for one that is damaged, since nothing can be resumed from it. */
async function readClientHashes(path: string): Promise<readonly string[]> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "r");
    const { header } = await readHeader(handle, path, (await handle.stat()).size);
    return header.clients.map(({ hash }) => hash);
  } catch (error) {
    if (error instanceof FedllmError) return [];
    throw new FedllmError("IO_FAILED", `cannot read ${path}`, { cause: error });
  } finally {
    await handle?.close();
  }
}

async function verifyHash(handle: FileHandle, path: string, size: number): Promise<void> {
  if (size < PREFIX_BYTES + HASH_BYTES) throw corrupt(path, "a whole checkpoint", `${String(size)} bytes`);
  const hash = createHash("sha256");
  const end = size - HASH_BYTES;
  for (let position = 0; position < end; position += READ_CHUNK_BYTES) {
    hash.update(await readExactly(handle, path, position, Math.min(READ_CHUNK_BYTES, end - position)));
  }
  const stored = await readExactly(handle, path, end, HASH_BYTES);
  const actual = hash.digest();
  if (actual.equals(stored)) return;
  throw corrupt(path, `SHA-256 ${stored.toString("hex")}`, actual.toString("hex"));
}

async function readHeader(
  handle: FileHandle,
  path: string,
  size: number,
): Promise<{ header: CheckpointHeader; dataStart: number }> {
  const prefix = await readExactly(handle, path, 0, PREFIX_BYTES);
  if (!prefix.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw corrupt(path, "the magic of a checkpoint", JSON.stringify(prefix.toString("latin1", 0, MAGIC.length)));
  }
  const version = prefix.readUInt32LE(8);
  if (version !== VERSION) {
    throw problemError("CONFIG_INVALID", {
      subject: path,
      expected: `checkpoint version ${String(VERSION)}`,
      received: String(version),
      remedy: "Resume this run with the release of fedllm-native that wrote it",
    });
  }
  const length = prefix.readUInt32LE(12);
  if (length > MAX_HEADER_BYTES || PREFIX_BYTES + length > size - HASH_BYTES) {
    throw corrupt(path, "a header inside the file", `${String(length)} bytes`);
  }
  const text = (await readExactly(handle, path, PREFIX_BYTES, length)).toString("utf8");
  const header = decodeHeader(text);
  if (header === undefined) throw corrupt(path, "a complete header", "one that does not parse");
  return { header, dataStart: PREFIX_BYTES + length };
}

function checkIdentity(header: CheckpointHeader, identity: CheckpointIdentity, path: string): void {
  for (const name of ["configFingerprint", "layoutFingerprint"] as const) {
    if (header[name] === identity[name]) continue;
    throw problemError("CONFIG_INVALID", {
      subject: `${name} of ${path}`,
      expected: identity[name],
      received: header[name],
      remedy: "A run can only go on with the settings and the model it began with; start a new run in another folder",
    });
  }
}

async function readServerState(
  handle: FileHandle,
  path: string,
  header: CheckpointHeader,
  dataStart: number,
  dataEnd: number,
): Promise<NamedState> {
  const numValues = header.vectors.reduce((sum, { length }) => sum + length, 0);
  if (dataStart + numValues * 4 !== dataEnd) {
    throw corrupt(path, `${String(numValues)} numbers of data`, `${String(dataEnd - dataStart)} bytes`);
  }
  const arrays = new Map<string, Float32Array>();
  let position = dataStart;
  for (const { name, length } of header.vectors) {
    const bytes = await readExactly(handle, path, position, length * 4);
    if (endianness() === "BE") bytes.swap32();
    arrays.set(name, new Float32Array(bytes.buffer, bytes.byteOffset, length));
    position += length * 4;
  }
  return { arrays: Object.fromEntries(arrays), numbers: header.numbers };
}

/** A fresh buffer of exactly these bytes, aligned for float32. */
async function readExactly(handle: FileHandle, path: string, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.from(new ArrayBuffer(length));
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw corrupt(path, `${String(length)} bytes at ${String(position)}`, String(done));
    done += bytesRead;
  }
  return buffer;
}

function corrupt(path: string, expected: string, received: string, cause?: unknown): FedllmError {
  return problemError("CHECKPOINT_CORRUPT", { subject: `checkpoint ${path}`, expected, received }, cause);
}
