/** Messages spoilt by chance, and what a decoder may do with them: refuse them with one of its errors, or give finite numbers within the bound. */
import { createHash } from "node:crypto";
import { FedllmError } from "../../src/errors.js";
import { fingerprintLayout } from "../../src/adapter/layout.js";
import { weightsNorm } from "../../src/adapter/weights.js";
import { createWordStream } from "../../src/util/random.js";
import { HEADER_BYTES, splitAtHash } from "../../src/wire/header.js";
import { decodeMessage, encodeMessage, type MessageContext } from "../../src/wire/message.js";
import type { WireFormat } from "../../src/wire/formats.js";
import { pairLayout } from "./pair-layout.js";

const MAX_NORM = 10;
const layout = pairLayout(3, [["blk.0.attn_q.weight", 8, 6], ["blk.1.attn_q.weight", 7, 9]]);

const FORMATS: readonly WireFormat[] = [
  { encoding: "f32" },
  { encoding: "f16" },
  { encoding: "bf16", compression: "deflate" },
  { encoding: "q8_0" },
  { encoding: "q8_0", topK: 0.2 },
  { encoding: "q4_0" },
  { encoding: "q4_0", topK: 0.5, compression: "deflate" },
  { encoding: "f32", topK: 0.1, compression: "brotli" },
];

const CODES = ["MESSAGE_INVALID", "MESSAGE_CORRUPT", "MESSAGE_MISMATCH", "MESSAGE_REFUSED"];
/** Numbers that a header may be made to say. */
const EXTREMES = [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

/** How many ended in which way. */
export type Tally = Readonly<Record<string, number>>;

/** A good message of a format, and what it answers. */
function makeMessage(format: WireFormat, next: () => number): { readonly context: MessageContext; readonly message: Buffer } {
  const slice = [undefined, { half: "b" as const }, { half: "both" as const, ranks: [2, 3] }][next() % 3];
  const context: MessageContext = {
    kind: next() % 2 === 0 ? "weights" : "update",
    round: 1 + (next() % 5),
    layout,
    layoutFingerprint: fingerprintLayout(layout),
    format,
    ...(slice === undefined ? {} : { slice }),
  };
  const counts = new Map<string | undefined, number>([[undefined, layout.numParameters], ["b", 3 * (6 + 9)], ["both", 2 * 14 + 3 * 16]]);
  // Many equal numbers, so that compressed forms are smaller.
  const values = Float32Array.from({ length: counts.get(slice?.half) ?? 0 }, () => ((next() % 7) - 3) / 4);
  return { context, message: encodeMessage(values, context, next() % 4 === 0 ? next() : undefined) };
}

/** One to four changes: bits, bytes, numbers of the header, cuts, insertions, and parts written twice. */
function mutate(message: Buffer, next: () => number): Buffer {
  let bytes = Buffer.from(message);
  for (let left = 1 + (next() % 4); left > 0; left--) {
    const place = next() % Math.max(1, bytes.length);
    switch (next() % 9) {
      case 0:
        bytes[place] = (bytes[place] ?? 0) ^ (1 << (next() % 8));
        break;
      case 1:
        bytes[place] = next();
        break;
      case 2:
        if (bytes.length >= 44) bytes.writeUInt32LE(EXTREMES[next() % EXTREMES.length] ?? 0, 16 + 4 * (next() % 7));
        break;
      case 3:
        bytes = bytes.subarray(0, place);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, place), Buffer.of(next()), bytes.subarray(place)]);
        break;
      case 5:
        if (bytes.length > 16) bytes[8 + (next() % 8)] = next();
        break;
      case 6:
      case 7:
        // Behind the header, so that numbers change.
        if (bytes.length > 116) bytes[112 + (next() % (bytes.length - 112))] = [0x7f, 0x80, 0xff, next()][next() % 4] ?? 0;
        break;
      default:
        bytes = Buffer.concat([bytes, bytes.subarray(place, place + (next() % 40))]);
    }
  }
  return bytes;
}

/** As somebody would who means harm and not damage: with a length and a hash that fit. */
function withNewHash(bytes: Buffer): Buffer {
  const length = bytes.length < HEADER_BYTES ? 0 : bytes.length - HEADER_BYTES - 2 * bytes.readUInt32LE(32);
  if (length > 0) bytes.writeUInt32LE(length, 28);
  const { hash, before, behind } = splitAtHash(bytes);
  if (hash.length === 32) createHash("sha256").update(before).update(behind).digest().copy(hash);
  return bytes;
}

/** Decodes so many spoilt messages, half of them with a hash that fits. Throws for an outcome that may not be. */
export function fuzzMessages(count: number, seed: number): Tally {
  const next = createWordStream(seed);
  const tally = new Map<string, number>();
  const good = Array.from({ length: 400 }, (_, index) => makeMessage(FORMATS[index % FORMATS.length] ?? { encoding: "f32" }, next));
  for (let index = 0; index < count; index++) {
    const { context, message } = good[next() % good.length] ?? makeMessage({ encoding: "f32" }, next);
    const spoilt = mutate(message, next);
    const outcome = outcomeOf(next() % 2 === 0 ? withNewHash(spoilt) : spoilt, context);
    if (outcome === undefined) throw new Error(`mutation ${String(index)} of seed ${String(seed)}: ${spoilt.toString("hex")}`);
    tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
  }
  return Object.fromEntries([...tally].sort());
}

/** Undefined for one that a decoder may not have. */
function outcomeOf(bytes: Buffer, context: MessageContext): string | undefined {
  try {
    const { values } = decodeMessage(bytes, context, MAX_NORM);
    return values.length <= layout.numParameters && values.every(Number.isFinite) && weightsNorm(values) <= MAX_NORM ? "decoded" : undefined;
  } catch (error) {
    return error instanceof FedllmError && CODES.includes(error.code) ? error.code : undefined;
  }
}
