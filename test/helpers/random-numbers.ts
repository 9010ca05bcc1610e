/** Seeded random numbers for property tests. */
import { PythonRandom } from "../../src/data/python-random.js";

export class RandomNumbers {
  readonly #random: PythonRandom;

  constructor(seed: number) {
    this.#random = new PythonRandom(seed);
  }

  /** From 0 to below 1. */
  uniform(): number {
    return this.#random.random();
  }

  /** Standard normal, by Box and Muller. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** The numbers 0 .. n - 1 in a random order. */
  permutation(n: number): number[] {
    return this.#random.sample(n, n);
  }
}
