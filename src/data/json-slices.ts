/**
 * Cuts a JSON text that arrives in pieces into one slice per sample, without holding more than one slice in memory.
 * It knows three outer forms: an object of arrays, an array, and one value per line. What is inside a slice is left to
 * JSON.parse, one slice at a time, and what a sample means to dataset.ts. The outer object is never parsed as a whole,
 * because JavaScript would reorder keys that look like integers.
 * All errors are DATASET_INVALID and name the byte, counted from 0 in the text after decompression.
 */
import { isUtf8 } from "node:buffer";
import { problemError } from "../errors.js";
import type { FedllmError } from "../errors.js";
import { assert } from "../util/assert.js";
import { findInvalidUtf8 } from "./stored-bytes.js";

/** Outer form of a file: a JSON document (object or array), or JSON Lines. */
export type OuterForm = "document" | "lines";

/** What the slicer reports, in file order. Offsets are those of the first byte of the key or value. */
export interface SliceHandler {
  /** A key of the outer object; the values up to the next key belong to it. */
  onKey(key: string, offset: number): void;
  /** One element of the current array, or one line. */
  onElement(value: unknown, offset: number): void;
  /** The value of a key is not an array. */
  onStrayValue(value: unknown, offset: number): void;
}

export interface SliceLimits {
  /** Most bytes of one key, element or line. */
  readonly maxSliceBytes: number;
  /** Deepest nesting of brackets inside one element. */
  readonly maxDepth: number;
}

/** A coroutine that asks for the next piece of text at each yield and is sent undefined at the end of the text. */
type Reading<T> = Generator<undefined, T, Uint8Array | undefined>;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const NEWLINE = 0x0a;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf] as const;

/** What is cut, and who is told. */
export interface SliceOptions {
  /** Names the file in messages. */
  readonly path: string;
  readonly limits: SliceLimits;
  readonly handler: SliceHandler;
}

/** Feeds every piece of the text to the handler; resolves at the end of a well-formed text. */
export async function sliceJson(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  form: OuterForm,
  options: SliceOptions,
): Promise<void> {
  const steps = sliceJsonByPiece(pieces, form, options);
  while ((await steps.next()).done !== true);
}

/** The same, giving way after each piece, so that a caller can take what the handler was told before more is read. */
export async function* sliceJsonByPiece(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  form: OuterForm,
  { path, limits, handler }: SliceOptions,
): AsyncGenerator<void> {
  const slicer = new JsonSlicer(path, limits, handler);
  const reading = form === "document" ? slicer.readDocument() : slicer.readLines();
  reading.next();
  for await (const piece of pieces) {
    reading.next(piece);
    yield;
  }
  const last = reading.next(undefined);
  assert(last.done === true, "the slicer has seen the end of the text");
}

/** State of one value that is being cut out. */
interface ValueScan {
  depth: number;
  inString: boolean;
  escaped: boolean;
}

class JsonSlicer {
  private readonly path: string;
  private readonly limits: SliceLimits;
  private readonly handler: SliceHandler;
  private piece: Uint8Array = new Uint8Array(0);
  private position = 0;
  /** Bytes before the current piece. */
  private pieceOffset = 0;
  private ended = false;

  constructor(path: string, limits: SliceLimits, handler: SliceHandler) {
    this.path = path;
    this.limits = limits;
    this.handler = handler;
  }

  /** Reads `{key: [elements], ...}` or `[elements]`, and nothing after it. */
  *readDocument(): Reading<void> {
    yield* this.skipByteOrderMark();
    const first = yield* this.peekVisible();
    if (first === OPEN_OBJECT) yield* this.readUsers();
    else if (first === OPEN_ARRAY) yield* this.readElements();
    else throw this.unexpected(first, "an object of users or an array of samples");
    const trailing = yield* this.peekVisible();
    if (trailing !== undefined) {
      throw this.invalid(
        this.offset,
        "the end of the file after the outer bracket",
        `more text: ${describeByte(trailing)}`,
        {
          remedy: "A file with one record per line must be named .jsonl",
        },
      );
    }
  }

  /** Reads one JSON value per line; empty lines are skipped. */
  *readLines(): Reading<void> {
    yield* this.skipByteOrderMark();
    while ((yield* this.peekVisible()) !== undefined) {
      const start = this.offset;
      const line = yield* this.cut(start, (bytes, from) => {
        const end = bytes.indexOf(NEWLINE, from);
        return end < 0 ? undefined : end;
      });
      this.handler.onElement(this.parse(line.bytes, start), start);
    }
  }

  private get offset(): number {
    return this.pieceOffset + this.position;
  }

  private *readUsers(): Reading<void> {
    this.position++;
    if ((yield* this.peekVisible()) === CLOSE_OBJECT) {
      this.position++;
      return;
    }
    do {
      yield* this.expect(QUOTE, "a user id in quotation marks", 0);
      const keyOffset = this.offset;
      const key = this.parse(yield* this.cutValue(), keyOffset);
      yield* this.expect(COLON, 'a ":" after the user id');
      const next = yield* this.peekVisible();
      this.handler.onKey(String(key), keyOffset);
      if (next === OPEN_ARRAY) {
        yield* this.readElements();
      } else {
        const start = this.offset;
        this.handler.onStrayValue(this.parse(yield* this.cutValue(), start), start);
      }
    } while (yield* this.hasMore(CLOSE_OBJECT));
  }

  private *readElements(): Reading<void> {
    this.position++;
    if ((yield* this.peekVisible()) === CLOSE_ARRAY) {
      this.position++;
      return;
    }
    do {
      yield* this.peekVisible();
      const start = this.offset;
      this.handler.onElement(this.parse(yield* this.cutValue(), start), start);
    } while (yield* this.hasMore(CLOSE_ARRAY));
  }

  /** Consumes a comma (true) or the closing bracket (false). */
  private *hasMore(closing: number): Reading<boolean> {
    const byte = yield* this.peekVisible();
    if (byte !== COMMA && byte !== closing) throw this.unexpected(byte, `"," or "${String.fromCharCode(closing)}"`);
    this.position++;
    return byte === COMMA;
  }

  /** Checks the next visible byte and steps over it by `step` bytes. */
  private *expect(expected: number, words: string, step = 1): Reading<void> {
    const byte = yield* this.peekVisible();
    if (byte !== expected) throw this.unexpected(byte, words);
    this.position += step;
  }

  /** The value that begins at the current byte, up to the byte before its separator. */
  private *cutValue(): Reading<Uint8Array> {
    const start = this.offset;
    const scan: ValueScan = { depth: 0, inString: false, escaped: false };
    const { bytes, ended } = yield* this.cut(start, (piece, from, pieceOffset) =>
      this.findEnd(piece, from, pieceOffset, scan),
    );
    if (ended)
      throw this.invalid(
        this.offset,
        "the rest of the value",
        `the end of the file inside the value that begins at byte ${start}`,
      );
    if (bytes.length === 0) throw this.unexpected(yield* this.peek(), "a value");
    return bytes;
  }

  /** Position of the first byte after the value, if it lies in this piece. A value ends where its brackets are closed. */
  private findEnd(bytes: Uint8Array, from: number, pieceOffset: number, scan: ValueScan): number | undefined {
    let { depth, inString, escaped } = scan;
    for (let i = from; i < bytes.length; i++) {
      const byte = bytes[i] ?? 0;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) {
          inString = false;
          if (depth === 0) return i + 1;
        }
      } else if (byte === QUOTE) {
        inString = true;
      } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        if (++depth > this.limits.maxDepth) {
          throw this.invalid(pieceOffset + i, `at most ${this.limits.maxDepth} nested brackets in one sample`, "more");
        }
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
        // A bracket that closes the surrounding array ends a bare value such as a number.
        if (depth === 0) return i;
        if (--depth === 0) return i + 1;
      } else if (depth === 0 && (byte === COMMA || byte === COLON || isSpace(byte))) {
        return i;
      }
    }
    scan.depth = depth;
    scan.inString = inString;
    scan.escaped = escaped;
    return undefined;
  }

  /** Collects bytes until `findEnd` names the end, or to the end of the text; keeps to the size limit. */
  private *cut(
    start: number,
    findEnd: (bytes: Uint8Array, from: number, pieceOffset: number) => number | undefined,
  ): Reading<{ bytes: Uint8Array; ended: boolean }> {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const end = findEnd(this.piece, this.position, this.pieceOffset);
      const part = this.piece.subarray(this.position, end ?? this.piece.length);
      length += part.length;
      if (length > this.limits.maxSliceBytes) {
        throw this.invalid(start, `at most ${this.limits.maxSliceBytes} bytes in one sample or user id`, "more");
      }
      if (part.length > 0) parts.push(part);
      this.position += part.length;
      const ended = end === undefined && !(yield* this.fill());
      if (end !== undefined || ended) return { bytes: joinParts(parts), ended };
    }
  }

  private parse(bytes: Uint8Array, offset: number): unknown {
    if (!isUtf8(bytes))
      throw this.invalid(offset + findInvalidUtf8(bytes), "UTF-8 text", "a byte sequence that is not UTF-8");
    try {
      return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8")) as unknown;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw this.invalid(offset, "a JSON value that begins here", `malformed JSON (${reason})`, { cause: error });
    }
  }

  /** The next byte that is not white space, not consumed; undefined at the end of the text. */
  private *peekVisible(): Reading<number | undefined> {
    for (;;) {
      const byte = yield* this.peek();
      if (byte === undefined || !isSpace(byte)) return byte;
      this.position++;
    }
  }

  private *peek(): Reading<number | undefined> {
    if (this.position < this.piece.length || (yield* this.fill())) return this.piece[this.position];
    return undefined;
  }

  /** Moves on to the next piece that is not empty; false at the end of the text. Only called at the end of a piece. */
  private *fill(): Reading<boolean> {
    while (!this.ended) {
      const next = yield undefined;
      if (next === undefined) {
        this.ended = true;
        return false;
      }
      this.pieceOffset += this.piece.length;
      this.piece = next;
      this.position = 0;
      if (next.length > 0) return true;
    }
    return false;
  }

  private *skipByteOrderMark(): Reading<void> {
    if ((yield* this.peek()) !== BYTE_ORDER_MARK[0]) return;
    for (const expected of BYTE_ORDER_MARK) {
      const byte = yield* this.peek();
      if (byte !== expected) throw this.unexpected(byte, "UTF-8 text");
      this.position++;
    }
  }

  private unexpected(byte: number | undefined, expected: string): FedllmError {
    return this.invalid(this.offset, expected, byte === undefined ? "the end of the file" : describeByte(byte));
  }

  private invalid(
    offset: number,
    expected: string,
    received: string,
    more: { remedy?: string; cause?: unknown } = {},
  ): FedllmError {
    const { remedy, cause } = more;
    const subject = `${this.path}, byte ${offset}`;
    return problemError(
      "DATASET_INVALID",
      { subject, expected, received, ...(remedy === undefined ? {} : { remedy }) },
      cause,
    );
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === NEWLINE || byte === 0x0d || byte === 0x09;
}

function describeByte(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? `"${String.fromCharCode(byte)}"` : `byte 0x${byte.toString(16).padStart(2, "0")}`;
}

function joinParts(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}
