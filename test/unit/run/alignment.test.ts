/** Which states of an emulator and its model are compared, and the layout of an adapter on the emulator's own layers. */
import { describe, expect, test } from "vitest";
import { emulatorLayers } from "../../../src/adapter/emulator-layers.js";
import { layoutBelow, renumberLayers } from "../../../src/adapter/other-layers.js";
import type { AdapterLayout } from "../../../src/adapter/layout.js";
import { alignedBoundaries } from "../../../src/run/alignment.js";

describe("boundaries", () => {
  test("plain: what enters the adapter's first layer; layerwise: behind each layer, as behind the layer it was copied from", () => {
    const layers = emulatorLayers(12, { firstLayers: 0, lastLayers: 2, dropRate: 0.6 });
    expect(layers.kept).toEqual([0, 3, 6, 9, 10, 11]);
    expect(alignedBoundaries(layers, "plain")).toEqual({ inEmulator: [4], inModel: [10] });
    expect(alignedBoundaries(layers, "layerwise")).toEqual({ inEmulator: [1, 2, 3, 4], inModel: [1, 4, 7, 10] });
  });

  test("a single layer in the middle stands for all below the adapter", () => {
    const layers = emulatorLayers(6, { firstLayers: 0, lastLayers: 1, dropRate: 0.8 });
    expect(layers.kept).toEqual([2, 5]);
    for (const hiddenLoss of ["plain", "layerwise"] as const) expect(alignedBoundaries(layers, hiddenLoss)).toEqual({ inEmulator: [1], inModel: [5] });
  });

  test("nothing dropped: every layer is compared with itself", () => {
    const { inEmulator, inModel } = alignedBoundaries(emulatorLayers(5, { firstLayers: 0, lastLayers: 2, dropRate: 0 }), "layerwise");
    expect(inEmulator).toEqual([1, 2, 3]);
    expect(inModel).toEqual(inEmulator);
  });
});

describe("the layout below", () => {
  const layout: AdapterLayout = {
    tensors: [
      { name: "blk.2.attn_q.weight.lora_a", shape: [8, 2], offset: 0 },
      { name: "blk.2.attn_q.weight.lora_b", shape: [2, 6], offset: 16 },
      { name: "blk.3.attn_q.weight.lora_a", shape: [8, 2], offset: 28 },
      { name: "blk.3.attn_q.weight.lora_b", shape: [2, 6], offset: 44 },
    ],
    numParameters: 56,
    rank: 2,
    loraAlpha: 3,
  };

  test("has the layers before the first one, dense, in another rank with the same scale", () => {
    expect(layoutBelow(layout, 3)).toEqual({
      tensors: [
        { name: "blk.0.attn_q.weight.lora_a", shape: [8, 3], offset: 0 },
        { name: "blk.0.attn_q.weight.lora_b", shape: [3, 6], offset: 24 },
        { name: "blk.1.attn_q.weight.lora_a", shape: [8, 3], offset: 42 },
        { name: "blk.1.attn_q.weight.lora_b", shape: [3, 6], offset: 66 },
      ],
      numParameters: 84,
      rank: 3,
      loraAlpha: 4.5,
    });
  });

  test("is the same for the layers of model and emulator, which have one adapter under other numbers", () => {
    const inModel = renumberLayers(layout, [2, 3], [9, 10]);
    expect(inModel.tensors.map(({ name }) => name.slice(0, 6))).toEqual(["blk.9.", "blk.9.", "blk.10", "blk.10"]);
    expect(renumberLayers(inModel, [9, 10], [2, 3])).toEqual(layout);
  });

  test("is empty where the adapter begins at the first layer, or has no pairs", () => {
    const first = layout.tensors.map((tensor) => ({ ...tensor, name: tensor.name.replace("blk.2.", "blk.0.") }));
    for (const tensors of [first, []]) expect(layoutBelow({ ...layout, tensors }, 3).numParameters).toBe(0);
  });
});
