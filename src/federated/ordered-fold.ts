/**
 * Takes results that arrive in any order and hands them on in the order of their positions, without keeping more than a
 * few: who is about to start on a position far ahead waits until the ones before are done.
 */
import { assert } from "../util/assert.js";

/** Positions count from 0, and each is offered once. */
export class OrderedFold<T> {
  readonly #window: number;
  readonly #take: (item: T) => void;
  readonly #early = new Map<number, T>();
  #next = 0;
  #waiting: { readonly position: number; readonly resume: () => void }[] = [];
  #isClosed = false;

  /** At most `window` positions from the first one that is missing are let start. */
  constructor(window: number, take: (item: T) => void) {
    this.#window = window;
    this.#take = take;
  }

  /** Settles when the work on a position may start. */
  async start(position: number): Promise<void> {
    if (this.#mayStart(position)) return;
    await new Promise<void>((resume) => this.#waiting.push({ position, resume }));
  }

  offer(position: number, item: T): void {
    assert(position >= this.#next && !this.#early.has(position), "each position is offered once");
    this.#early.set(position, item);
    for (;;) {
      const next = this.#early.get(this.#next);
      if (next === undefined) break;
      this.#early.delete(this.#next);
      this.#next += 1;
      this.#take(next);
    }
    this.#resumeAll();
  }

  /** A position will never come: nobody need wait for it. */
  close(): void {
    this.#isClosed = true;
    this.#resumeAll();
  }

  #mayStart(position: number): boolean {
    return this.#isClosed || position < this.#next + this.#window;
  }

  #resumeAll(): void {
    const ready = this.#waiting.filter(({ position }) => this.#mayStart(position));
    this.#waiting = this.#waiting.filter(({ position }) => !this.#mayStart(position));
    for (const { resume } of ready) resume();
  }
}
