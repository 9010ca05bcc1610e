/**
 * Groups lines of text by user with little memory: lines go to a temporary file as they come, and only their places are kept (16
 * bytes each). Read back, they come by user, in the order in which users and lines first appeared.
 */
import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { FedllmError, problemError } from "../../errors.js";
import { assert } from "../../util/assert.js";
import { MAX_CLIENTS } from "../dataset.js";

const WRITE_BYTES = 2 ** 20;
const READ_BYTES = 4 * 2 ** 20;
const FIRST_CAPACITY = 4096;

/** The lines of one user that are read at once. */
export interface SpooledUser {
  readonly id: string;
  readonly numLines: number;
}

export class UserSpool {
  readonly #path: string;
  readonly #descriptor: number;
  readonly #users = new Map<string, number>();
  readonly #counts: number[] = [];
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #writtenBytes = 0;
  #numLines = 0;
  // By line: where it begins, how long it is, whose it is.
  #offsets = new Float64Array(FIRST_CAPACITY);
  #lengths = new Uint32Array(FIRST_CAPACITY);
  #owners = new Uint32Array(FIRST_CAPACITY);

  /** Makes the temporary file in this folder. Throws IO_FAILED. */
  constructor(folder: string) {
    this.#path = join(folder, `.spool-${String(process.pid)}-${randomBytes(6).toString("hex")}.partial`);
    try {
      this.#descriptor = openSync(this.#path, "wx+", 0o600);
      // Without a name it is gone however the process ends; Windows removes it in dispose.
      if (process.platform !== "win32") rmSync(this.#path);
    } catch (error) {
      throw new FedllmError("IO_FAILED", `cannot make a temporary file in ${folder}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Users in the order of their first lines. */
  get users(): readonly SpooledUser[] {
    return [...this.#users].map(([id, index]) => ({ id, numLines: this.#counts[index] ?? 0 }));
  }

  /** Adds a user's place in the order, without lines. */
  addUser(id: string): number {
    const known = this.#users.get(id);
    if (known !== undefined) return known;
    if (this.#users.size >= MAX_CLIENTS) {
      throw problemError("DATASET_INVALID", { subject: "users", expected: `at most ${String(MAX_CLIENTS)}`, received: "more" });
    }
    const index = this.#users.size;
    this.#users.set(id, index);
    this.#counts.push(0);
    return index;
  }

  /** Adds a line, given without its line break. Throws IO_FAILED, DATASET_INVALID for too many users. */
  add(user: string, line: string): void {
    const owner = this.addUser(user);
    const bytes = Buffer.from(line, "utf8");
    if (this.#numLines === this.#offsets.length) this.#grow();
    this.#offsets[this.#numLines] = this.#writtenBytes + this.#pendingBytes;
    this.#lengths[this.#numLines] = bytes.length;
    this.#owners[this.#numLines] = owner;
    this.#numLines++;
    this.#counts[owner] = (this.#counts[owner] ?? 0) + 1;
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= WRITE_BYTES) this.#flush();
  }

  /** Gives all lines to other users: `owners` has the place in `ids` for each line, in the order in which they were added. */
  reassign(ids: readonly string[], owners: Uint32Array): void {
    assert(owners.length === this.#numLines, `one owner for each of ${String(this.#numLines)} lines`);
    this.#users.clear();
    this.#counts.length = 0;
    for (const id of ids) this.addUser(id);
    for (const owner of owners) this.#counts[owner] = (this.#counts[owner] ?? 0) + 1;
    this.#owners = owners.slice();
  }

  /** The lines of the chosen users, user by user. Lines may be added no more once this has begun. Throws IO_FAILED. */
  *linesByUser(isChosen: (user: SpooledUser) => boolean): Generator<{ readonly user: SpooledUser; readonly lines: Iterable<Buffer> }> {
    this.#flush();
    const { starts, lines } = this.#sortByUser();
    for (const [index, user] of this.users.entries()) {
      if (!isChosen(user)) continue;
      yield { user, lines: this.#readLines(lines.subarray(starts[index] ?? 0, starts[index + 1] ?? 0)) };
    }
  }

  /** Gives the space on the disk back. */
  dispose(): void {
    closeSync(this.#descriptor);
    rmSync(this.#path, { force: true });
  }

  /** Numbers of all lines, by user and in order within each (a counting sort). */
  #sortByUser(): { starts: Uint32Array; lines: Uint32Array } {
    const starts = new Uint32Array(this.#counts.length + 1);
    for (const [index, count] of this.#counts.entries()) starts[index + 1] = (starts[index] ?? 0) + count;
    const next = starts.slice();
    const lines = new Uint32Array(this.#numLines);
    for (let line = 0; line < this.#numLines; line++) {
      const owner = this.#owners[line] ?? 0;
      const place = next[owner] ?? 0;
      lines[place] = line;
      next[owner] = place + 1;
    }
    return { starts, lines };
  }

  /** Lines that follow each other in the file are read together. */
  *#readLines(lines: Uint32Array): Generator<Buffer> {
    let first = 0;
    while (first < lines.length) {
      const start = this.#offsets[lines[first] ?? 0] ?? 0;
      let end = start;
      let last = first;
      while (last < lines.length) {
        const line = lines[last] ?? 0;
        const length = this.#lengths[line] ?? 0;
        if (this.#offsets[line] !== end || (last > first && end + length - start > READ_BYTES)) break;
        end += length;
        last++;
      }
      const bytes = this.#readBytes(start, end - start);
      for (let position = 0; first < last; first++) {
        const length = this.#lengths[lines[first] ?? 0] ?? 0;
        yield bytes.subarray(position, position + length);
        position += length;
      }
    }
  }

  #readBytes(start: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const numRead = readSync(this.#descriptor, bytes, filled, length - filled, start + filled);
      if (numRead === 0) throw new FedllmError("IO_FAILED", "a temporary file ends before its end");
      filled += numRead;
    }
    return bytes;
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#descriptor, bytes, done, bytes.length - done, this.#writtenBytes + done);
    } catch (error) {
      throw new FedllmError("IO_FAILED", `cannot write a temporary file: ${messageOf(error)}`, { cause: error });
    }
    this.#writtenBytes += bytes.length;
  }

  #grow(): void {
    const capacity = 2 * this.#offsets.length;
    const offsets = new Float64Array(capacity);
    const lengths = new Uint32Array(capacity);
    const owners = new Uint32Array(capacity);
    offsets.set(this.#offsets);
    lengths.set(this.#lengths);
    owners.set(this.#owners);
    this.#offsets = offsets;
    this.#lengths = lengths;
    this.#owners = owners;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
