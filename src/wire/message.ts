/**
 * Vectors of an adapter as messages. A receiver knows what it asked for, and takes nothing else: the decoder checks lengths before it
 * allocates, the hash before it interprets, then that kind, round, layout, shape and encoding are those expected, that there is one way to have
 * written these places and this padding, that all numbers are finite and that the whole is no longer than the norm bound.
 *
 * MESSAGE_INVALID: not a message, or one that no encoder makes. MESSAGE_CORRUPT: the hash is of other bytes. MESSAGE_MISMATCH: a message, but
 * not what was asked for. MESSAGE_REFUSED: its numbers are not finite or too large. Without a key the hash finds damage; with one it is
 * HMAC-SHA-256, and only who has the key can make a message.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { AdapterLayout } from "../adapter/layout.js";
import { adapterPairs } from "../adapter/pairs.js";
import { innerLength } from "../adapter/inner.js";
import { sliceLength, type AdapterHalf, type AdapterSlice } from "../adapter/slice.js";
import { findNonFinite, weightsNorm } from "../adapter/weights.js";
import { assert } from "../util/assert.js";
import { compress, decompress } from "./compression.js";
import { decodeValues, encodeValues, payloadBytesBound, sharedExponent, valueBytes, type WireFormat } from "./formats.js";
import { headerBytes, readHeader, refusal, splitAtHash, writeHeader, type MessageHeader, type MessageKind } from "./header.js";
import { decodePlaces, encodePlaces, keptCount, largestPlaces } from "./top-k.js";

/** What both sides know of a message before it is there. */
export interface MessageContext {
  readonly kind: MessageKind;
  /** Counted from 1. */
  readonly round: number;
  readonly layout: AdapterLayout;
  readonly layoutFingerprint: string;
  /** What of the adapter the vector holds; a decoder takes lower ranks as well. Absent: all of it. */
  readonly slice?: AdapterSlice;
  /** The vector holds inner matrices (adapter/inner.ts), and there is no slice. */
  readonly isInner?: boolean;
  readonly format: WireFormat;
  /** The vector is a difference. */
  readonly isDelta?: boolean;
  /** Absent: the hash is a plain one. */
  readonly key?: Uint8Array;
}

export interface DecodedMessage {
  readonly values: Float32Array;
  /** As the message says; absent: full ranks of both halves, or inner matrices. */
  readonly slice?: AdapterSlice;
  readonly seed?: number;
}

/** Most bytes of a message; exactly where its format does not vary in size. */
export function messageBytesBound({ layout, slice, isInner, format }: Pick<MessageContext, "layout" | "slice" | "isInner" | "format">): number {
  return headerBytes(slice?.ranks?.length ?? 0) + payloadBytesBound(lengthOf(layout, slice, isInner), format);
}

/** Throws MESSAGE_REFUSED for numbers that are not finite; `seed`: an integer from which the receiver makes what does not travel. */
export function encodeMessage(values: Float32Array, context: MessageContext, seed?: number): Buffer {
  const { layout, slice, isInner, format } = context;
  assert(values.length === lengthOf(layout, slice, isInner), "a message has the numbers of its slice");
  const index = findNonFinite(values);
  if (index !== undefined) throw refusal("MESSAGE_REFUSED", "finite numbers", `${String(values[index])} at index ${String(index)}`);
  const { encoding, topK } = format;
  const places = topK === undefined ? undefined : largestPlaces(values, keptCount(values.length, topK));
  const kept = places === undefined ? values : Float32Array.from(places, (place) => values[place] ?? 0);
  const exponent = sharedExponent(kept, encoding);
  const placeBytes = places === undefined ? Buffer.alloc(0) : encodePlaces(places, values.length);
  const raw = Buffer.concat([placeBytes, encodeValues(kept, encoding, exponent)]);
  const packed = format.compression === undefined ? raw : compress(raw, format.compression);
  const isSmaller = format.compression !== undefined && packed.length < raw.length;
  const payload = isSmaller ? packed : raw;
  const header = writeHeader({
    kind: context.kind,
    encoding,
    ...(isSmaller ? { compression: format.compression } : {}),
    isTopK: places !== undefined,
    isDelta: context.isDelta === true,
    half: isInner === true ? "inner" : (slice?.half ?? "both"),
    ...(slice?.ranks === undefined ? {} : { ranks: slice.ranks }),
    exponent,
    numValues: values.length,
    numKept: kept.length,
    numPlaceBytes: placeBytes.length,
    numPayloadBytes: payload.length,
    round: context.round,
    ...(seed === undefined ? {} : { seed }),
    layoutFingerprint: context.layoutFingerprint,
  });
  const message = Buffer.concat([header, payload]);
  hashOf(message, context.key).copy(splitAtHash(message).hash);
  return message;
}

/** The vector of a message. Throws MESSAGE_INVALID, MESSAGE_CORRUPT, MESSAGE_MISMATCH or MESSAGE_REFUSED, and nothing else whatever the bytes are. */
export function decodeMessage(message: Uint8Array, context: MessageContext, maxNorm: number): DecodedMessage {
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  // Places of a shorter vector can take a few more bits; what the header says is checked to the byte.
  const most = headerBytes(adapterPairs(context.layout).length) + 2 * messageBytesBound(context);
  if (bytes.length > most) throw refusal("MESSAGE_INVALID", `at most ${String(most)} bytes`, String(bytes.length));
  const header = readHeader(bytes);
  if (!timingSafeEqual(hashOf(bytes, context.key), splitAtHash(bytes).hash)) {
    throw refusal("MESSAGE_CORRUPT", "the bytes that were sent", "a message with the hash of others");
  }
  checkExpected(header, context);
  const { half, ranks, seed } = header;
  const slice = sliceOf(half, ranks);
  const values = decodePayload(bytes.subarray(headerBytes(ranks?.length ?? 0)), header, context.format);
  const index = findNonFinite(values);
  if (index !== undefined) throw refusal("MESSAGE_REFUSED", "finite numbers", `${String(values[index])} at index ${String(index)}`);
  const norm = weightsNorm(values);
  if (norm > maxNorm) throw refusal("MESSAGE_REFUSED", `a norm of at most ${String(maxNorm)}`, String(norm));
  return { values, ...(slice === undefined ? {} : { slice }), ...(seed === undefined ? {} : { seed }) };
}

function checkExpected(header: MessageHeader, context: MessageContext): void {
  const { layout, slice, isInner, format } = context;
  const wanted = isInner === true ? "inner" : (slice?.half ?? "both");
  const pairs = adapterPairs(layout);
  const most = pairs.map((pair, index) => slice?.ranks?.[index] ?? pair.rank);
  const { ranks } = header;
  const check = (isRight: boolean, expected: string, received: string): void => {
    if (!isRight) throw refusal("MESSAGE_MISMATCH", expected, received);
  };
  check(header.kind === context.kind, `the kind ${context.kind}`, header.kind);
  check(header.round === context.round, `round ${String(context.round)}`, String(header.round));
  check(header.layoutFingerprint === context.layoutFingerprint, `adapter layout ${context.layoutFingerprint}`, `layout ${header.layoutFingerprint}`);
  check(header.half === wanted, `half ${wanted} of each pair`, header.half);
  check(header.isDelta === (context.isDelta === true), context.isDelta === true ? "a difference" : "whole numbers", header.isDelta ? "a difference" : "whole numbers");
  check(header.encoding === format.encoding, `numbers in ${format.encoding}`, header.encoding);
  check(header.compression === undefined || header.compression === format.compression, `the compression ${format.compression ?? "none"}`, String(header.compression));
  check(header.isTopK === (format.topK !== undefined), format.topK === undefined ? "all numbers" : `a part of ${String(format.topK)}`, header.isTopK ? "a part" : "all");
  if (ranks === undefined) check(slice?.ranks === undefined, "numbers of the ranks that were asked for", "numbers of full rank");
  else {
    const fits = wanted !== "inner" && ranks.length === pairs.length && ranks.every((rank, index) => rank <= (most[index] ?? 0));
    check(fits, `ranks of at most ${most.join(", ")}`, ranks.join(", "));
  }
  const numValues = lengthOf(layout, sliceOf(header.half, ranks), isInner);
  check(header.numValues === numValues, `${String(numValues)} numbers`, String(header.numValues));
  const numKept = format.topK === undefined ? numValues : keptCount(numValues, format.topK);
  check(header.numKept === numKept, `${String(numKept)} of them sent`, String(header.numKept));
}

/** Of a header that was checked. */
function decodePayload(payload: Buffer, { compression, encoding, numValues, numKept, numPlaceBytes, exponent, isTopK }: MessageHeader, format: WireFormat): Float32Array {
  const numBytes = numPlaceBytes + valueBytes(numKept, encoding);
  const most = payloadBytesBound(numValues, format);
  const fits = numBytes <= most && (isTopK || numPlaceBytes === 0) && (compression === undefined ? payload.length === numBytes : payload.length < numBytes);
  if (!fits) throw refusal("MESSAGE_INVALID", `a payload of ${String(numBytes)} bytes`, String(payload.length));
  const raw = compression === undefined ? payload : decompress(payload, compression, numBytes);
  if (raw?.length !== numBytes) throw refusal("MESSAGE_INVALID", `one ${String(compression)} stream of ${String(numBytes)} bytes`, "another");
  const places = isTopK ? decodePlaces(raw.subarray(0, numPlaceBytes), numValues, numKept) : "all";
  if (places === undefined) throw refusal("MESSAGE_INVALID", "places in ascending order and zeros behind them", "others");
  const kept = decodeValues(raw.subarray(numPlaceBytes), numKept, encoding, exponent);
  if (kept === undefined) throw refusal("MESSAGE_INVALID", "zeros behind the last number", "others");
  if (places === "all") return kept;
  const values = new Float32Array(numValues);
  for (const [index, place] of places.entries()) values[place] = kept[index] ?? 0;
  return values;
}

function hashOf(message: Buffer, key: Uint8Array | undefined): Buffer {
  const { before, behind } = splitAtHash(message);
  const hash = key === undefined ? createHash("sha256") : createHmac("sha256", key);
  return hash.update(before).update(behind).digest();
}

function lengthOf(layout: AdapterLayout, slice: AdapterSlice | undefined, isInner: boolean | undefined): number {
  if (isInner === true) return innerLength(layout);
  return slice === undefined ? layout.numParameters : sliceLength(layout, slice);
}

function sliceOf(half: AdapterHalf | "inner", ranks: readonly number[] | undefined): AdapterSlice | undefined {
  if (half === "inner" || (half === "both" && ranks === undefined)) return undefined;
  return { half, ...(ranks === undefined ? {} : { ranks }) };
}
