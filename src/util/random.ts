/**
 * Derived seeds: each random draw of the program takes a seed made from (seed, purpose, parts), so adding one draw
 * moves no other. Generators themselves live where they are used (the core draws its own numbers from such a seed;
 * the draws that must equal Python's are in src/data/python-random.ts).
 */
import { createHash } from "node:crypto";

/**
 * An integer in [0, 2^53) from the first bits of the SHA-256 of the arguments.
 * The arguments are encoded as a JSON array, so ("a", "bc") and ("ab", "c") differ, as do 1 and "1".
 */
export function deriveSeed(seed: number, purpose: string, ...parts: readonly (string | number)[]): number {
  const digest = createHash("sha256")
    .update(JSON.stringify([seed, purpose, ...parts]))
    .digest();
  return Number(digest.readBigUInt64BE(0) >> 11n);
}

/** A number in [0, 1) from the same hash: one independent draw per purpose and parts. */
export function uniform(seed: number, purpose: string, ...parts: readonly (string | number)[]): number {
  return deriveSeed(seed, purpose, ...parts) / 2 ** 53;
}

/** 32-bit words in a stream, for draws by the million: sfc32 (Doty-Humphrey, PractRand), from the seed's two halves. */
export function createWordStream(seed: number): () => number {
  let a = seed >>> 0;
  let b = Math.floor(seed / 2 ** 32) >>> 0;
  let c = 0x9e3779b9;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  // The first words still show the seed.
  for (let index = 0; index < 12; index++) next();
  return next;
}
