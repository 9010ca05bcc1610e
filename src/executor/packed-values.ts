/**
 * Plain values with typed arrays in them, as bytes and back, bit for bit. A pack is 8 bytes magic, u32 version, u32 header length, header (JSON, UTF-8),
 * data; arrays are {"@": [type, length, place]}, where the place is an offset in the data, or for long ones the SHA-256 of an artifact of their own:
 * the weights that all clients of a round begin with travel once. Numbers that JSON cannot say are {"#": text}. Little-endian throughout.
 */
import { endianness } from "node:os";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { hashBytes } from "./artifacts.js";

const ARRAYS = { f32: Float32Array, f64: Float64Array, i32: Int32Array, u32: Uint32Array, u8: Uint8Array } as const;
type ArrayType = keyof typeof ARRAYS;
type TypedArray = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array;

const MAGIC = Buffer.from("FEDLLMPV", "ascii");
const VERSION = 1;
/** Magic, version, header length. */
const PREFIX_BYTES = 16;
/** Longer arrays are artifacts of their own. */
const OWN_ARTIFACT_BYTES = 65536;
const NUMBERS: ReadonlyMap<string, number> = new Map([["NaN", Number.NaN], ["Infinity", Number.POSITIVE_INFINITY], ["-Infinity", Number.NEGATIVE_INFINITY], ["-0", -0]]);

/** A value as bytes. */
export interface PackedValue {
  readonly bytes: Uint8Array;
  /** Long arrays by their SHA-256. */
  readonly arrays: ReadonlyMap<string, Uint8Array>;
}

/** Values are JSON's, typed arrays and undefined fields, which are left out. Arrays may not change afterwards. */
export function packValue(value: unknown): PackedValue {
  assertLittleEndian();
  const parts: Uint8Array[] = [];
  const arrays = new Map<string, Uint8Array>();
  let offset = 0;
  const place = (bytes: Uint8Array): number | string => {
    if (bytes.length >= OWN_ARTIFACT_BYTES) {
      const sha256 = hashOf(bytes);
      arrays.set(sha256, bytes);
      return sha256;
    }
    const start = offset;
    parts.push(bytes);
    offset += bytes.length;
    return start;
  };
  const header = Buffer.from(JSON.stringify(toTree(value, place)), "utf8");
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(VERSION, 8);
  prefix.writeUInt32LE(header.length, 12);
  return { bytes: Buffer.concat([prefix, header, ...parts]), arrays };
}

/** Clients of a round share arrays, which then are hashed once. */
const knownHashes = new WeakMap<ArrayBufferLike, { readonly byteOffset: number; readonly byteLength: number; readonly sha256: string }>();

function hashOf(bytes: Uint8Array): string {
  const known = knownHashes.get(bytes.buffer);
  if (known?.byteOffset === bytes.byteOffset && known.byteLength === bytes.byteLength) return known.sha256;
  const sha256 = hashBytes(bytes);
  knownHashes.set(bytes.buffer, { byteOffset: bytes.byteOffset, byteLength: bytes.byteLength, sha256 });
  return sha256;
}

function toTree(value: unknown, place: (bytes: Uint8Array) => number | string): unknown {
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0) ? value : { "#": Object.is(value, -0) ? "-0" : String(value) };
  if (value === null || typeof value !== "object") {
    assert(value === null || ["string", "boolean", "undefined"].includes(typeof value), "a packed value is data");
    return value;
  }
  if (Array.isArray(value)) return value.map((item) => toTree(item, place));
  const type = typeOf(value);
  if (type !== undefined) {
    const array = value as TypedArray;
    return { "@": [type, array.length, place(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))] };
  }
  assert(!("@" in value) && !("#" in value), "the fields of a packed value have ordinary names");
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, toTree(item, place)]));
}

function typeOf(value: object): ArrayType | undefined {
  return (Object.keys(ARRAYS) as ArrayType[]).find((type) => value instanceof ARRAYS[type]);
}

/** The value again; `longArray` gets long arrays by their SHA-256. Rejects with ARTIFACT_INVALID for bytes that are no pack, and as `longArray`. */
export async function unpackValue(bytes: Uint8Array, longArray: (sha256: string) => Promise<Uint8Array>): Promise<unknown> {
  assertLittleEndian();
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < PREFIX_BYTES || !view.subarray(0, MAGIC.length).equals(MAGIC)) throw invalid("a packed value", "other bytes");
  if (view.readUInt32LE(8) !== VERSION) throw invalid(`version ${String(VERSION)}`, `version ${String(view.readUInt32LE(8))}`);
  const dataStart = PREFIX_BYTES + view.readUInt32LE(12);
  if (dataStart > view.length) throw invalid("a whole header", "a part of it");
  let tree: unknown;
  try {
    tree = JSON.parse(view.toString("utf8", PREFIX_BYTES, dataStart));
  } catch (error) {
    throw invalid("a header in JSON", error instanceof Error ? error.message : String(error));
  }
  return fromTree(tree, { data: view.subarray(dataStart), longArray });
}

interface Source {
  readonly data: Uint8Array;
  readonly longArray: (sha256: string) => Promise<Uint8Array>;
}

async function fromTree(tree: unknown, source: Source): Promise<unknown> {
  if (tree === null || typeof tree !== "object") return tree;
  if (Array.isArray(tree)) {
    const items: unknown[] = [];
    for (const item of tree) items.push(await fromTree(item, source));
    return items;
  }
  const entries = Object.entries(tree);
  const [first] = entries;
  if (entries.length === 1 && first?.[0] === "@") return readArray(first[1], source);
  if (entries.length === 1 && first?.[0] === "#") {
    const number = NUMBERS.get(String(first[1]));
    if (number === undefined) throw invalid("NaN, Infinity, -Infinity or -0", JSON.stringify(first[1]));
    return number;
  }
  const fields: [string, unknown][] = [];
  for (const [name, item] of entries) fields.push([name, await fromTree(item, source)]);
  return Object.fromEntries(fields);
}

async function readArray(description: unknown, { data, longArray }: Source): Promise<TypedArray> {
  const [type, length, where] = Array.isArray(description) ? (description as readonly unknown[]) : [];
  if (typeof type !== "string" || !Object.hasOwn(ARRAYS, type) || !isCount(length)) throw invalid("an array's type, length and place", JSON.stringify(description));
  const make = ARRAYS[type as ArrayType];
  const numBytes = length * make.BYTES_PER_ELEMENT;
  const isOwn = typeof where === "string";
  if (!isOwn && !isCount(where)) throw invalid("an array's place", JSON.stringify(where));
  const whole = isOwn ? await longArray(where) : data;
  const start = isOwn ? 0 : where;
  if (isOwn ? whole.length !== numBytes : start + numBytes > whole.length) throw invalid(`${String(numBytes)} bytes of an array`, String(whole.length - start));
  // A copy, which begins where an array of its type may begin.
  const copy = new Uint8Array(numBytes);
  copy.set(whole.subarray(start, start + numBytes));
  return new make(copy.buffer, 0, length);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function assertLittleEndian(): void {
  assert(endianness() === "LE", "jobs are for little-endian machines");
}

function invalid(expected: string, received: string): Error {
  return problemError("ARTIFACT_INVALID", { subject: "packed value", expected, received });
}
