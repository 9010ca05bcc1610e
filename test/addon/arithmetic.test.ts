/**
 * The addon's arithmetic against the TypeScript it stands for, bit for bit: which of the two a server ran on must leave no trace
 * in an adapter or a resumed run. Numbers are of all sizes, with subnormal, infinite ones and NaN among them; lengths are odd, and
 * vectors begin anywhere in their buffer.
 */
import { describe, expect, test } from "vitest";
import { arithmeticFor, plainArithmetic, type Arithmetic } from "../../src/adapter/arithmetic.js";
import { WeightedSum } from "../../src/adapter/weighted-sum.js";
import { addUpdate, subtractWeights, weightsNorm } from "../../src/adapter/weights.js";
import { PythonRandom } from "../../src/data/python-random.js";
import { loadNative } from "../../src/native/load.js";

const native = loadNative().addon.arithmetic;
const LENGTHS = [0, 1, 5, 8, 13, 64, 511, 2048, 2053, 10_007];
const SPECIAL = [0, -0, 5e-324, -5e-324, 1e-45, 1e-310, 3e38, 1e308, -1e308, Infinity, -Infinity, NaN];

const random = new PythonRandom(8);

/** `finite`: without huge numbers, infinite ones and NaN. */
function mixedNumbers(length: number, finite: boolean): number[] {
  return Array.from({ length }, () => {
    if (random.random() < 0.1) return SPECIAL[Math.floor(random.random() * (finite ? 6 : SPECIAL.length))] ?? 0;
    return (random.random() - 0.5) * 10 ** (random.random() * 16 - 8);
  });
}

function singles(length: number, finite: boolean, start = 0): Float32Array {
  return Float32Array.from(mixedNumbers(length + start, finite)).subarray(start);
}

function doubles(length: number, finite: boolean, start = 0): Float64Array {
  return Float64Array.from(mixedNumbers(length + start, finite)).subarray(start);
}

/** All NaN as one, because which of them an operation gives is left to the processor; -0 and 0 stay apart. */
function haveSameBits(left: Float32Array | Float64Array, right: Float32Array | Float64Array): boolean {
  const bitsOf = (values: Float32Array | Float64Array) => Buffer.from(values.map((value) => (Number.isNaN(value) ? NaN : value)).buffer);
  return bitsOf(left).equals(bitsOf(right));
}

/** What a computation leaves in its target, for both arithmetics from the same start. */
function expectSame<T extends Float32Array | Float64Array>(target: T, compute: (arithmetic: Arithmetic, target: T) => void): void {
  const [actual, expected] = [target.slice() as T, target.slice() as T];
  compute(native, actual);
  compute(plainArithmetic, expected);
  expect(haveSameBits(actual, expected)).toBe(true);
}

describe.each(LENGTHS)("of %i numbers", (length) => {
  describe.each([true, false])("finite: %s", (finite) => {
    test("sums of terms are the same", () => {
      for (const numTerms of [0, 1, 3, 4, 7]) {
        const weights = doubles(numTerms, true);
        const terms = Array.from({ length: numTerms }, (_, k) => singles(length, finite, k % 3));
        expectSame(doubles(length, finite), (arithmetic, sum) => { arithmetic.addTerms(sum, weights, terms); });
      }
    });

    test("scaled, divided and added vectors are the same", () => {
      const source = doubles(length, finite, 1);
      expectSame(doubles(length, finite), (arithmetic, target) => { arithmetic.addScaled(target, -1.1, source); });
      for (const factor of [0.3, 1e-310, Infinity, NaN]) {
        expectSame(doubles(length, finite), (arithmetic, values) => { arithmetic.scale(values, factor); });
        expectSame(doubles(length, finite), (arithmetic, values) => { arithmetic.divide(values, factor); });
      }
    });

    test("sums and differences in single precision are the same", () => {
      const [a, b, c] = [singles(length, finite, 1), singles(length, finite, 2), doubles(length, finite)];
      expectSame(new Float32Array(length), (arithmetic, target) => { arithmetic.subtract(a, b, target); });
      expectSame(new Float32Array(length), (arithmetic, target) => { arithmetic.add(a, b, target); });
      expectSame(new Float32Array(length), (arithmetic, target) => { arithmetic.add(a, c, target); });
    });

    test("inner products are the same", () => {
      const [a, b] = [singles(length, finite, 1), singles(length, finite, 3)];
      const [c, d] = [doubles(length, finite), doubles(length, finite, 1)];
      expect(native.dot(a, b)).toBe(plainArithmetic.dot(a, b));
      expect(native.dot(c, d)).toBe(plainArithmetic.dot(c, d));
    });

    test("inner products of rows are the same", () => {
      const cols = Math.max(1, length);
      const [left, right] = [doubles(3 * cols, finite), doubles(6 * cols, finite, 1)];
      expectSame(new Float64Array(18), (arithmetic, products) => { arithmetic.rowProducts(left, right, cols, products); });
    });
  });
});

test("a loaded addon does the long vectors, and the functions over them keep their bits", () => {
  const length = 5003;
  expect(arithmeticFor(length)).toBe(native);
  expect(arithmeticFor(1)).toBe(plainArithmetic);
  const [start, trained] = [singles(length, true), singles(length, true)];
  const update = subtractWeights(trained, start);
  expect(update).toEqual(trained.map((value, i) => value - (start[i] ?? 0)));
  expect(addUpdate(start, update)).toEqual(start.map((value, i) => value + (update[i] ?? 0)));
  expect(weightsNorm(update)).toBe(Math.sqrt(plainArithmetic.dot(update, update)));
  const sum = new WeightedSum();
  for (const weight of [3, 1, 4, 1, 5]) sum.add(weight, update);
  expect(sum.mean()).toEqual(Float64Array.from(update, (value) => (0 + 3 * value + value + 4 * value + value + 5 * value) / 14));
});

test.each([
  ["another length", () => { native.subtract(new Float32Array(3), new Float32Array(2), new Float32Array(3)); }],
  ["a short target", () => { native.add(new Float32Array(3), new Float64Array(3), new Float32Array(2)); }],
  ["a term of another length", () => { native.addTerms(new Float64Array(3), Float64Array.of(1), [new Float32Array(2)]); }],
  ["a missing term", () => { native.addTerms(new Float64Array(3), Float64Array.of(1, 2), [new Float32Array(3)]); }],
  ["two types", () => native.dot<Float32Array | Float64Array>(new Float32Array(3), new Float64Array(3))],
  ["no whole rows", () => { native.rowProducts(new Float64Array(5), new Float64Array(4), 2, new Float64Array(4)); }],
  ["a short list of products", () => { native.rowProducts(new Float64Array(4), new Float64Array(4), 2, new Float64Array(3)); }],
  ["an ordinary array", () => { native.scale([1, 2] as unknown as Float64Array, 2); }],
])("%s is an error and not a crash", (_name, work) => {
  expect(work).toThrow(/expected/u);
});
