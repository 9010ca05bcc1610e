/** Layouts of adapters for models that do not exist. */
import type { AdapterLayout, AdapterTensor } from "../../src/adapter/layout.js";

/** Pairs of one rank on weights of these names, input and output sizes, in this order. */
export function pairLayout(rank: number, weights: readonly (readonly [name: string, dIn: number, dOut: number])[]): AdapterLayout {
  const tensors: AdapterTensor[] = [];
  let offset = 0;
  for (const [name, dIn, dOut] of weights) {
    tensors.push({ name: `${name}.lora_a`, shape: [dIn, rank], offset });
    offset += dIn * rank;
    tensors.push({ name: `${name}.lora_b`, shape: [rank, dOut], offset });
    offset += rank * dOut;
  }
  return { tensors, numParameters: offset, rank, loraAlpha: 2 * rank };
}
