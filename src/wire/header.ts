/**
 * The header of a message, numbers little-endian: 8 bytes magic, then by their offsets u8 version, kind, encoding, compression, flags, half;
 * i16 exponent; u32 numbers of the vector, numbers that travel, bytes of their places, bytes of the payload, ranks, round; u64 seed;
 * 32 bytes layout fingerprint; 32 bytes hash of everything but itself; u16 per rank. The payload follows: places, then numbers, both together compressed or not.
 */
import { problemError, type FedllmError, type ErrorCode } from "../errors.js";
import type { AdapterHalf } from "../adapter/slice.js";
import { COMPRESSIONS, type Compression } from "./compression.js";
import { EXPONENT_MAX, EXPONENT_MIN, VALUE_ENCODINGS, type ValueEncoding } from "./formats.js";

const MAGIC = Buffer.from("FEDLLMWM", "ascii");
const VERSION = 1;
/** Without the ranks. */
export const HEADER_BYTES = 112;
const HASH_OFFSET = 80;
export const HASH_BYTES = 32;

export const MESSAGE_KINDS = ["weights", "update"] as const;
export type MessageKind = (typeof MESSAGE_KINDS)[number];
/** Which numbers: of a slice of the adapter, or of the inner matrices between fixed factors. */
const HALVES = ["both", "a", "b", "inner"] as const;

const FLAGS = { topK: 1, delta: 2, seed: 4 } as const;
const ALL_FLAGS = 7;

export interface MessageHeader {
  readonly kind: MessageKind;
  readonly encoding: ValueEncoding;
  /** Absent: the payload is as it is. */
  readonly compression?: Compression;
  readonly isTopK: boolean;
  readonly isDelta: boolean;
  readonly half: AdapterHalf | "inner";
  readonly ranks?: readonly number[];
  readonly exponent: number;
  readonly numValues: number;
  readonly numKept: number;
  readonly numPlaceBytes: number;
  readonly numPayloadBytes: number;
  readonly round: number;
  /** From which the receiver makes what does not travel. */
  readonly seed?: number;
  /** 64 hexadecimal digits. */
  readonly layoutFingerprint: string;
}

export function headerBytes(numRanks: number): number {
  return HEADER_BYTES + 2 * numRanks;
}

/** The header with zeros for the hash. */
export function writeHeader(header: MessageHeader): Buffer {
  const { ranks = [] } = header;
  const bytes = Buffer.alloc(headerBytes(ranks.length));
  MAGIC.copy(bytes);
  bytes[8] = VERSION;
  bytes[9] = MESSAGE_KINDS.indexOf(header.kind);
  bytes[10] = VALUE_ENCODINGS.indexOf(header.encoding);
  bytes[11] = header.compression === undefined ? 0 : 1 + COMPRESSIONS.indexOf(header.compression);
  bytes[12] = (header.isTopK ? FLAGS.topK : 0) | (header.isDelta ? FLAGS.delta : 0) | (header.seed === undefined ? 0 : FLAGS.seed);
  bytes[13] = HALVES.indexOf(header.half);
  bytes.writeInt16LE(header.exponent, 14);
  const counts = [header.numValues, header.numKept, header.numPlaceBytes, header.numPayloadBytes, ranks.length, header.round];
  for (const [index, count] of counts.entries()) bytes.writeUInt32LE(count, 16 + 4 * index);
  bytes.writeBigUInt64LE(BigInt(header.seed ?? 0), 40);
  Buffer.from(header.layoutFingerprint, "hex").copy(bytes, 48);
  for (const [index, rank] of ranks.entries()) bytes.writeUInt16LE(rank, HEADER_BYTES + 2 * index);
  return bytes;
}

/** The hash that stands in a message, and a message's bytes around it, in their order. */
export function splitAtHash(bytes: Buffer): { readonly hash: Buffer; readonly before: Buffer; readonly behind: Buffer } {
  const end = HASH_OFFSET + HASH_BYTES;
  return { hash: bytes.subarray(HASH_OFFSET, end), before: bytes.subarray(0, HASH_OFFSET), behind: bytes.subarray(end) };
}

/** Throws MESSAGE_INVALID for bytes that are not a whole message of this version; nothing is allocated by what they say. */
export function readHeader(bytes: Buffer): MessageHeader {
  if (bytes.length < HEADER_BYTES) throw refusal("MESSAGE_INVALID", `at least ${String(HEADER_BYTES)} bytes`, String(bytes.length));
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw refusal("MESSAGE_INVALID", `the magic ${MAGIC.toString()}`, bytes.toString("hex", 0, MAGIC.length));
  if (bytes[8] !== VERSION) throw refusal("MESSAGE_INVALID", `version ${String(VERSION)}`, String(bytes[8]));
  const count = (index: number) => bytes.readUInt32LE(16 + 4 * index);
  const [numPayloadBytes, numRanks] = [count(3), count(4)];
  const length = headerBytes(numRanks) + numPayloadBytes;
  if (length !== bytes.length) throw refusal("MESSAGE_INVALID", `the ${String(length)} bytes that it says it has`, String(bytes.length));
  const flags = bytes[12] ?? 0;
  const exponent = bytes.readInt16LE(14);
  const seed = bytes.readBigUInt64LE(40);
  const hasSeed = (flags & FLAGS.seed) !== 0;
  if ((flags & ~ALL_FLAGS) !== 0) throw refusal("MESSAGE_INVALID", "known flags", String(flags));
  if (exponent < EXPONENT_MIN || exponent > EXPONENT_MAX) throw refusal("MESSAGE_INVALID", "an exponent of single precision", String(exponent));
  if (seed > BigInt(Number.MAX_SAFE_INTEGER) || (!hasSeed && seed !== 0n)) throw refusal("MESSAGE_INVALID", hasSeed ? "a seed below 2^53" : "no seed", String(seed));
  const compression = (bytes[11] ?? 0) === 0 ? {} : { compression: named(COMPRESSIONS, (bytes[11] ?? 0) - 1, "compression") };
  const ranks = numRanks === 0 ? {} : { ranks: Array.from({ length: numRanks }, (_, index) => bytes.readUInt16LE(HEADER_BYTES + 2 * index)) };
  return {
    kind: named(MESSAGE_KINDS, bytes[9], "kind"),
    encoding: named(VALUE_ENCODINGS, bytes[10], "encoding"),
    ...compression,
    isTopK: (flags & FLAGS.topK) !== 0,
    isDelta: (flags & FLAGS.delta) !== 0,
    half: named(HALVES, bytes[13], "half"),
    ...ranks,
    exponent,
    numValues: count(0),
    numKept: count(1),
    numPlaceBytes: count(2),
    numPayloadBytes,
    round: count(5),
    ...(hasSeed ? { seed: Number(seed) } : {}),
    layoutFingerprint: bytes.toString("hex", 48, HASH_OFFSET),
  };
}

/** An error about a message. */
export function refusal(code: ErrorCode, expected: string, received: string): FedllmError {
  return problemError(code, { subject: "message", expected, received });
}

function named<T>(names: readonly T[], place: number | undefined, what: string): T {
  const name = names[place ?? -1];
  if (name !== undefined) return name;
  throw refusal("MESSAGE_INVALID", `a known ${what}`, `number ${String(place)}`);
}
