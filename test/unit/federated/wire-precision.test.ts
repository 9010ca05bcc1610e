/** Encodings of what travels, each against a naive definition. */
import { describe, expect, test } from "vitest";
import { encodedBytes, roundToWire } from "../../../src/federated/wire-precision.js";
import { PythonRandom } from "../../../src/data/python-random.js";

const random = new PythonRandom(5);
/** Numbers of very different sizes, and of both signs. */
const values = Float32Array.from({ length: 3000 }, (_, index) => (random.random() - 0.5) * 2 ** ((index % 45) - 28));

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

describe("rounding", () => {
  test.each([
    ["f16", 5, 10],
    ["bf16", 8, 7],
  ] as const)("%s takes the nearest number that there is, ties to even", (precision, numExponentBits, numFractionBits) => {
    const list = numbersOf(numExponentBits, numFractionBits);
    const middle = list.slice(5000, 5100).map((value, index) => (value + (list[5001 + index] ?? 0)) / 2);
    const inputs = Float32Array.from([...values, ...middle, 0, -0]);
    const rounded = roundToWire(inputs, precision);
    for (const [index, input] of inputs.entries()) expect(Math.abs(rounded[index] ?? 0), String(input)).toBe(nearest(list, Math.abs(input)));
    expect(rounded.every((value, index) => value === 0 || Math.sign(value) === Math.sign(inputs[index] ?? 0))).toBe(true);
    expect(roundToWire(rounded, precision)).toEqual(rounded);
  });

  test("q8_0 is off by at most half a step and the rounding of the scale, block by block", () => {
    const inputs = values.slice(0, 1000);
    const rounded = roundToWire(inputs, "q8_0");
    for (let start = 0; start < inputs.length; start += 32) {
      const block = [...inputs.subarray(start, start + 32)];
      const step = Math.max(...block.map(Math.abs)) / 127;
      // The scale has 11 bits, or 2^-24 where it is subnormal; it counts up to 127 times.
      const bound = step * 0.5001 + 127 * Math.max(step * 2 ** -11, 2 ** -25);
      for (const [index, value] of block.entries()) expect(Math.abs((rounded[start + index] ?? 0) - value)).toBeLessThanOrEqual(bound);
    }
    expect(roundToWire(new Float32Array(40), "q8_0")).toEqual(new Float32Array(40));
    const whole = Float32Array.from({ length: 32 }, (_, index) => (index === 0 ? 127 : index - 16));
    expect(roundToWire(whole, "q8_0")).toEqual(whole);
  });

  test("what cannot be held is not finite, so that the server refuses it", () => {
    for (const precision of ["f16", "q8_0"] as const) {
      expect(roundToWire(Float32Array.of(1e30, 1), precision).every(Number.isFinite)).toBe(false);
    }
    for (const precision of ["f16", "bf16", "q8_0"] as const) {
      expect(roundToWire(Float32Array.of(Number.NaN, 1), precision).every(Number.isFinite)).toBe(false);
    }
  });

  test("single precision is the vector itself", () => {
    expect(roundToWire(values, "f32")).toBe(values);
  });
});

test("bytes are those of the encoding, the last block whole", () => {
  expect((["f32", "f16", "bf16", "q8_0"] as const).map((precision) => encodedBytes(33, precision))).toEqual([132, 66, 66, 68]);
});
