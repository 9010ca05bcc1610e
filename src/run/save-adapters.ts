/** The adapters of an arm as GGUF files, each joined with what is frozen beside it, so that one file says all that it does. */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { joinAdapters } from "../adapter/joined.js";
import type { ArmConfig } from "../config/schema.js";
import type { FrozenAdapter } from "../federated/local-trainer.js";
import type { AdapterSet } from "../federated/protocol.js";
import { assert } from "../util/assert.js";
import type { ArmSetup } from "./arm.js";
import type { OpenEmulator } from "./emulator.js";
import type { OpenBaseModel } from "./engine.js";
import { clientFileNames } from "./run-folder.js";

/** One file for a global adapter, one per group or client otherwise, both where a method has both. Returns how many files there are. */
export async function saveAdapters(setup: ArmSetup, arm: ArmConfig, base: OpenBaseModel, adapters: AdapterSet): Promise<number> {
  const { paths } = setup;
  const { frozen } = adapters;
  if (adapters.kind === "perClient" && adapters.shared !== undefined) {
    const { shared, ...own } = adapters;
    return (await saveAdapters(setup, arm, base, shared)) + (await saveAdapters(setup, arm, base, own));
  }
  if (adapters.kind === "global") {
    await saveJoined(paths.adapter(arm.name), arm, base, { weights: adapters.weights, frozen });
    return 1;
  }
  const names = clientFileNames([...adapters.weights.keys()]);
  for (const [name, weights] of adapters.weights) {
    const fileName = names.get(name) ?? name;
    const path = adapters.kind === "perGroup" ? paths.groupAdapter(arm.name, fileName) : paths.adapter(arm.name, fileName);
    await saveJoined(path, arm, base, { weights, frozen });
  }
  return adapters.weights.size;
}

/** One adapter and what is frozen beside it as one file. Throws ADAPTER_INVALID as joinAdapters. */
export async function saveJoined(
  path: string,
  { lora }: Pick<ArmConfig, "lora">,
  base: OpenBaseModel,
  { weights, frozen = [] }: { readonly weights: Float32Array; readonly frozen: readonly FrozenAdapter[] | undefined },
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const { rank, loraAlpha } = lora;
  const joined = joinAdapters(base.trainer(lora).layout, [{ rank, loraAlpha, weights }, ...frozen]);
  await base.saveAdapter(path, { ...lora, rank: joined.rank, loraAlpha: joined.loraAlpha }, joined.weights);
}

/** What stands beside the adapter in the emulator, as a file for the emulator. Returns how many files there are. */
export async function saveEmulatorAdapters({ paths }: ArmSetup, { name, lora }: ArmConfig, emulator: OpenEmulator | undefined, { inEmulator = [] }: AdapterSet): Promise<number> {
  const [adapter] = inEmulator;
  if (emulator === undefined || adapter === undefined) return 0;
  assert(inEmulator.length === 1, "one adapter belongs to an emulator");
  const { rank, loraAlpha, layers = [], weights } = adapter;
  const path = paths.emulatorAdapter(name);
  await mkdir(dirname(path), { recursive: true });
  await emulator.base.saveAdapter(path, { ...lora, rank, loraAlpha, layers: [...layers] }, weights);
  return 1;
}
