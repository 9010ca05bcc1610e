/**
 * The adapter that training begins with instead of a fresh one: which file a configuration names (a GGUF adapter, or the
 * result of an arm of another run), and its weights, checked against the arm that is to go on with it.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import type { ArmConfig } from "../config/schema.js";
import { FedllmError, problemError } from "../errors.js";
import type { AdapterShape, OpenBaseModel } from "./engine.js";
import { hashFile } from "./file-hash.js";
import { hasRun, runPaths, RUNS_FOLDER } from "./run-folder.js";
import type { RunPaths } from "./run-folder.js";

/** Where a start adapter lies. */
export interface StartAdapterFile {
  readonly path: string;
  readonly sha256: string;
}

export interface StartAdapter extends StartAdapterFile {
  /** In the layout of the arm. */
  readonly weights: Float32Array;
}

const FIELD = "training.startAdapter";
const armsSchema = z.object({ arms: z.array(z.object({ name: z.string() })) });

/**
 * The file that `reference` names for an arm: the path of an adapter, or of a run (also without its folder `runs`), after
 * which `#NAME` chooses one of the run's arms; without it the arm of the same name is meant, or the only one that has a
 * common adapter. Throws CONFIG_INVALID for anything else.
 */
export function findStartAdapter(reference: string, armName: string): string {
  if (isFile(reference)) return reference;
  const split = reference.lastIndexOf("#");
  const place = split < 0 ? reference : reference.slice(0, split);
  const run = [place, join(dirname(place), RUNS_FOLDER, basename(place))].find(hasRun);
  if (run === undefined) {
    throw problemError("CONFIG_INVALID", {
      subject: FIELD,
      expected: "a GGUF adapter, or the folder or name of a run",
      received: `${reference}, which is neither`,
    });
  }
  const paths = runPaths(run);
  const withAdapter = armsOf(paths).filter((arm) => existsSync(paths.adapter(arm)));
  const wanted = split < 0 ? defaultArm(withAdapter, armName) : reference.slice(split + 1);
  if (wanted !== undefined && withAdapter.includes(wanted)) return paths.adapter(wanted);
  throw problemError("CONFIG_INVALID", {
    subject: FIELD,
    expected: withAdapter.length === 0 ? "a run with a finished arm that has a common adapter" : `${place}# and one of ${withAdapter.join(", ")}`,
    received: reference,
  });
}

function defaultArm(names: readonly string[], armName: string): string | undefined {
  if (names.includes(armName)) return armName;
  return names.length === 1 ? names[0] : undefined;
}

function armsOf(paths: RunPaths): readonly string[] {
  return armsSchema.parse(parse(readFileSync(paths.config, "utf8"))).arms.map(({ name }) => name);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Finds and hashes the start adapters of all arms, by arm; throws as findStartAdapter. */
export async function locateStartAdapters(
  reference: string | undefined,
  arms: readonly ArmConfig[],
): Promise<ReadonlyMap<string, StartAdapterFile>> {
  const files = new Map<string, StartAdapterFile>();
  if (reference === undefined) return files;
  for (const { name } of arms) {
    const path = findStartAdapter(reference, name);
    files.set(name, { path, sha256: await hashFile(path) });
  }
  return files;
}

/** Reads an arm's start adapter. Throws ADAPTER_INVALID when it does not fit the model or has another shape than the arm's. */
export async function readStartAdapter(file: StartAdapterFile, arm: ArmConfig, base: OpenBaseModel): Promise<StartAdapter> {
  const { lora, weights } = await readAdapter(file, base);
  const shapes = [lora, arm.lora].map(describeShape);
  if (shapes[0] !== shapes[1]) {
    throw problemError("ADAPTER_INVALID", {
      subject: `start adapter ${file.path}`,
      expected: `the shape of arm ${arm.name} (${shapes[1] ?? ""})`,
      received: shapes[0] ?? "",
      remedy: "Write the adapter's numbers in the section lora",
    });
  }
  return { ...file, weights };
}

function describeShape({ rank, loraAlpha, targetModules, layers }: AdapterShape): string {
  const place = layers === undefined ? "all layers" : `layers ${layers.join(", ")}`;
  return `rank ${String(rank)}, loraAlpha ${String(loraAlpha)}, targetModules ${[...targetModules].sort().join(", ")}, ${place}`;
}

async function readAdapter({ path }: StartAdapterFile, base: OpenBaseModel) {
  try {
    return await base.loadAdapter(path);
  } catch (error) {
    if (!(error instanceof FedllmError)) throw error;
    throw new FedllmError(error.code, `start adapter ${path}: ${error.message}`, { cause: error });
  }
}
