/**
 * Arms whose clients get an emulator of the model: which layers it has, its file, and the adapter's options in both models. The
 * weights of the adapter are the same numbers in both (adapter/emulator-layers.ts).
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { emulatorLayers, type EmulatorLayers } from "../adapter/emulator-layers.js";
import type { ArmConfig, LoraConfig } from "../config/schema.js";
import { problemError } from "../errors.js";
import type { LocalTrainer } from "../federated/local-trainer.js";
import type { Strategy } from "../federated/strategy.js";
import type { NativeHiddenStateCache } from "../native/binding.js";
import { precisionsOf } from "./base-models.js";
import type { OpenBaseModel, TrainingEngine } from "./engine.js";
import { hashFile } from "./file-hash.js";

/** An arm with the adapter on the layers of the full model that its strategy wants. */
export interface PlacedArm {
  readonly arm: ArmConfig;
  /** Absent: clients have the full model. */
  readonly layers?: EmulatorLayers;
}

/**
 * Throws CONFIG_INVALID when the model has too few layers for the strategy, and for settings that contradict it: layers of
 * the adapter's own, clients of several precisions.
 */
export function placeArm(arm: ArmConfig, { emulator }: Strategy, numLayers: number): PlacedArm {
  if (emulator === undefined) return { arm };
  const refuse = (field: string, expected: string, received: string) =>
    problemError("CONFIG_INVALID", { subject: `${field} of arm ${arm.name}`, expected, received });
  if (arm.lora.layers !== undefined) {
    throw refuse("lora.layers", "none, because the strategy chooses them (strategyOptions.firstLayers and lastLayers)", arm.lora.layers.join(", "));
  }
  const precisions = precisionsOf(arm);
  if (precisions.length > 1) {
    throw refuse("federation.devices", "devices of one precision, of whose file the emulator is made", precisions.join(", "));
  }
  const layers = emulatorLayers(numLayers, emulator);
  return { arm: { ...arm, lora: { ...arm.lora, layers: [...layers.inFullModel] } }, layers };
}

/** An emulator, opened. */
export interface OpenEmulator {
  readonly base: OpenBaseModel;
  readonly layers: EmulatorLayers;
  readonly trainer: LocalTrainer;
  hiddenStateCache(): NativeHiddenStateCache | undefined;
  readonly weightBytes: number;
  readonly path: string;
  readonly sha256: string;
  dispose(): void;
}

export interface EmulatorFiles {
  readonly modelPath: string;
  /** Written unless it is there. */
  readonly path: string;
  readonly layers: EmulatorLayers;
  readonly lora: LoraConfig;
  readonly open: (path: string) => Promise<OpenBaseModel>;
}

/** Makes the file when there is none and opens it for training. Rejects as TrainingEngine.emulate and openBaseModel. */
export async function openEmulator(engine: TrainingEngine, { modelPath, path, layers, lora, open }: EmulatorFiles): Promise<OpenEmulator> {
  if (!existsSync(path)) {
    await mkdir(dirname(path), { recursive: true });
    await engine.emulate(modelPath, path, layers.kept);
  }
  const base = await open(path);
  return {
    base,
    layers,
    trainer: base.trainer({ ...lora, layers: [...layers.inEmulator] }),
    hiddenStateCache: () => base.hiddenStateCache?.(),
    weightBytes: base.weightBytes,
    path,
    sha256: await hashFile(path),
    dispose: () => {
      base.dispose();
    },
  };
}
