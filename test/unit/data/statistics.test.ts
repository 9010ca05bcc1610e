/** Goal: counts and spreads of a data set, checked by hand and against the published figures of Fed-Aya. */
import { describe, expect, it } from "vitest";
import type { Sample } from "../../../src/data/samples.js";
import { describeClients, describeNumbers, histogramByDoubling } from "../../../src/data/statistics.js";

describe("histogramByDoubling", () => {
  it("counts 0 and 1 alone and powers of two at the beginning of their bins, without gaps", () => {
    expect(histogramByDoubling([0, 1, 1, 2, 3, 4, 31])).toEqual([
      { from: 0, to: 1, count: 1 },
      { from: 1, to: 2, count: 2 },
      { from: 2, to: 4, count: 2 },
      { from: 4, to: 8, count: 1 },
      { from: 8, to: 16, count: 0 },
      { from: 16, to: 32, count: 1 },
    ]);
    expect(histogramByDoubling([2 ** 29 - 1, 2 ** 29]).map(({ count }) => count)).toEqual([1, 1]);
    expect(histogramByDoubling([])).toEqual([]);
  });
});

describe("describeNumbers", () => {
  it("gives the mean, spread and median of Fed-Aya's client sizes", () => {
    const sizes = [
      421, 1576, 5016, 418, 1555, 365, 783, 935, 1223, 795, 516, 476, 447, 614, 361, 1363, 298, 1418, 809, 192, 493,
      289, 194, 139, 235, 209, 347, 713, 533, 417, 175, 492, 271, 418, 293, 223, 270, 221,
    ];
    const described = describeNumbers(sizes);
    expect(described).toMatchObject({ count: 38, min: 139, median: 419.5, max: 5016 });
    // The paper's table says 671 and 815, which is the spread of a population (of a sample it would be 826).
    expect(Math.round(described?.mean ?? 0)).toBe(671);
    expect(Math.round(described?.standardDeviation ?? 0)).toBe(815);
  });

  it("interpolates quartiles and has nothing to say about no numbers", () => {
    expect(describeNumbers([4, 1, 3, 2])).toMatchObject({ quartile1: 1.75, median: 2.5, quartile3: 3.25, mean: 2.5 });
    expect(describeNumbers([5])).toEqual({
      count: 1,
      mean: 5,
      standardDeviation: 0,
      min: 5,
      quartile1: 5,
      median: 5,
      quartile3: 5,
      max: 5,
    });
    expect(describeNumbers([])).toBeUndefined();
  });
});

describe("describeClients", () => {
  it("counts code points of questions and answers per client and over all samples", () => {
    const samples: Sample[] = [
      { kind: "single-turn", instruction: "ab😀", input: "cd", response: "é" },
      {
        kind: "multi-turn",
        turns: [
          { role: "user", text: "abc" },
          { role: "assistant", text: "de" },
          { role: "user", text: "f" },
        ],
      },
    ];
    const statistics = describeClients([
      { id: "a", samples },
      { id: "b", samples: [{ kind: "preference", prompt: "1234567", chosen: "12", rejected: "1" }] },
      { id: "c", samples: [] },
    ]);
    expect(statistics).toMatchObject({ numClients: 3, numSamples: 3, samplesPerClient: { mean: 1, min: 0, max: 2 } });
    expect(statistics.instructionCharacters).toMatchObject({ count: 3, min: 4, median: 5, max: 7 });
    expect(statistics.responseCharacters).toMatchObject({ count: 3, min: 1, median: 2, max: 2 });
    expect(statistics.rejectedCharacters).toMatchObject({ count: 1, mean: 1 });
    expect(statistics.clients[0]).not.toHaveProperty("rejectedCharacters");
    expect(
      statistics.clients.map((client) => [
        client.id,
        client.numSamples,
        client.instructionCharacters?.mean,
        client.responseCharacters?.mean,
      ]),
    ).toEqual([
      ["a", 2, 4.5, 1.5],
      ["b", 1, 7, 2],
      ["c", 0, undefined, undefined],
    ]);
  });
});
