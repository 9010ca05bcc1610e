/**
 * Draws with the exact probability exp(-x) for a rational x. Nearly always the first 53 bits of a uniform number decide, compared with a
 * floating-point value whose error is known; where they do not, more bits are drawn and compared with the value in integers.
 */
import type { RandomStream } from "./random-stream.js";

/** x = numerator / denominator, both computed only when they are needed. */
export type Rational = () => readonly [numerator: bigint, denominator: bigint];

/** Covers the errors of an approximate x below 64 and of Math.exp: each is a few units of 2^-53 times x. */
const SLACK = 1e-12;
const MORE_BITS = 64n;

/** True with probability exp(-x), x >= 0; `approximate` is x to a relative error of 1e-15. */
export function acceptExponential(approximate: number, exact: Rational, stream: RandomStream): boolean {
  const bits = stream.next53();
  const threshold = Math.exp(-approximate) * 2 ** 53;
  if (bits + 1 <= threshold * (1 - SLACK)) return true;
  if (bits >= threshold * (1 + SLACK) + 1e-9) return false;
  return decideExactly(bits, exact, stream);
}

/** The same uniform number, bit by bit, against exp(-x) in ever more bits. */
function decideExactly(bits: number, exact: Rational, stream: RandomStream): boolean {
  const [numerator, denominator] = exact();
  let value = BigInt(bits);
  for (let width = 53n; ; width += MORE_BITS) {
    const [low, high] = exponentialBounds(numerator, denominator, width);
    if (value + 1n <= low) return true;
    if (value >= high) return false;
    value = (value << MORE_BITS) + (BigInt(stream.next53()) >> 21n) * (1n << 32n) + (BigInt(stream.next53()) >> 21n);
  }
}

/** Bounds of exp(-n / d) 2^width, one or two apart: the square of squares of a series in fixed point with bits to spare. */
export function exponentialBounds(numerator: bigint, denominator: bigint, width: bigint): readonly [low: bigint, high: bigint] {
  let halvings = 0n;
  while (numerator > denominator << halvings) halvings++;
  // Each squaring doubles the relative error of the series, which is below its number of terms.
  const spare = 32n + 2n * halvings;
  const one = 1n << (width + spare);
  const x = (numerator << (width + spare)) / (denominator << halvings);
  // 1 / exp(x), whose series has only positive terms.
  let [term, sum] = [one, one];
  for (let n = 1n; term > 0n; n++) {
    term = (term * x) / one / n;
    sum += term;
  }
  let value = (one * one) / sum;
  for (let i = 0n; i < halvings; i++) value = (value * value) / one;
  const result = value >> spare;
  return [result > 0n ? result - 1n : 0n, result + 2n];
}
