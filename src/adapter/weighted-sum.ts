/**
 * A weighted sum that takes its terms one after another and keeps almost none of them: memory is one vector in double
 * precision and at most three terms that wait. Four terms are added in one pass, because the sum is twice as wide as a
 * term and reading and writing it would be most of the work; each number still gets its terms one by one in the order
 * in which they came, so the bits are those of adding them singly.
 */
import { assert } from "../util/assert.js";

interface Term {
  readonly weight: number;
  readonly values: Float32Array;
}

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
    const [first, second, third, fourth] = this.#waiting;
    if (first === undefined || second === undefined || third === undefined || fourth === undefined) return;
    addFour(this.#sum, first, second, third, fourth);
    this.#waiting = [];
  }

  /** The sum; nothing may be added after it, and it is given once. */
  sum(): Float64Array {
    const sum = this.#sum;
    assert(sum !== undefined, "a sum has at least one term");
    for (const term of this.#waiting) addOne(sum, term);
    this.#waiting = [];
    return sum;
  }

  /** The sum over the sum of the weights; given instead of it. */
  mean(): Float64Array {
    const sum = this.sum();
    const totalWeight = this.#totalWeight;
    assert(totalWeight > 0, "weights of a mean do not sum to zero");
    for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) / totalWeight;
    return sum;
  }
}

function addOne(sum: Float64Array, { weight, values }: Term): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + weight * (values[i] ?? 0);
}

function addFour(sum: Float64Array, a: Term, b: Term, c: Term, d: Term): void {
  const [va, vb, vc, vd] = [a.values, b.values, c.values, d.values];
  const [wa, wb, wc, wd] = [a.weight, b.weight, c.weight, d.weight];
  for (let i = 0; i < sum.length; i++) {
    // Left to right: one rounding after each term, as when they are added singly.
    sum[i] = (sum[i] ?? 0) + wa * (va[i] ?? 0) + wb * (vb[i] ?? 0) + wc * (vc[i] ?? 0) + wd * (vd[i] ?? 0);
  }
}
