/** A bounded number of places that work waits for in the order of arrival. */
import { FedllmError } from "../errors.js";

interface Waiter {
  readonly start: () => void;
}

export class Slots {
  readonly #count: number;
  #used = 0;
  readonly #waiting: Waiter[] = [];

  /** count: how many may be taken at once, at least 1. */
  constructor(count: number) {
    this.#count = count;
  }

  get numWaiting(): number {
    return this.#waiting.length;
  }

  /** Waits for a place; the result gives it back and may be called twice. Rejects with CANCELLED after an abort while it waits. */
  async take(signal?: AbortSignal): Promise<() => void> {
    if (signal?.aborted === true) throw cancelled(signal);
    if (this.#used < this.#count) this.#used++;
    else await this.#wait(signal);
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const next = this.#waiting.shift();
      // The place goes from hand to hand, so that nobody who comes later can take it.
      if (next === undefined) this.#used--;
      else next.start();
    };
  }

  async #wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        start: () => {
          signal?.removeEventListener("abort", leave);
          resolve();
        },
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(cancelled(signal));
      };
      this.#waiting.push(waiter);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }
}

function cancelled(signal?: AbortSignal): FedllmError {
  return signal?.reason instanceof FedllmError ? signal.reason : new FedllmError("CANCELLED", "stopped while waiting for its turn");
}
