import { describe, expect, test } from "vitest";
import { emulatorLayers } from "../../../src/adapter/emulator-layers.js";

describe("layers of an emulator", () => {
  // 32 layers, the last 2 with an adapter: round(30 * 0.5) = 15 of the 30 below stay, at floor(29 i / 14).
  test("FedBiOT's published setting", () => {
    const { kept, inEmulator, inFullModel } = emulatorLayers(32, { firstLayers: 0, lastLayers: 2, dropRate: 0.5 });
    expect(kept).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 29, 30, 31]);
    expect(inEmulator).toEqual([15, 16]);
    expect(inFullModel).toEqual([30, 31]);
  });

  test("offsite tuning has the adapter at both ends", () => {
    const layers = emulatorLayers(12, { firstLayers: 2, lastLayers: 2, dropRate: 0.5 });
    expect(layers.kept).toEqual([0, 1, 2, 4, 6, 9, 10, 11]);
    expect(layers.inEmulator).toEqual([0, 1, 6, 7]);
    expect(layers.inFullModel).toEqual([0, 1, 10, 11]);
  });

  test("whatever the shape, the adapter's layers are kept and the ends of the rest are", () => {
    for (let numLayers = 2; numLayers <= 40; numLayers++) {
      for (const dropRate of [0, 0.1, 0.2, 0.3, 0.5, 0.9]) {
        for (const [firstLayers, lastLayers] of [[0, 1], [1, 0], [1, 1], [0, 4]] as const) {
          const between = numLayers - firstLayers - lastLayers;
          if (between < 1 || Math.round(between * (1 - dropRate)) < 1) continue;
          const { kept, inEmulator, inFullModel } = emulatorLayers(numLayers, { firstLayers, lastLayers, dropRate });
          expect(new Set(kept).size).toBe(kept.length);
          expect(kept).toEqual([...kept].sort((left, right) => left - right));
          expect(inEmulator.map((layer) => kept[layer])).toEqual(inFullModel);
          const middle = kept.filter((layer) => !inFullModel.includes(layer));
          expect(middle.length).toBe(Math.round(between * (1 - dropRate)));
          if (middle.length > 1) expect([middle[0], middle.at(-1)]).toEqual([firstLayers, numLayers - lastLayers - 1]);
        }
      }
    }
  });

  test.each([
    [4, { firstLayers: 0, lastLayers: 0, dropRate: 0.5 }, "together 1 to 3"],
    [4, { firstLayers: 2, lastLayers: 2, dropRate: 0.5 }, "together 1 to 3"],
    [4, { firstLayers: 0, lastLayers: 2, dropRate: 0.9 }, "leaves a layer of the 2"],
    [4, { firstLayers: 0, lastLayers: 2, dropRate: 1 }, "from 0 to below 1"],
    [4, { firstLayers: 0, lastLayers: 2, dropRate: Number.NaN }, "from 0 to below 1"],
    [4, { firstLayers: 0.5, lastLayers: 2, dropRate: 0 }, "a whole number"],
    [4, { firstLayers: -1, lastLayers: 2, dropRate: 0 }, "a whole number"],
  ])("of %i layers, %j is refused", (numLayers, shape, message) => {
    expect(() => emulatorLayers(numLayers, shape)).toThrow(message);
  });
});
