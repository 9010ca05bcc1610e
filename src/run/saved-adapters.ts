/** The adapter files of a run: what there is of an arm, and the common adapter of a round, which a kept checkpoint may still hold. */
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { createArmStrategy } from "../config/arm-strategies.js";
import { resolveModelPath } from "../config/builtin.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import { problemError } from "../errors.js";
import { checkpointRounds, readSnapshot } from "../federated/checkpoint.js";
import { placeArm } from "./emulator.js";
import type { TrainingEngine } from "./engine.js";
import { EXACT_VARIANTS } from "./kernel-variants.js";
import { clientOfFileName } from "./run-folder.js";
import type { RunPaths } from "./run-folder.js";
import { saveJoined } from "./save-adapters.js";

export interface SavedAdapters {
  /** Absent: the arm has none for all, or is not finished. */
  readonly common?: string;
  readonly clients: readonly { readonly id: string; readonly path: string }[];
  readonly groups: readonly { readonly id: string; readonly path: string }[];
}

const EXTENSION = ".gguf";

/** What an arm has saved at its end, by id in the order of file names. */
export function findAdapters(paths: RunPaths, arm: string): SavedAdapters {
  const common = paths.adapter(arm);
  return {
    ...(existsSync(common) ? { common } : {}),
    clients: listAdapters(dirname(paths.adapter(arm, "any"))),
    groups: listAdapters(dirname(paths.groupAdapter(arm, "any"))),
  };
}

function listAdapters(folder: string): { id: string; path: string }[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith(EXTENSION) && !name.startsWith("."));
  return names.sort().map((name) => ({ id: clientOfFileName(name.slice(0, -EXTENSION.length)), path: join(folder, name) }));
}

/** Rounds whose common adapter was kept, ascending. */
export function keptRounds(paths: RunPaths, arm: string): number[] {
  const folder = dirname(paths.roundAdapter(arm, 0));
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .flatMap((name) => (/^\d+\.gguf$/u.test(name) ? [Number.parseInt(name, 10)] : []))
    .sort((left, right) => left - right);
}

export interface RoundPlace {
  readonly paths: RunPaths;
  readonly config: ExperimentConfig;
  readonly arm: ArmConfig;
  readonly engine: TrainingEngine;
}

/**
 * The common adapter after a round: a kept file, the last round's result, or made of a checkpoint that is still there, and kept from
 * then on. Throws CONFIG_INVALID with the rounds that there are.
 */
export async function findRoundAdapter(place: RoundPlace, round: number): Promise<string> {
  const { paths, arm } = place;
  const path = paths.roundAdapter(arm.name, round);
  if (existsSync(path)) return path;
  const final = paths.adapter(arm.name);
  const isFinished = existsSync(final);
  if (isFinished && round === arm.training.numRounds) return final;
  const checkpoints = checkpointRounds(paths.checkpoints(arm.name));
  if (checkpoints.includes(round) && (await keepFromCheckpoint(place, round, path))) return path;
  const known = new Set([...keptRounds(paths, arm.name), ...checkpoints, ...(isFinished ? [arm.training.numRounds] : [])]);
  throw problemError("CONFIG_INVALID", {
    subject: `round of arm ${arm.name}`,
    expected: known.size === 0 ? "a round with a common adapter, of which there is none" : `one of ${[...known].sort((left, right) => left - right).join(", ")}`,
    received: String(round),
    remedy: "checkpoint.keepAdapters keeps the adapter of every so many rounds",
  });
}

/** False where the round has no common adapter. */
async function keepFromCheckpoint({ paths, config, arm, engine }: RoundPlace, round: number, path: string): Promise<boolean> {
  const source = await engine.openSource(resolveModelPath(config.model));
  const strategy = await createArmStrategy(arm);
  const placed = placeArm(arm, strategy, source.numLayers).arm;
  const { state } = await readSnapshot(paths.checkpoints(arm.name), round);
  const variant = await engine.ensureVariant(source, arm.precision);
  const base = await engine.openBaseModel(variant.path, EXACT_VARIANTS);
  try {
    const adapters = strategy.adapters(state, base.trainer(placed.lora).layout);
    if (adapters.kind !== "global") return false;
    await saveJoined(path, placed, base, { weights: adapters.weights, frozen: adapters.frozen });
    return true;
  } finally {
    base.dispose();
  }
}
