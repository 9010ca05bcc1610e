import { expect, test } from "vitest";
import { deriveSeed } from "../../../src/util/random.js";

test("a derived seed is the top 53 bits of the SHA-256 of the JSON array", () => {
  // Computed with Python's hashlib and json.
  expect(deriveSeed(7, "dropout", 1, "client-0")).toBe(5375147680825497);
  expect(deriveSeed(0, "init")).toBe(5056824565975063);
});

test("seed, purpose and every part change the derived seed, and so does the place of a boundary", () => {
  const seeds = [
    deriveSeed(0, "a"),
    deriveSeed(1, "a"),
    deriveSeed(0, "b"),
    deriveSeed(0, "a", "bc"),
    deriveSeed(0, "ab", "c"),
    deriveSeed(0, "a", 1),
    deriveSeed(0, "a", "1"),
    deriveSeed(0, "a", 1, 1),
  ];
  expect(new Set(seeds).size).toBe(seeds.length);
  for (const seed of seeds) expect(Number.isSafeInteger(seed)).toBe(true);
});
