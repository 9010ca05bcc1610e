import { expect, test } from "vitest";
import { OrderedFold } from "../../../src/federated/ordered-fold.js";

test("hands items on in the order of their positions, each as soon as those before it are there", () => {
  const taken: string[] = [];
  const fold = new OrderedFold<string>(4, (item) => taken.push(item));
  fold.offer(2, "c");
  fold.offer(1, "b");
  expect(taken).toEqual([]);
  fold.offer(0, "a");
  expect(taken).toEqual(["a", "b", "c"]);
  fold.offer(3, "d");
  expect(taken).toEqual(["a", "b", "c", "d"]);
});

test("lets nobody start further ahead than the window", async () => {
  const fold = new OrderedFold<number>(2, () => undefined);
  const started: number[] = [];
  const starts = [0, 1, 2, 3].map((position) => fold.start(position).then(() => started.push(position)));
  await Promise.all(starts.slice(0, 2));
  expect(started).toEqual([0, 1]);
  fold.offer(1, 1);
  await Promise.resolve();
  expect(started).toEqual([0, 1]);
  fold.offer(0, 0);
  await Promise.all(starts);
  expect(started).toEqual([0, 1, 2, 3]);
});

test("when it is closed nobody waits any longer", async () => {
  const fold = new OrderedFold<number>(1, () => undefined);
  const waiting = fold.start(5);
  fold.close();
  await expect(waiting).resolves.toBeUndefined();
});
