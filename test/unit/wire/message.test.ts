/** Messages: what is decoded is what was encoded, sizes are those that were foretold, and nothing else is taken. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { fingerprintLayout } from "../../../src/adapter/layout.js";
import { innerLength } from "../../../src/adapter/inner.js";
import { sliceLength } from "../../../src/adapter/slice.js";
import type { ErrorCode } from "../../../src/errors.js";
import { createWordStream } from "../../../src/util/random.js";
import { checkCompression, COMPRESSIONS, compress, decompress } from "../../../src/wire/compression.js";
import { VALUE_ENCODINGS, type WireFormat } from "../../../src/wire/formats.js";
import { HEADER_BYTES, splitAtHash } from "../../../src/wire/header.js";
import { decodeMessage, encodeMessage, messageBytesBound, type MessageContext } from "../../../src/wire/message.js";
import { fuzzMessages } from "../../helpers/message-mutations.js";
import { pairLayout } from "../../helpers/pair-layout.js";
import { makeUniform } from "../../helpers/dense.js";

const layout = pairLayout(3, [["blk.0.attn_q.weight", 8, 6], ["blk.1.attn_q.weight", 7, 9]]);
const context: MessageContext = { kind: "update", round: 4, layout, layoutFingerprint: fingerprintLayout(layout), format: { encoding: "f32" } };
const values = Float32Array.from({ length: layout.numParameters }, makeUniform(3));
const hasZstd = (() => {
  try {
    checkCompression("zstd", "compression");
    return true;
  } catch {
    return false;
  }
})();

const withFormat = (format: WireFormat, rest: Partial<MessageContext> = {}): MessageContext => ({ ...context, ...rest, format });

/** The message with bytes of the header or payload replaced, and a hash that fits. */
function forged(message: Buffer, change: (bytes: Buffer) => unknown): Buffer {
  const copy = Buffer.from(message);
  const changed = change(copy);
  const bytes = Buffer.isBuffer(changed) ? changed : copy;
  const { hash, before, behind } = splitAtHash(bytes);
  createHash("sha256").update(before).update(behind).digest().copy(hash);
  return bytes;
}

const refuses = (bytes: Uint8Array, code: ErrorCode, expected: MessageContext = context, maxNorm = 1e6): void => {
  expect(() => decodeMessage(bytes, expected, maxNorm)).toThrow(expect.objectContaining({ code }) as Error);
};

describe("round trips", () => {
  test.each(VALUE_ENCODINGS)("%s: the same numbers again where they are exact, and the size that was foretold", (encoding) => {
    // Multiples of 1/8 up to 1 in each block with the largest in it are exact in all encodings but the 8-bit blocks, whose step is 1/127.
    const whole = encoding === "q8_0" ? 127 : -8;
    const exact = Float32Array.from(values, (_, index) => (index % 32 === 0 ? whole : (index % 15) - 7));
    const message = encodeMessage(exact, withFormat({ encoding }));
    expect(decodeMessage(message, withFormat({ encoding }), 1e6).values).toEqual(exact);
    expect(message.length).toBe(messageBytesBound(withFormat({ encoding })));
  });

  test("slices, lower ranks, inner matrices and seeds are said and read", () => {
    for (const slice of [{ half: "a" as const }, { half: "b" as const, ranks: [1, 3] }, { half: "both" as const, ranks: [0, 2] }]) {
      const part = values.subarray(0, sliceLength(layout, slice));
      const message = encodeMessage(part, { ...context, slice });
      expect(decodeMessage(message, { ...context, slice }, 1e6)).toEqual({ values: part.slice(), slice });
    }
    const inner = values.subarray(0, innerLength(layout));
    const message = encodeMessage(inner, { ...context, isInner: true }, 2 ** 53 - 1);
    expect(decodeMessage(message, { ...context, isInner: true }, 1e6)).toEqual({ values: inner.slice(), seed: 2 ** 53 - 1 });
    const zeroSeed = encodeMessage(values, context, 0);
    expect([decodeMessage(zeroSeed, context, 1e6).seed, zeroSeed.length]).toEqual([0, encodeMessage(values, context).length]);
    // A lower rank than was asked for is an answer, a higher one is not.
    const fewer = { half: "both" as const, ranks: [1, 2] };
    const less = encodeMessage(values.subarray(0, sliceLength(layout, fewer)), { ...context, slice: fewer });
    expect(decodeMessage(less, { ...context, slice: { half: "both", ranks: [2, 3] } }, 1e6).slice).toEqual(fewer);
    refuses(less, "MESSAGE_MISMATCH", { ...context, slice: { half: "both", ranks: [1, 1] } });
  });

  test("of a part the largest numbers arrive and the others are zero, within the bound", () => {
    for (const topK of [0.001, 0.1, 0.5, 1]) {
      const format = { encoding: "f32" as const, topK };
      const message = encodeMessage(values, withFormat(format));
      const received = decodeMessage(message, withFormat(format), 1e6).values;
      const numKept = Math.ceil(topK * values.length);
      const sorted = [...values].sort((left, right) => Math.abs(right) - Math.abs(left));
      expect(received.filter((value) => value !== 0)).toHaveLength(numKept);
      expect(received.every((value, index) => value === 0 || value === values[index])).toBe(true);
      expect(Math.min(...received.filter((value) => value !== 0).map(Math.abs))).toBe(Math.abs(sorted[numKept - 1] ?? 0));
      expect(message.length).toBeLessThanOrEqual(messageBytesBound(withFormat(format)));
    }
  });

  test.each(COMPRESSIONS.filter((name) => name !== "zstd" || hasZstd))("%s makes a smaller message of the same numbers, and leaves alone what it cannot make smaller", (compression) => {
    const plain = encodeMessage(new Float32Array(layout.numParameters).fill(0.5), context);
    const packed = encodeMessage(new Float32Array(layout.numParameters).fill(0.5), withFormat({ encoding: "f32", compression }));
    expect(packed.length).toBeLessThan(plain.length);
    expect(decodeMessage(packed, withFormat({ encoding: "f32", compression }), 1e6)).toEqual(decodeMessage(plain, context, 1e6));
    const noise = withFormat({ encoding: "q8_0", compression });
    const length = messageBytesBound(noise);
    const random = createWordStream(9);
    const anything = Float32Array.from({ length: layout.numParameters }, () => (random() % 255) - 127);
    expect(encodeMessage(anything, noise).length).toBe(length);
    expect(decodeMessage(encodeMessage(anything, noise), noise, 1e6).values).toHaveLength(anything.length);
    refuses(packed, "MESSAGE_MISMATCH", context);
  });

  test("with a key only its owner can make a message", () => {
    const key = Buffer.alloc(32, 7);
    const message = encodeMessage(values, { ...context, key });
    expect(decodeMessage(message, { ...context, key }, 1e6).values).toEqual(values);
    refuses(message, "MESSAGE_CORRUPT");
    refuses(forged(message, () => undefined), "MESSAGE_CORRUPT", { ...context, key });
  });
});

describe("what is refused", () => {
  const message = encodeMessage(values, context);

  test("every single flipped bit and every length but the right one", () => {
    for (let bit = 0; bit < 8 * message.length; bit++) {
      const spoilt = Buffer.from(message);
      spoilt[bit >> 3] = (spoilt[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => decodeMessage(spoilt, context, 1e6)).toThrow(/message/u);
    }
    for (let length = 0; length < message.length; length++) refuses(message.subarray(0, length), "MESSAGE_INVALID");
    refuses(Buffer.concat([message, Buffer.of(0)]), "MESSAGE_INVALID");
    refuses(Buffer.alloc(10 * message.length), "MESSAGE_INVALID");
  });

  test("another kind, round, layout, half, encoding, part or difference than was asked for", () => {
    const others: readonly Partial<MessageContext>[] = [
      { kind: "weights" },
      { round: 5 },
      { layoutFingerprint: "0".repeat(64) },
      { slice: { half: "a" } },
      { isInner: true },
      { format: { encoding: "f16" } },
      { format: { encoding: "f32", topK: 0.5 } },
      { isDelta: true },
    ];
    for (const other of others) refuses(message, "MESSAGE_MISMATCH", { ...context, ...other });
  });

  test("numbers that are not finite, by the encoder and by the decoder, and a norm above the bound", () => {
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const bad = values.slice();
      bad[5] = wrong;
      expect(() => encodeMessage(bad, context)).toThrow(expect.objectContaining({ code: "MESSAGE_REFUSED" }) as Error);
      refuses(forged(message, (bytes) => bytes.writeFloatLE(wrong, HEADER_BYTES + 20)), "MESSAGE_REFUSED");
    }
    // A scale that is infinite, times nothing, is no number.
    const blocks = withFormat({ encoding: "q8_0" });
    refuses(forged(encodeMessage(values, blocks), (bytes) => bytes.writeUInt16LE(0x7c00, HEADER_BYTES)), "MESSAGE_REFUSED", blocks);
    const norm = Math.hypot(...values);
    expect(decodeMessage(message, context, norm * 1.0001).values).toEqual(values);
    refuses(message, "MESSAGE_REFUSED", context, norm * 0.9999);
    refuses(forged(message, (bytes) => bytes.writeFloatLE(3.4e38, HEADER_BYTES)), "MESSAGE_REFUSED");
  });

  test("headers that say more than there is, before anything is allocated", () => {
    for (const offset of [16, 20, 24, 28, 32]) {
      for (const count of [2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]) {
        expect(() => decodeMessage(forged(message, (bytes) => bytes.writeUInt32LE(count, offset)), context, 1e6)).toThrow(expect.objectContaining({ code: expect.stringMatching(/^MESSAGE_(INVALID|MISMATCH)$/u) as string }) as Error);
      }
    }
    refuses(forged(message, (bytes) => bytes.writeInt16LE(32767, 14)), "MESSAGE_INVALID");
    refuses(forged(message, (bytes) => (bytes[12] = 128)), "MESSAGE_INVALID");
    refuses(forged(message, (bytes) => (bytes[40] = 1)), "MESSAGE_INVALID");
    for (const offset of [8, 9, 10, 11, 13]) refuses(forged(message, (bytes) => (bytes[offset] = 77)), "MESSAGE_INVALID");
  });

  test("a stream that unpacks to more or less than was said, or has something behind it", () => {
    const zeros = new Float32Array(layout.numParameters);
    const bomb = compress(Buffer.alloc(50_000_000), "deflate");
    expect(decompress(bomb, "deflate", 1000)).toBeUndefined();
    for (const compression of COMPRESSIONS.filter((name) => name !== "zstd" || hasZstd)) {
      const format = withFormat({ encoding: "f32", compression });
      const good = encodeMessage(zeros, format);
      const start = HEADER_BYTES;
      const replaced = (payload: Buffer) =>
        forged(good, (bytes) => {
          const next = Buffer.concat([bytes.subarray(0, start), payload]);
          next.writeUInt32LE(payload.length, 28);
          return next;
        });
      const raw = Buffer.alloc(4 * zeros.length);
      expect(decodeMessage(replaced(compress(raw, compression)), format, 1e6).values).toEqual(zeros);
      refuses(replaced(compress(Buffer.alloc(raw.length + 1), compression)), "MESSAGE_INVALID", format);
      refuses(replaced(compress(raw.subarray(1), compression)), "MESSAGE_INVALID", format);
      refuses(replaced(Buffer.concat([compress(raw, compression), Buffer.of(0)])), "MESSAGE_INVALID", format);
      refuses(replaced(Buffer.alloc(20, 3)), "MESSAGE_INVALID", format);
    }
  });

  test("a compression that this Node lacks, by its name and what to do", () => {
    if (hasZstd) {
      expect(decompress(compress(Buffer.alloc(100), "zstd"), "zstd", 100)).toEqual(Buffer.alloc(100));
      return;
    }
    expect(() => {
      checkCompression("zstd", "federation.uplink.compression");
    }).toThrow(/federation\.uplink\.compression: expected .*deflate.*Node 22\.15/u);
  });
});

test("20,000 spoilt messages are refused or hold finite numbers within the bound", () => {
  const tally = fuzzMessages(20_000, 1);
  expect(Object.values(tally).reduce((sum, count) => sum + count, 0)).toBe(20_000);
  // Each way out is taken often, or the mutations would say little.
  for (const outcome of ["MESSAGE_CORRUPT", "MESSAGE_INVALID", "MESSAGE_MISMATCH", "MESSAGE_REFUSED", "decoded"]) expect(tally[outcome], outcome).toBeGreaterThan(100);
});
