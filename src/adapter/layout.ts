/**
 * The ordered list of an adapter's tensors inside its one flat Float32Array.
 * Order: base tensors by layer then by the fixed module order; for each, `lora_a` then `lora_b`.
 * The native side makes the layout (it knows the model); this file describes and checks it.
 */
import { createHash } from "node:crypto";

/** One trainable tensor. Shape is in ggml order (first number runs fastest). */
export interface AdapterTensor {
  /** Full name, for example `blk.0.attn_q.weight.lora_a`. */
  readonly name: string;
  /** A: [d_in, rank]; B: [rank, d_out]. */
  readonly shape: readonly [number, number];
  /** Offset of the first number in the flat buffer, in numbers (not bytes). */
  readonly offset: number;
}

/** The order and shapes of all adapter weights, and the total count of numbers. */
export interface AdapterLayout {
  readonly tensors: readonly AdapterTensor[];
  readonly numParameters: number;
  readonly rank: number;
  readonly loraAlpha: number;
}

/** SHA-256 over names, shapes, offsets, rank and loraAlpha: two adapters may be combined only when it is equal. */
export function fingerprintLayout(layout: AdapterLayout): string {
  const text = JSON.stringify([
    layout.rank,
    layout.loraAlpha,
    layout.tensors.map((tensor) => [tensor.name, tensor.shape[0], tensor.shape[1], tensor.offset]),
  ]);
  return createHash("sha256").update(text).digest("hex");
}
