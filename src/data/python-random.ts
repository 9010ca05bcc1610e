/**
 * Python's `random.Random(seed)` for integer seeds, bit for bit: the Mersenne Twister MT19937 seeded by `init_by_array`,
 * and the methods random, getrandbits, randbelow, sample and shuffle as CPython 3.11 defines them.
 * Client and sample selection of FedLLM-Bench are drawn with it, so that a run can be compared with the reference.
 * Deriving seeds from names is left to the callers.
 * Generator: Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8(1), 1998, and their 2002 initialisation.
 */
import { assert } from "../util/assert.js";

/** Number of 32-bit words in the state. */
const STATE_WORDS = 624;
/** Distance between the two words that are combined when the state is renewed. */
const SHIFT_WORDS = 397;
const TWIST_MATRIX = 0x9908b0df;
const UPPER_BIT = 0x80000000;
const LOWER_BITS = 0x7fffffff;
/** Most bits that a double holds exactly. */
const MAX_BITS = 53;
const TWO_32 = 4294967296;

/** A generator whose draws equal those of Python's `random.Random(seed)` in the same order of calls. */
export class PythonRandom {
  private readonly state = new Uint32Array(STATE_WORDS);
  /** Position of the next unused word; STATE_WORDS means that the state must be renewed first. */
  private position = STATE_WORDS;

  /** The seed is an integer from 0 to 2^53 - 1; 0 is a seed like any other. */
  constructor(seed: number) {
    assert(Number.isSafeInteger(seed) && seed >= 0, `a seed is an integer from 0 to 2^53 - 1, not ${seed}`);
    const high = Math.floor(seed / TWO_32);
    this.initializeByArray(high === 0 ? [seed] : [seed % TWO_32, high]);
  }

  /** A double in [0, 1) with 53 random bits. */
  random(): number {
    const high = this.nextWord() >>> 5;
    const low = this.nextWord() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** An integer of `numBits` random bits, 0 <= numBits <= 53. */
  getrandbits(numBits: number): number {
    assert(
      Number.isInteger(numBits) && numBits >= 0 && numBits <= MAX_BITS,
      `getrandbits takes 0 to 53 bits, not ${numBits}`,
    );
    if (numBits === 0) return 0;
    if (numBits <= 32) return this.nextWord() >>> (32 - numBits);
    // Python fills 32-bit words from the lowest; the last one gives its top bits.
    const low = this.nextWord();
    return (this.nextWord() >>> (64 - numBits)) * TWO_32 + low;
  }

  /** An integer in [0, n), 1 <= n <= 2^53 - 1; draws that fall outside are repeated, as in Python. */
  randbelow(n: number): number {
    assert(Number.isSafeInteger(n) && n >= 1, `randbelow takes an integer from 1 to 2^53 - 1, not ${n}`);
    const numBits = bitLength(n);
    let drawn = this.getrandbits(numBits);
    while (drawn >= n) drawn = this.getrandbits(numBits);
    return drawn;
  }

  /** `random.sample(range(n), k)`: k different integers below n, in the order drawn; 0 <= k <= n. */
  sample(n: number, k: number): number[] {
    assert(
      Number.isSafeInteger(n) && Number.isSafeInteger(k) && k >= 0 && k <= n,
      `cannot draw ${k} of ${n} without repetition`,
    );
    return n <= poolLimit(k) ? this.samplePool(n, k) : this.sampleSet(n, k);
  }

  /** Puts the items in random order, in place. */
  shuffle(items: unknown[]): void {
    for (let i = items.length - 1; i >= 1; i--) {
      const j = this.randbelow(i + 1);
      const moved = items[i];
      items[i] = items[j];
      items[j] = moved;
    }
  }

  /** Small n: takes from a list of all candidates and closes each gap with the last one. */
  private samplePool(n: number, k: number): number[] {
    const pool = Array.from({ length: n }, (_, index) => index);
    const result: number[] = [];
    for (let i = 0; i < k; i++) {
      const j = this.randbelow(n - i);
      result.push(pool[j] ?? 0);
      pool[j] = pool[n - i - 1] ?? 0;
    }
    return result;
  }

  /** Large n: draws again when an integer was drawn before; a Set keeps the order of insertion. */
  private sampleSet(n: number, k: number): number[] {
    const drawn = new Set<number>();
    while (drawn.size < k) drawn.add(this.randbelow(n));
    return [...drawn];
  }

  /** The next 32 random bits as an unsigned integer. */
  private nextWord(): number {
    if (this.position === STATE_WORDS) this.renewState();
    let word = this.word(this.position++);
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    word ^= word >>> 18;
    return word >>> 0;
  }

  private renewState(): void {
    for (let i = 0; i < STATE_WORDS; i++) {
      const mixed = (this.word(i) & UPPER_BIT) | (this.word((i + 1) % STATE_WORDS) & LOWER_BITS);
      const twisted = (mixed >>> 1) ^ ((mixed & 1) === 1 ? TWIST_MATRIX : 0);
      this.state[i] = this.word((i + SHIFT_WORDS) % STATE_WORDS) ^ twisted;
    }
    this.position = 0;
  }

  /** Seeds from 32-bit words, lowest first; the constants are those of the authors. */
  private initializeByArray(key: readonly number[]): void {
    this.initializeByWord(19650218);
    let i = 1;
    for (let step = 0; step < STATE_WORDS; step++) {
      const j = step % key.length;
      this.state[i] = (this.word(i) ^ Math.imul(this.carry(i), 1664525)) + (key[j] ?? 0) + j;
      i = this.following(i);
    }
    for (let step = 0; step < STATE_WORDS - 1; step++) {
      this.state[i] = (this.word(i) ^ Math.imul(this.carry(i), 1566083941)) - i;
      i = this.following(i);
    }
    this.state[0] = UPPER_BIT;
  }

  private initializeByWord(word: number): void {
    this.state[0] = word;
    for (let i = 1; i < STATE_WORDS; i++) {
      this.state[i] = Math.imul(1812433253, this.carry(i)) + i;
    }
  }

  /** The word before position i, mixed with its own top two bits. */
  private carry(i: number): number {
    const previous = this.word(i - 1);
    return previous ^ (previous >>> 30);
  }

  /** The position after i; at the end the last word is copied to position 0 and the walk goes on at 1. */
  private following(i: number): number {
    if (i + 1 < STATE_WORDS) return i + 1;
    this.state[0] = this.word(STATE_WORDS - 1);
    return 1;
  }

  private word(i: number): number {
    return this.state[i] ?? 0;
  }
}

/** Number of bits needed to write n in binary, n >= 1. Exact up to 2^53, unlike a logarithm. */
function bitLength(n: number): number {
  const high = Math.floor(n / TWO_32);
  return high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(n);
}

/**
 * Up to this population Python's sample works on a list, above it on a set: 21, and for k > 5 the smallest
 * power of four that is at least 3k on top of it.
 */
function poolLimit(k: number): number {
  if (k <= 5) return 21;
  let power = 4;
  while (power < 3 * k) power *= 4;
  return 21 + power;
}
