/**
 * What a link can be told to send numbers in. Half precision and blocks share one power of two per message, which brings the largest number
 * to where their scales are most exact, so neither tiny updates nor large weights are lost to the range of half precision.
 */
import { endianness } from "node:os";
import { assert } from "../util/assert.js";
import { BLOCK_LENGTH, decodeQ4, decodeQ8, encodeQ4, encodeQ8, Q4_BYTES, Q8_BYTES } from "./blocks.js";
import type { Compression } from "./compression.js";
import { fromBfloatBits, fromHalfBits, toBfloatBits, toHalfBits } from "./half.js";
import { gapBytesBound, keptCount } from "./top-k.js";

/** Single and half precision, bfloat16, and ggml's blocks of 32 with 8 or 4 bits each. A message names them by their place here. */
export const VALUE_ENCODINGS = ["f32", "f16", "bf16", "q8_0", "q4_0"] as const;
export type ValueEncoding = (typeof VALUE_ENCODINGS)[number];

/** How a vector travels. */
export interface WireFormat {
  readonly encoding: ValueEncoding;
  /** Only this part of the numbers travels, those of largest magnitude, the others as zero; absent: all. */
  readonly topK?: number;
  /** Lossless, of the whole payload, where that makes it smaller; absent: none. */
  readonly compression?: Compression;
}

/** From client to server: the update. */
export interface UplinkFormat extends WireFormat {
  /** The client adds to its next update what the encoding left out of this one. */
  readonly errorFeedback: boolean;
  /** L2 norm above which a decoded update is refused. */
  readonly maxNorm: number;
}

/** From server to client: the weights. */
export interface DownlinkFormat extends WireFormat {
  /** To who has the weights of the last round: what changed since. */
  readonly delta: boolean;
}

/** True when what is decoded may differ from what was sent. */
export function isLossy({ encoding, topK }: WireFormat): boolean {
  return encoding !== "f32" || topK !== undefined;
}

/** True when the size of a message depends on its numbers. */
export function variesInSize({ topK, compression }: WireFormat): boolean {
  return topK !== undefined || compression !== undefined;
}

/** Bytes of so many numbers. */
export function valueBytes(count: number, encoding: ValueEncoding): number {
  switch (encoding) {
    case "f32":
      return 4 * count;
    case "f16":
    case "bf16":
      return 2 * count;
    case "q8_0":
      return Math.ceil(count / BLOCK_LENGTH) * Q8_BYTES;
    case "q4_0":
      return Math.ceil(count / BLOCK_LENGTH) * Q4_BYTES;
  }
}

/** Bytes of a payload at most; exactly where variesInSize is false. */
export function payloadBytesBound(count: number, { encoding, topK }: WireFormat): number {
  if (topK === undefined) return valueBytes(count, encoding);
  const numKept = keptCount(count, topK);
  return gapBytesBound(count, numKept) + valueBytes(numKept, encoding);
}

/** Where the largest number is brought: scales of blocks 2^-28 as large are still normal half-precision numbers. */
const TOP_EXPONENT = 14;
/** What a message may say: from the smallest single-precision number to the largest. */
export const EXPONENT_MIN = -149 - TOP_EXPONENT;
export const EXPONENT_MAX = 127 - TOP_EXPONENT;

/** The power of two that finite numbers are divided by before they are encoded. */
export function sharedExponent(values: Float32Array, encoding: ValueEncoding): number {
  if (encoding === "f32" || encoding === "bf16") return 0;
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return 0;
  // The logarithm of a number right below a power of two may be rounded up to it.
  const exponent = Math.floor(Math.log2(largest));
  return (2 ** exponent > largest ? exponent - 1 : exponent) - TOP_EXPONENT;
}

/** The numbers divided by 2^exponent, in the encoding; little-endian. */
export function encodeValues(values: Float32Array, encoding: ValueEncoding, exponent: number): Buffer {
  const factor = 2 ** -exponent;
  const scaled = exponent === 0 ? values : values.map((value) => value * factor);
  switch (encoding) {
    case "f32":
      return littleEndian(scaled);
    case "f16":
      return words(scaled, toHalfBits);
    case "bf16":
      return words(scaled, toBfloatBits);
    case "q8_0":
      return encodeQ8(scaled);
    case "q4_0":
      return encodeQ4(scaled);
  }
}

/** The reverse, of exactly valueBytes bytes; undefined when padding is not zero. May give numbers that are not finite. */
export function decodeValues(bytes: Buffer, count: number, encoding: ValueEncoding, exponent: number): Float32Array | undefined {
  assert(bytes.length === valueBytes(count, encoding), "the length was checked");
  const values = decodeScaled(bytes, count, encoding);
  if (values === undefined || exponent === 0) return values;
  const factor = 2 ** exponent;
  return values.map((value) => value * factor);
}

function decodeScaled(bytes: Buffer, count: number, encoding: ValueEncoding): Float32Array | undefined {
  switch (encoding) {
    case "f32": {
      const copy = Buffer.from(new ArrayBuffer(4 * count));
      bytes.copy(copy);
      if (endianness() === "BE") copy.swap32();
      return new Float32Array(copy.buffer, 0, count);
    }
    case "f16":
      return Float32Array.from({ length: count }, (_, index) => fromHalfBits(bytes.readUInt16LE(2 * index)));
    case "bf16":
      return Float32Array.from({ length: count }, (_, index) => fromBfloatBits(bytes.readUInt16LE(2 * index)));
    case "q8_0":
      return decodeQ8(bytes, count);
    case "q4_0":
      return decodeQ4(bytes, count);
  }
}

function littleEndian(values: Float32Array): Buffer {
  const copy = Buffer.from(values.slice().buffer);
  return endianness() === "LE" ? copy : copy.swap32();
}

function words(values: Float32Array, bitsOf: (value: number) => number): Buffer {
  const bytes = Buffer.alloc(2 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt16LE(bitsOf(value), 2 * index);
  return bytes;
}
