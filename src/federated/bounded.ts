/** Bounded concurrency for the clients of one round. */

/**
 * Maps items with at most `limit` at work at once; results are in the order of the items. After a failure or an abort
 * no new item is started, and the promise settles only when all started ones have ended, so nothing runs on behind the
 * caller's back. An abort leaves out what was not started; the caller checks the signal.
 */
export async function mapBounded<T, R>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal | undefined,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const errors: unknown[] = [];
  let nextIndex = 0;
  const runLane = async (): Promise<void> => {
    while (nextIndex < items.length && errors.length === 0 && signal?.aborted !== true) {
      const index = nextIndex++;
      try {
        results[index] = await work(items[index] as T);
      } catch (error) {
        errors.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, runLane));
  if (errors.length > 0) throw errors[0];
  return results;
}
