import { expect, test } from "vitest";
import { mapBounded } from "../../../src/federated/bounded.js";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("results keep the order of the items and no more than the limit run at once", async () => {
  let running = 0;
  let most = 0;
  const results = await mapBounded([30, 5, 20, 1], 2, undefined, async (ms) => {
    running += 1;
    most = Math.max(most, running);
    await pause(ms);
    running -= 1;
    return ms;
  });
  expect(results).toEqual([30, 5, 20, 1]);
  expect(most).toBe(2);
});

test("after a failure nothing new starts, and what runs is waited for", async () => {
  const ended: number[] = [];
  const work = mapBounded([1, 20, 2, 3], 2, undefined, async (ms) => {
    await pause(ms);
    if (ms === 1) throw new Error("first");
    ended.push(ms);
  });
  await expect(work).rejects.toThrow("first");
  expect(ended).toEqual([20]);
});

test("after an abort nothing new starts", async () => {
  const controller = new AbortController();
  const started: number[] = [];
  await mapBounded([1, 2, 3], 1, controller.signal, (item) => {
    started.push(item);
    if (item === 2) controller.abort();
    return Promise.resolve();
  });
  expect(started).toEqual([1, 2]);
});
