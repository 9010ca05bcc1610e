/**
 * Adapters as files of fewer bits hold them: each is written in the type by the core's own writer and read again, so what is judged are the numbers
 * of the file that `export --gguf TYPE` makes.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { joinAdapters } from "../adapter/joined.js";
import type { LoraConfig } from "../config/schema.js";
import type { FrozenAdapter } from "../federated/local-trainer.js";
import type { AdapterSet } from "../federated/protocol.js";
import type { AdapterFileType } from "../native/binding.js";
import type { OpenBaseModel } from "./engine.js";

/** Adapters and the rank that all of them have. */
export interface SavedSet {
  readonly lora: LoraConfig;
  readonly adapters: AdapterSet;
}

/**
 * A common adapter is joined with what is frozen beside it, as in its file. Adapters of clients or groups are rounded apart from what is frozen
 * beside them. Rejects with IO_FAILED without room for a file, ADAPTER_INVALID as joinAdapters.
 */
export async function asSaved(base: OpenBaseModel, lora: LoraConfig, adapters: AdapterSet, type: AdapterFileType): Promise<SavedSet> {
  const folder = await mkdtemp(join(tmpdir(), "fedllm-adapter-"));
  const path = join(folder, "adapter.gguf");
  const throughFile = async (shape: LoraConfig, weights: Float32Array) => {
    await base.saveAdapter(path, shape, weights, type);
    return (await base.loadAdapter(path)).weights;
  };
  try {
    const { frozen = [] } = adapters;
    if (adapters.kind === "global") {
      const joined = joinAdapters(base.trainer(lora).layout, [{ rank: lora.rank, loraAlpha: lora.loraAlpha, weights: adapters.weights }, ...frozen]);
      const shape = { ...lora, rank: joined.rank, loraAlpha: joined.loraAlpha };
      return { lora: shape, adapters: { kind: "global", weights: await throughFile(shape, joined.weights) } };
    }
    const weights = new Map<string, Float32Array>();
    for (const [name, own] of adapters.weights) weights.set(name, await throughFile(lora, own));
    const beside: FrozenAdapter[] = [];
    for (const adapter of frozen) beside.push({ ...adapter, weights: await throughFile({ ...lora, rank: adapter.rank, loraAlpha: adapter.loraAlpha }, adapter.weights) });
    const rounded = { ...adapters, weights, ...(frozen.length === 0 ? {} : { frozen: beside }) };
    if (rounded.kind !== "perClient") return { lora, adapters: rounded };
    // What all clients share has a file of its own, which a run of its own may judge.
    const { shared, ...own } = rounded;
    return { lora, adapters: own };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
