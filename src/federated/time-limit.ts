/** Work that is stopped when it takes too long by the clock on the wall. What comes of it then depends on the machine, unlike everything else of a round. */

/** How long, what else stops the work, and what stands for its result when its time is over. */
export interface TimeLimit<T> {
  /** Absent: as long as it takes. */
  readonly limitMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly whenOver: () => T;
}

/**
 * Does work that follows an abort signal. Once the time is over the signal aborts, and whatever the work then throws gives
 * `whenOver`; work that ends all the same keeps its result. Rejects with the work's own errors otherwise, also after an abort
 * from outside.
 */
export async function withinTime<T>(work: (signal: AbortSignal | undefined) => Promise<T>, { limitMs, signal, whenOver }: TimeLimit<T>): Promise<T> {
  if (limitMs === undefined) return work(signal);
  const own = new AbortController();
  const passOn = (): void => {
    own.abort(signal?.reason);
  };
  if (signal?.aborted === true) passOn();
  signal?.addEventListener("abort", passOn, { once: true });
  const timer = setTimeout(() => {
    own.abort();
  }, limitMs);
  try {
    return await work(own.signal);
  } catch (error) {
    if (own.signal.aborted && signal?.aborted !== true) return whenOver();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", passOn);
  }
}
