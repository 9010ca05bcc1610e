/**
 * Updates as whole numbers that are summed modulo 2^bits. A client's value x with weight w becomes round(w x / step), where step is a power of two,
 * so that w x and its quotient are exact in double precision and rounding is the only error: at most step / 2 in each w x. With |x| <= clip and
 * w <= maxWeight each number is at most floor((2^(bits - 1) - 1) / numClients), so the sum of all clients never wraps. Behind the values stand the
 * weight and whether the client had to clip, so the server learns the sum of the weights and how many clipped, and of no client either.
 */
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";

export const BITS_MIN = 16;
export const BITS_MAX = 32;
/** Words behind the values: weight, clipped. */
const NUM_EXTRAS = 2;
/** A weight times a single-precision number is exact in double precision. */
const WEIGHT_MAX = 2 ** 29;
/** Steps of the largest value of a client of weight 1, at least; with fewer the mean would be too coarse to be of use. */
const STEPS_MIN = 128;

export interface FixedPointOptions {
  /** Of a number of the sum. */
  readonly bits: number;
  /** Largest absolute value; others are brought to it. */
  readonly clip: number;
  readonly maxWeight: number;
  /** Most terms of a sum. */
  readonly numClients: number;
}

/** What a sum of encoded updates says. */
export interface DecodedSum {
  /** sum(w x), as rounded. */
  readonly values: Float64Array;
  readonly totalWeight: number;
  readonly numClipped: number;
}

export class FixedPoint {
  readonly options: FixedPointOptions;
  /** A power of two. */
  readonly step: number;
  readonly #clip: number;

  /** Throws CONFIG_INVALID where sums could wrap or would be too coarse. */
  constructor(options: FixedPointOptions) {
    const { bits, clip, maxWeight, numClients } = options;
    assert(bits >= BITS_MIN && bits <= BITS_MAX && clip > 0 && numClients >= 1, "the configuration checks ranges");
    assert(Number.isSafeInteger(maxWeight) && maxWeight >= 1, "weights are whole numbers from 1");
    const limit = Math.floor((2 ** (bits - 1) - 1) / numClients);
    if (maxWeight > WEIGHT_MAX || limit < STEPS_MIN * maxWeight) {
      throw problemError("CONFIG_INVALID", {
        subject: "federation.secureAggregation.bits",
        expected: `enough for ${String(numClients)} clients of weight ${String(maxWeight)}: ${String(bitsNeeded(maxWeight, numClients))} bits, of at most ${String(BITS_MAX)}`,
        received: String(bits),
        remedy: "Ask fewer clients per round, or take a strategy in which clients count alike",
      });
    }
    this.options = options;
    this.#clip = roundDown(clip);
    this.step = leastStep(maxWeight * this.#clip, limit);
  }

  /** Words of an encoded update of so many values. */
  static lengthOf(numValues: number): number {
    return numValues + NUM_EXTRAS;
  }

  /** Throws UPDATE_REJECTED for values that are not finite, and for a weight that the sum has no room for. */
  encode(values: Float32Array, weight: number): Uint32Array {
    const { maxWeight } = this.options;
    if (!Number.isSafeInteger(weight) || weight < 0 || weight > maxWeight) {
      throw problemError("UPDATE_REJECTED", { subject: "weight of an update", expected: `a whole number up to ${String(maxWeight)}`, received: String(weight) });
    }
    const clip = this.#clip;
    const perValue = weight / this.step;
    const words = new Uint32Array(FixedPoint.lengthOf(values.length));
    let isClipped = false;
    for (let i = 0; i < values.length; i++) {
      const value = values[i] ?? 0;
      const within = value > clip ? clip : value < -clip ? -clip : value;
      if (within !== value) {
        if (!Number.isFinite(value)) throw problemError("UPDATE_REJECTED", { subject: "update", expected: "finite values", received: `${String(value)} at index ${String(i)}` });
        isClipped = true;
      }
      words[i] = Math.round(within * perValue);
    }
    words[values.length] = weight;
    words[values.length + 1] = isClipped ? 1 : 0;
    return words;
  }

  /** Of a sum modulo 2^bits of encoded updates of at most `numClients` clients. */
  decode(sum: Uint32Array): DecodedSum {
    const shift = BITS_MAX - this.options.bits;
    const values = new Float64Array(sum.length - NUM_EXTRAS);
    for (let i = 0; i < values.length; i++) values[i] = (((sum[i] ?? 0) << shift) >> shift) * this.step;
    return { values, totalWeight: sum[values.length] ?? 0, numClipped: sum[values.length + 1] ?? 0 };
  }

  /** How far a coordinate of sum(w x) / sum(w) is at most from the exact mean of values within the clip. */
  meanErrorBound(numTerms: number, totalWeight: number): number {
    return (numTerms * this.step) / 2 / totalWeight;
  }
}

function bitsNeeded(maxWeight: number, numClients: number): number {
  return Math.ceil(Math.log2(STEPS_MIN * maxWeight * numClients + 1)) + 1;
}

/** The least power of two that is at least most / limit; both products are exact. */
function leastStep(most: number, limit: number): number {
  let step = 2 ** Math.ceil(Math.log2(most / limit));
  while (step * limit < most) step *= 2;
  while ((step / 2) * limit >= most) step /= 2;
  return step;
}

/** The largest single-precision number that is not above. */
function roundDown(value: number): number {
  const rounded = Math.fround(value);
  if (rounded <= value) return rounded;
  const bits = new Uint32Array(Float32Array.of(rounded).buffer);
  bits[0] = (bits[0] ?? 0) - 1;
  return new Float32Array(bits.buffer)[0] ?? 0;
}
