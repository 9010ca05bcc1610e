/**
 * A weighted sum that takes its terms one after another and keeps almost none of them: memory is one vector in double
 * precision and at most three terms that wait. Four terms are added in one pass, because the sum is twice as wide as a
 * term and reading and writing it would be most of the work; each number still gets its terms one by one in the order
 * in which they came, so the bits are those of adding them singly.
 */
import { assert } from "../util/assert.js";
import { arithmeticFor } from "./arithmetic.js";

interface Term {
  readonly weight: number;
  readonly values: Float32Array;
}

/** Terms that are added in one pass. */
const TERMS_PER_PASS = 4;

/** sum(weight * values) in double precision, in the order in which the terms are added. */
export class WeightedSum {
  #sum: Float64Array | undefined;
  #waiting: Term[] = [];
  #totalWeight = 0;

  /** The values are read before four more terms are there, or at `mean`; they must not change until then. */
  add(weight: number, values: Float32Array): void {
    assert(Number.isFinite(weight) && weight >= 0, "weights of a mean are finite and not negative");
    this.#sum ??= new Float64Array(values.length);
    assert(values.length === this.#sum.length, "terms of a mean have equal lengths");
    this.#totalWeight += weight;
    this.#waiting.push({ weight, values });
    if (this.#waiting.length === TERMS_PER_PASS) this.#addWaiting(this.#sum);
  }

  /** The sum; nothing may be added after it, and it is given once. */
  sum(): Float64Array {
    const sum = this.#sum;
    assert(sum !== undefined, "a sum has at least one term");
    this.#addWaiting(sum);
    return sum;
  }

  /** The sum over the sum of the weights; given instead of it. */
  mean(): Float64Array {
    assert(this.#totalWeight > 0, "weights of a mean do not sum to zero");
    return this.sumOver(this.#totalWeight);
  }

  /** The sum over a number; given instead of it. */
  sumOver(divisor: number): Float64Array {
    const sum = this.sum();
    arithmeticFor(sum.length).divide(sum, divisor);
    return sum;
  }

  #addWaiting(sum: Float64Array): void {
    const weights = Float64Array.from(this.#waiting, ({ weight }) => weight);
    arithmeticFor(sum.length).addTerms(sum, weights, this.#waiting.map(({ values }) => values));
    this.#waiting = [];
  }
}
