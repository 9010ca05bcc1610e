/** Secret sharing: hand-worked values, every subset that is large enough, and that a smaller one tells nothing. */
import { checkPrimeSync, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { FIELD_PRIME, joinShares, SHARE_BYTES, splitSecret, type Share } from "../../../src/secagg/shamir.js";

const element = (value: bigint): Uint8Array => Uint8Array.from(Buffer.from(value.toString(16).padStart(2 * SHARE_BYTES, "0"), "hex"));
const numberOf = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
const share = (point: number, value: bigint): Share => ({ point, value: element(((value % FIELD_PRIME) + FIELD_PRIME) % FIELD_PRIME) });

function subsets<T>(items: readonly T[], size: number): T[][] {
  if (size === 0) return [[]];
  return items.flatMap((item, index) => subsets(items.slice(index + 1), size - 1).map((rest) => [item, ...rest]));
}

test("the field's size is the least prime above all secrets", () => {
  expect(checkPrimeSync(FIELD_PRIME, { checks: 64 })).toBe(true);
  for (let number = 2n ** 256n + 1n; number < FIELD_PRIME; number += 2n) expect(checkPrimeSync(number)).toBe(false);
});

describe("joining", () => {
  test("gives the values at 0 of polynomials that were worked out by hand", () => {
    // 1234 + 166 x + 94 x^2
    expect(numberOf(joinShares([share(2, 1942n), share(4, 3402n), share(5, 4414n)]))).toBe(1234n);
    // 7 - x, of which the value at 10 is below 0, so it wraps.
    expect(numberOf(joinShares([share(10, -3n), share(1, 6n)]))).toBe(7n);
    expect(numberOf(joinShares([share(65535, 5n)]))).toBe(5n);
  });

  test("refuses shares of a number that is no secret", () => {
    expect(() => joinShares([share(1, 2n ** 256n)])).toThrow(/shares of a secret of 32 bytes/u);
  });
});

describe("splitting", () => {
  test("gives shares of which every subset of the threshold's size gives the secret, and those one smaller do not", () => {
    for (const [threshold, count] of [[1, 3], [2, 3], [3, 5], [4, 7], [7, 7]] as const) {
      const secret = randomBytes(32);
      const shares = splitSecret(secret, threshold, Array.from({ length: count }, (_, index) => 3 * index + 1));
      for (const subset of subsets(shares, threshold)) expect(Buffer.from(joinShares(subset))).toEqual(secret);
      if (threshold === 1) continue;
      for (const subset of subsets(shares, threshold - 1)) {
        // What fewer shares interpolate to is a random element, and may be none of 32 bytes.
        let guess: Uint8Array | undefined;
        try {
          guess = joinShares(subset);
        } catch {
          continue;
        }
        expect(Buffer.from(guess)).not.toEqual(secret);
      }
    }
  });

  test("takes the extreme secrets", () => {
    for (const byte of [0, 255]) {
      const secret = new Uint8Array(32).fill(byte);
      expect(joinShares(splitSecret(secret, 2, [1, 2, 3]).slice(1))).toEqual(secret);
    }
  });

  test("draws a new polynomial each time, and its shares are spread over the field alike for any secret", () => {
    const zero = new Uint8Array(32);
    const ones = new Uint8Array(32).fill(255);
    const firstBits = [zero, ones].map((secret) => Array.from({ length: 500 }, () => splitSecret(secret, 2, [1, 2])[0]?.value[1] ?? 0));
    // A mean of 500 uniform bytes has standard deviation 3.3; eight of them never happen by chance.
    for (const bytes of firstBits) expect(Math.abs(bytes.reduce((sum, byte) => sum + byte, 0) / 500 - 127.5)).toBeLessThan(26.4);
    const shares = Array.from({ length: 50 }, () => numberOf(splitSecret(zero, 2, [1, 2])[0]?.value ?? zero));
    expect(new Set(shares).size).toBe(50);
  });

  test("with fewer shares than the threshold every secret is possible: a last share makes them shares of it", () => {
    const shares = splitSecret(randomBytes(32), 3, [1, 2, 3]).slice(0, 2);
    // The value at 3 of the polynomial through the two shares and (0, secret): 3 (y2 - y1) + secret.
    const [first, second] = shares.map(({ value }) => numberOf(value));
    for (const secret of [0n, 1n, 2n ** 255n]) {
      const last = share(3, 3n * ((second ?? 0n) - (first ?? 0n)) + secret);
      expect(numberOf(joinShares([...shares, last]))).toBe(secret);
    }
  });
});
