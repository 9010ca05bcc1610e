/** Layouts of adapters on other layers: the same under other numbers, and one on all layers below. */
import { assert } from "../util/assert.js";
import type { AdapterLayout, AdapterTensor } from "./layout.js";
import { adapterPairs } from "./pairs.js";

/** The layout with layer from[i] as layer to[i]; both ascend, so the order of the weights stays. */
export function renumberLayers(layout: AdapterLayout, from: readonly number[], to: readonly number[]): AdapterLayout {
  const rename = (name: string) =>
    name.replace(/^blk\.(\d+)\./u, (_, number: string) => {
      const layer = to[from.indexOf(Number(number))];
      assert(layer !== undefined, "every layer of the layout has another number");
      return `blk.${String(layer)}.`;
    });
  return { ...layout, tensors: layout.tensors.map((tensor) => ({ ...tensor, name: rename(tensor.name) })) };
}

/**
 * The layout of an adapter on all layers below those of another one, with the shapes of the other's lowest layer, its modules and its
 * scale loraAlpha / rank. Empty when the other begins at layer 0.
 */
export function layoutBelow(layout: AdapterLayout, rank: number): AdapterLayout {
  const pairs = adapterPairs(layout);
  const lowest = pairs.reduce((least, { layer = 0 }) => Math.min(least, layer), Number.POSITIVE_INFINITY);
  const ofLowest = pairs.filter(({ layer = 0 }) => layer === lowest);
  const tensors: AdapterTensor[] = [];
  let offset = 0;
  for (let layer = 0; layer < (ofLowest.length === 0 ? 0 : lowest); layer++) {
    for (const { name, dIn, dOut } of ofLowest) {
      const weight = name.replace(/^blk\.\d+\./u, `blk.${String(layer)}.`);
      tensors.push({ name: `${weight}.lora_a`, shape: [dIn, rank], offset }, { name: `${weight}.lora_b`, shape: [rank, dOut], offset: offset + rank * dIn });
      offset += rank * (dIn + dOut);
    }
  }
  return { tensors, numParameters: offset, rank, loraAlpha: (layout.loraAlpha / layout.rank) * rank };
}
