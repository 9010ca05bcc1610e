/**
 * Random numbers for privacy: AES-256 in counter mode, keyed by HKDF-SHA-256 from a secret of 32 bytes and a purpose. The same secret
 * and purpose give the same stream, so a repeated computation draws the same numbers; other purposes give independent ones.
 */
import { createCipheriv, createHash, hkdfSync, randomBytes, type Cipher } from "node:crypto";

const SECRET_BYTES = 32;
const BLOCK_BYTES = 1 << 13;
const WORD = 2 ** 32;

/** A new secret from the operating system. */
export function newSecret(): Buffer {
  return randomBytes(SECRET_BYTES);
}

/** A secret that anybody can compute: for runs that must repeat and protect nobody. */
export function insecureSecret(seed: number): Buffer {
  return createHash("sha256").update(`fedllm-native insecure noise ${String(seed)}`).digest();
}

export class RandomStream {
  readonly #cipher: Cipher;
  readonly #zeros = Buffer.alloc(BLOCK_BYTES);
  #words = new Uint32Array(0);
  #position = 0;

  constructor(secret: Uint8Array, purpose: string) {
    const key = Buffer.from(hkdfSync("sha256", secret, Buffer.alloc(0), purpose, SECRET_BYTES));
    this.#cipher = createCipheriv("aes-256-ctr", key, Buffer.alloc(16));
  }

  /** A whole number from 0 to 2^53 - 1, all equally likely. */
  next53(): number {
    if (this.#position === this.#words.length) {
      this.#words = new Uint32Array(Uint8Array.from(this.#cipher.update(this.#zeros)).buffer);
      this.#position = 0;
    }
    const high = this.#words[this.#position] ?? 0;
    const low = this.#words[this.#position + 1] ?? 0;
    this.#position += 2;
    return (high >>> 11) * WORD + low;
  }

  /** A whole number from 0 to count - 1, all equally likely; count from 1 to 2^53. */
  below(count: number): number {
    // A power of two divides evenly; of what does not, the rest is drawn again.
    const limit = 2 ** 53 - ((2 ** 53) % count);
    for (;;) {
      const value = this.next53();
      if (value < limit) return value % count;
    }
  }

  /** True with a probability of at most `probability`, less by no more than 2^-53. */
  chance(probability: number): boolean {
    return this.next53() < Math.floor(probability * 2 ** 53);
  }
}
