/**
 * Shamir's secret sharing (1979): a secret of 32 bytes is the value at 0 of a polynomial of degree threshold - 1 with uniformly random
 * other coefficients, and a share its value at a point of its own. Any `threshold` shares give the secret by Lagrange interpolation, and fewer
 * are equally likely for every secret. The field has 2^256 + 297 elements, the least prime above all 32-byte numbers.
 */
import { randomBytes } from "node:crypto";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";

export const FIELD_PRIME = 2n ** 256n + 297n;
export const SECRET_BYTES = 32;
/** Of the prime. */
export const SHARE_BYTES = 33;

/** A polynomial's value, big-endian, at a point from 1 to 65535. */
export interface Share {
  readonly point: number;
  readonly value: Uint8Array;
}

/** One share for each of the points, which are distinct and at least `threshold`. */
export function splitSecret(secret: Uint8Array, threshold: number, points: readonly number[]): readonly Share[] {
  assert(secret.length === SECRET_BYTES && threshold >= 1 && threshold <= points.length, "a secret has 32 bytes and enough shares");
  assert(new Set(points).size === points.length && points.every((point) => point >= 1 && point <= 65535), "points are distinct and not 0");
  const coefficients = [readNumber(secret), ...Array.from({ length: threshold - 1 }, randomElement)];
  return points.map((point) => ({ point, value: writeNumber(evaluate(coefficients, BigInt(point)), SHARE_BYTES) }));
}

/** The secret of any `threshold` of its shares. Throws PROTOCOL_VIOLATED for shares that are of no secret of 32 bytes. */
export function joinShares(shares: readonly Share[]): Uint8Array {
  const points = shares.map(({ point }) => BigInt(point));
  assert(points.length > 0 && new Set(points).size === points.length && !points.includes(0n), "shares are of distinct points");
  let secret = 0n;
  for (const [index, { value }] of shares.entries()) {
    const own = points[index] ?? 0n;
    let [numerator, denominator] = [1n, 1n];
    for (const other of points) {
      if (other === own) continue;
      numerator = (numerator * other) % FIELD_PRIME;
      denominator = modulo(denominator * (other - own));
    }
    secret = (secret + readNumber(value) * numerator * invert(denominator)) % FIELD_PRIME;
  }
  if (secret < 2n ** 256n) return writeNumber(secret, SECRET_BYTES);
  throw problemError("PROTOCOL_VIOLATED", { subject: "shares of a secret", expected: "shares of a secret of 32 bytes", received: "shares of something else" });
}

/** Horner's rule; the first coefficient is that of x^0. */
function evaluate(coefficients: readonly bigint[], x: bigint): bigint {
  return coefficients.reduceRight((value, coefficient) => (value * x + coefficient) % FIELD_PRIME, 0n);
}

/** Uniform: a draw of 257 bits is repeated until it is below the prime. */
function randomElement(): bigint {
  for (;;) {
    const bytes = randomBytes(SHARE_BYTES);
    bytes[0] = (bytes[0] ?? 0) & 1;
    const element = readNumber(bytes);
    if (element < FIELD_PRIME) return element;
  }
}

/** By Euclid's algorithm. */
function invert(element: bigint): bigint {
  let [remainder, next] = [FIELD_PRIME, modulo(element)];
  let [factor, nextFactor] = [0n, 1n];
  while (next !== 0n) {
    const quotient = remainder / next;
    [remainder, next] = [next, remainder - quotient * next];
    [factor, nextFactor] = [nextFactor, factor - quotient * nextFactor];
  }
  return modulo(factor);
}

function modulo(value: bigint): bigint {
  const rest = value % FIELD_PRIME;
  return rest < 0n ? rest + FIELD_PRIME : rest;
}

function readNumber(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
}

function writeNumber(value: bigint, numBytes: number): Uint8Array {
  return Uint8Array.from(Buffer.from(value.toString(16).padStart(2 * numBytes, "0"), "hex"));
}
