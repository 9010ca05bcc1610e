/**
 * Goal: the generator equals Python's, bit for bit. The vectors below were printed by CPython 3.11 with
 * `python3 -c` and `random.Random(seed)` (fresh for each column: getrandbits(32) three times, random() twice,
 * sample(range(1000), 6), shuffle(list(range(8)))), and those named so come from FedLLM-Bench's selection rule.
 */
import { describe, expect, it } from "vitest";
import { PythonRandom } from "../../../src/data/python-random.js";

const perSeed: readonly (readonly [number, number[], number[], number[], number[]])[] = [
  [
    0,
    [3626764237, 1654615998, 3255389356],
    [0.8444218515250481, 0.7579544029403025],
    [864, 394, 776, 911, 430, 41],
    [4, 1, 5, 2, 0, 3, 7, 6],
  ],
  [
    1,
    [577090037, 2444712010, 3639700191],
    [0.13436424411240122, 0.8474337369372327],
    [137, 582, 867, 821, 782, 64],
    [3, 6, 1, 5, 7, 0, 4, 2],
  ],
  [
    42,
    [2746317213, 478163327, 107420369],
    [0.6394267984578837, 0.025010755222666936],
    [654, 114, 25, 759, 281, 250],
    [3, 4, 6, 7, 2, 5, 0, 1],
  ],
  [
    2023,
    [1644637140, 3013484573, 4174115899],
    [0.3829219244542088, 0.9718620884907823],
    [392, 718, 995, 457, 864, 398],
    [0, 1, 4, 2, 7, 3, 5, 6],
  ],
  [
    2 ** 32 - 1,
    [2728839433, 2661025012, 872737089],
    [0.6353574441341173, 0.20319993954407756],
    [650, 634, 208, 220, 621, 534],
    [0, 6, 7, 2, 5, 4, 1, 3],
  ],
  [
    2 ** 32,
    [485306839, 1508871100, 1794561286],
    [0.11299430095636409, 0.41782886486292836],
    [115, 359, 427, 957, 17, 23],
    [5, 7, 6, 4, 0, 3, 2, 1],
  ],
  [
    2 ** 32 + 5,
    [675479763, 2085189291, 1213270837],
    [0.15727238718789782, 0.2824866316461999],
    [161, 497, 289, 911, 618, 855],
    [5, 6, 1, 0, 4, 7, 3, 2],
  ],
  [
    2 ** 53 - 1,
    [404802386, 2407860725, 957238923],
    [0.09425040007102303, 0.22287455761867403],
    [96, 574, 228, 770, 195, 937],
    [3, 2, 0, 6, 5, 7, 4, 1],
  ],
  [
    123456789012345,
    [2896848117, 946991832, 1255537387],
    [0.6744750084019356, 0.2923275784421222],
    [690, 225, 299, 420, 230, 799],
    [4, 5, 6, 0, 1, 7, 2, 3],
  ],
];

const samples: readonly (readonly [number, number, number, number[]])[] = [
  [3, 21, 5, [7, 18, 17, 4, 11]],
  [3, 22, 5, [7, 18, 17, 4, 11]],
  [3, 85, 6, [30, 75, 69, 16, 47, 77]],
  [3, 86, 6, [30, 75, 69, 16, 47, 77]],
  [3, 10 ** 12, 3, [649562111997, 144071367498, 522284859645]],
  [3, 5, 5, [1, 4, 3, 2, 0]],
  [3, 1, 1, [0]],
  [3, 10, 0, []],
  [3, 2 ** 40, 7, [285805288266, 1041975902461, 1034389053353, 421913238835, 873924282544, 507453033541, 333439187583]],
];

describe("PythonRandom", () => {
  it.each(perSeed)("draws what Python draws with seed %d", (seed, words, doubles, sample, shuffled) => {
    const forWords = new PythonRandom(seed);
    expect(words.map(() => forWords.getrandbits(32))).toEqual(words);
    const forDoubles = new PythonRandom(seed);
    expect(doubles.map(() => forDoubles.random())).toEqual(doubles);
    expect(new PythonRandom(seed).sample(1000, 6)).toEqual(sample);
    const items = [0, 1, 2, 3, 4, 5, 6, 7];
    new PythonRandom(seed).shuffle(items);
    expect(items).toEqual(shuffled);
  });

  it("stays equal to Python when the state has been renewed several times", () => {
    const random = new PythonRandom(9);
    const words = Array.from({ length: 2000 }, () => random.getrandbits(32));
    expect(words.slice(623, 626)).toEqual([1672538544, 3815807495, 2519214465]);
    expect(words.slice(1247, 1250)).toEqual([3468018505, 3473295831, 1014683805]);
    expect(words[1999]).toBe(1592179525);
    expect(words.reduce((sum, word) => sum + word, 0)).toBe(4157045937483);
  });

  it("takes the top bits of one word, and of two words above 32 bits", () => {
    const random = new PythonRandom(7);
    expect([1, 5, 31, 32, 33, 40, 53].map((numBits) => random.getrandbits(numBits))).toEqual([
      0, 30, 323946139, 1695753998, 2795742288, 902254243635, 847850320662571,
    ]);
  });

  it("draws below powers of two and their neighbours as Python does", () => {
    const random = new PythonRandom(7);
    const limits = [1, 2, 3, 10, 1000, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1];
    expect(limits.map((n) => random.randbelow(n))).toEqual([
      0, 0, 1, 0, 74, 404285457, 2179419893, 161042648, 3766559332067162,
    ]);
  });

  it.each(samples)("samples with seed %d from %d integers %d different ones", (seed, n, k, expected) => {
    expect(new PythonRandom(seed).sample(n, k)).toEqual(expected);
  });

  it("chooses the clients of FedLLM-Bench's rounds 0, 1 and 2", () => {
    const select = (n: number, k: number, round: number): number[] =>
      new PythonRandom(round).sample(n, k).sort((a, b) => a - b);
    expect([0, 1, 2].map((round) => select(38, 4, round))).toEqual([
      [2, 16, 24, 26],
      [4, 8, 16, 36],
      [3, 5, 10, 23],
    ]);
    expect([0, 1, 2].map((round) => select(100, 5, round))).toEqual([
      [5, 33, 49, 53, 97],
      [8, 17, 32, 72, 97],
      [7, 10, 11, 21, 46],
    ]);
    expect([0, 1, 2].map((round) => select(50, 3, round))).toEqual([
      [24, 26, 48],
      [8, 36, 48],
      [3, 5, 23],
    ]);
  });

  it("chooses the samples of a client with 421 samples in round 0", () => {
    const indices = new PythonRandom(0).sample(421, 160);
    expect(indices.slice(0, 8)).toEqual([197, 388, 215, 20, 132, 261, 248, 207]);
    // Position-weighted checksum over all 160 indices, computed by CPython 3.11.
    expect(indices.reduce((sum, index, position) => sum + index * (position + 1), 0)).toBe(2712252);
  });

  it("refuses seeds and ranges that it could not draw exactly", () => {
    expect(() => new PythonRandom(-1)).toThrow("seed");
    expect(() => new PythonRandom(0.5)).toThrow("seed");
    expect(() => new PythonRandom(2 ** 53)).toThrow("seed");
    expect(() => new PythonRandom(0).sample(3, 4)).toThrow("4 of 3");
    expect(() => new PythonRandom(0).getrandbits(54)).toThrow("53");
    expect(() => new PythonRandom(0).randbelow(0)).toThrow("randbelow");
  });
});
