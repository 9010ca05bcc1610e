/** Encodings of numbers, each against a naive definition, and ggml's blocks against bytes that ggml made. */
import { describe, expect, test } from "vitest";
import { PythonRandom } from "../../../src/data/python-random.js";
import { encodeQ4, encodeQ8 } from "../../../src/wire/blocks.js";
import { decodeValues, encodeValues, sharedExponent, VALUE_ENCODINGS, valueBytes, type ValueEncoding } from "../../../src/wire/formats.js";
import { fromBfloatBits, fromHalfBits, toBfloatBits, toHalfBits } from "../../../src/wire/half.js";

const random = new PythonRandom(5);
/** Numbers of very different sizes, and of both signs. */
const values = Float32Array.from({ length: 3000 }, (_, index) => (random.random() - 0.5) * 2 ** ((index % 45) - 28));

/** What a receiver has of these numbers. */
function decoded(numbers: Float32Array, encoding: ValueEncoding): Float32Array {
  const exponent = sharedExponent(numbers, encoding);
  const result = decodeValues(encodeValues(numbers, encoding, exponent), numbers.length, encoding, exponent);
  expect(result).toBeDefined();
  return result ?? new Float32Array(0);
}

/** All numbers of 16 bits with so many for exponent and fraction, ascending. */
function numbersOf(numExponentBits: number, numFractionBits: number): number[] {
  const bias = 2 ** (numExponentBits - 1) - 1;
  const positive: number[] = [];
  for (let exponent = 0; exponent < 2 ** numExponentBits - 1; exponent++) {
    for (let fraction = 0; fraction < 2 ** numFractionBits; fraction++) {
      const part = fraction / 2 ** numFractionBits;
      positive.push(exponent === 0 ? part * 2 ** (1 - bias) : (1 + part) * 2 ** (exponent - bias));
    }
  }
  return positive;
}

/** The nearest of an ascending list, of two equally near ones that at an even place, whose last bit is 0. */
function nearest(list: readonly number[], value: number): number {
  let [low, high] = [0, list.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((list[middle] ?? 0) <= value) low = middle;
    else high = middle;
  }
  const [below, above] = [value - (list[low] ?? 0), (list[high] ?? 0) - value];
  const place = below === above ? (low % 2 === 0 ? low : high) : below < above ? low : high;
  return list[place] ?? Number.NaN;
}

describe("numbers of 16 bits", () => {
  test.each([
    ["half precision", 5, 10, toHalfBits, fromHalfBits],
    ["bfloat16", 8, 7, toBfloatBits, fromBfloatBits],
  ] as const)("%s takes the nearest number that there is, ties to even", (_name, numExponentBits, numFractionBits, toBits, fromBits) => {
    const list = numbersOf(numExponentBits, numFractionBits);
    const middle = list.slice(5000, 5100).map((value, index) => (value + (list[5001 + index] ?? 0)) / 2);
    for (const input of Float32Array.from([...values, ...middle, 0, -0])) {
      if (!Object.is(fromBits(toBits(input)), Math.sign(input) * nearest(list, Math.abs(input)))) expect.fail(String(input));
    }
    expect(list.findIndex((value, bits) => fromBits(bits) !== value || toBits(value) !== bits)).toBe(-1);
  });

  test("what is not finite stays so", () => {
    const kinds = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
    for (const kind of kinds) expect([fromHalfBits(toHalfBits(kind)), fromBfloatBits(toBfloatBits(kind))]).toEqual([kind, kind]);
    expect(fromHalfBits(toHalfBits(65520))).toBe(Number.POSITIVE_INFINITY);
    expect(fromHalfBits(toHalfBits(65519))).toBe(65504);
  });
});

describe("blocks", () => {
  /** 64 numbers that single precision has exactly, and what ggml's quantize_row_q8_0_ref and quantize_row_q4_0_ref make of them. */
  const inputs = Float32Array.from({ length: 64 }, (_, i) => (((i * i * 7 + i * 3) % 101) - 50) / 64);

  test("q8_0 is ggml's, byte by byte", () => {
    const expected =
      "4d1e819ad738bb632e1c2e63bb38d79a818bb90a7f17d2b1b4da249021d5aca7c6082c1e6ff6a075687fb515933c03eefd3184009b60434b77c236ca81626281ca36c277";
    expect(encodeQ8(inputs).toString("hex")).toBe(expected);
  });

  test("q4_0 is ggml's, byte by byte", () => {
    expect(encodeQ4(inputs).toString("hex")).toBe("402e4092f59c543e3b6aab1ea45c3522408120aee1294e3101c05db7ff2428f9b855cf08");
  });

  test.each([
    // A step is largest / 127, of which a number is off by half; the scale has 11 bits and counts up to 127 times.
    ["q8_0", 1 / 254 + 2 ** -11],
    // A step is largest / 8; what is near the largest with the other sign has no code of its own and is off by a whole one.
    ["q4_0", 1 / 8 + 2 ** -11],
  ] as const)("%s is off by at most its bound, however large or small the numbers are", (encoding, bound) => {
    for (const factor of [1, 2 ** -100, 2 ** 90]) {
      const scaled = Float32Array.from({ length: 1000 }, (_, index) => (values[index * 2 + (index % 2)] ?? 0) * factor);
      const received = decoded(scaled, encoding);
      // Scales more than 2^-28 below the largest are subnormal, with a step of 2^-38 of the message's largest.
      const floor = Math.max(...scaled.map(Math.abs)) * 2 ** -37 * 127;
      for (let start = 0; start < scaled.length; start += 32) {
        const block = scaled.subarray(start, start + 32);
        const most = Math.max(...block.map(Math.abs)) * bound * 1.001 + floor;
        const worst = Math.max(...block.map((value, index) => Math.abs((received[start + index] ?? 0) - value)));
        expect(worst).toBeLessThanOrEqual(most);
      }
    }
  });

  test("numbers that are multiples of the step, and zeros, are exact", () => {
    const whole = Float32Array.from({ length: 32 }, (_, index) => (index === 0 ? 127 : index - 16));
    expect(decoded(whole, "q8_0")).toEqual(whole);
    const few = Float32Array.from({ length: 32 }, (_, index) => (index === 0 ? -8 : (index % 16) - 8));
    expect(decoded(few, "q4_0")).toEqual(few);
    for (const encoding of VALUE_ENCODINGS) expect(decoded(new Float32Array(40), encoding).every((value) => value === 0)).toBe(true);
  });

  test("what pads the last block has to be zero", () => {
    for (const encoding of ["q8_0", "q4_0"] as const) {
      const bytes = encodeValues(Float32Array.of(1, 2, 3), encoding, 0);
      const last = bytes.length - 1;
      bytes[last] = (bytes[last] ?? 0) ^ 0x10;
      expect(decodeValues(bytes, 3, encoding, 0)).toBeUndefined();
    }
  });
});

test("16 bits and blocks of a message share a power of two, so the largest and the smallest updates are as exact as others", () => {
  for (const encoding of ["f16", "q8_0", "q4_0"] as const) {
    const plain = Float32Array.of(1, 0.3, -0.7, 0.11);
    const expected = decoded(plain, encoding);
    for (const exponent of [-120, -20, 20, 120]) {
      const factor = 2 ** exponent;
      expect(decoded(plain.map((value) => value * factor), encoding)).toEqual(expected.map((value) => value * factor));
    }
    const extremes = Float32Array.of(3.4e38, -3.4e38);
    expect(decoded(extremes, encoding).every(Number.isFinite)).toBe(true);
    expect(decoded(Float32Array.of(2 ** -149), encoding)).toEqual(Float32Array.of(2 ** -149));
  }
});

test("numbers that were decoded once are decoded as they are", () => {
  // Not of four bits: a block's largest number may be clipped, and then its scale is another one.
  for (const encoding of ["f32", "f16", "bf16"] as const) {
    const once = decoded(values, encoding);
    expect(decoded(once, encoding)).toEqual(once);
  }
  expect(decoded(values, "f32")).toEqual(values);
});

test("bytes are those of the encoding, the last block whole", () => {
  expect(VALUE_ENCODINGS.map((encoding) => valueBytes(33, encoding))).toEqual([132, 66, 66, 68, 36]);
  for (const encoding of VALUE_ENCODINGS) expect(encodeValues(values, encoding, 0).length).toBe(valueBytes(values.length, encoding));
});
