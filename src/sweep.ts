/**
 * A sweep: one experiment with all combinations of some fields' values and seeds, each a run of its own in a folder of the sweep's. What is
 * finished stays as it is, what was stopped goes on, and cells may be added by asking for more values later.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { fingerprintConfig, parseSetOption } from "./config/load.js";
import type { ConfigOverride } from "./config/load.js";
import type { ExperimentConfig } from "./config/schema.js";
import { nameOfValue } from "./config/grid.js";
import { problemError } from "./errors.js";
import { resumeExperiment, runExperiment } from "./experiment.js";
import type { RunOptions } from "./experiment.js";
import { openMetricsForReading } from "./metrics/database.js";
import { events } from "./metrics/queries.js";
import { hasRun, runPaths } from "./run/run-folder.js";
import { readRunRecord } from "./run/run-record.js";
import { ARM_FINISHED } from "./run/run-state.js";

/** A field and the values that it takes. */
export interface SweptField {
  readonly path: string;
  readonly values: readonly unknown[];
}

/** One combination: a run. */
export interface SweepCell {
  /** Name of its folder in the sweep's. */
  readonly name: string;
  readonly values: readonly (readonly [path: string, value: unknown])[];
  readonly seed: number | undefined;
  readonly overrides: readonly ConfigOverride[];
}

/** Most cells of a sweep; more are a slip of the keyboard. */
const CELLS_MAX = 10_000;
const FOLDER_NAME_MAX = 200;

/** Reads `field.path=value,value` of --grid; values are YAML. Throws CONFIG_INVALID. */
export function parseGridOption(text: string): SweptField {
  const split = text.indexOf("=");
  const { path } = parseSetOption(`${text.slice(0, Math.max(0, split))}=null`);
  const name = path.join(".");
  if (path[0] === "seed" || path[0] === "name" || path[0] === "variants") {
    throw problemError("CONFIG_INVALID", { subject: "--grid", expected: "a field that runs may differ in; seeds are given by --seeds", received: JSON.stringify(name) });
  }
  const values = readValues(name, text.slice(split + 1));
  if (values.length === 0) throw problemError("CONFIG_INVALID", { subject: `--grid ${name}`, expected: "values with commas between them, for example lora.rank=4,8", received: "none" });
  return { path: name, values };
}

function readValues(name: string, text: string): readonly unknown[] {
  try {
    return parse(`[${text}]`) as unknown[];
  } catch (error) {
    throw problemError("CONFIG_INVALID", { subject: `--grid ${name}`, expected: "YAML values with commas between them", received: JSON.stringify(text) }, error);
  }
}

/** All combinations, the seed varying fastest. Throws CONFIG_INVALID for a field or a value that is there twice, and for too many. */
export function sweepCells(fields: readonly SweptField[], seeds: readonly number[]): readonly SweepCell[] {
  const paths = fields.map(({ path }) => path);
  const repeated = paths.find((path, index) => paths.indexOf(path) !== index);
  if (repeated !== undefined) throw problemError("CONFIG_INVALID", { subject: `--grid ${repeated}`, expected: "each field once", received: "twice" });
  const combinations = fields.reduce<readonly SweepCell["values"][]>((cells, { path, values }) => cells.flatMap((cell) => values.map((value) => [...cell, [path, value] as const])), [[]]);
  const cells = combinations.flatMap((values) => (seeds.length === 0 ? [undefined] : seeds).map((seed) => cellOf(values, seed)));
  const names = cells.map(({ name }) => name.toLowerCase());
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw problemError("CONFIG_INVALID", { subject: "sweep", expected: "each value once", received: `two cells ${twice}` });
  if (cells.length <= CELLS_MAX) return cells;
  throw problemError("CONFIG_INVALID", { subject: "sweep", expected: `at most ${String(CELLS_MAX)} cells`, received: String(cells.length) });
}

function cellOf(values: SweepCell["values"], seed: number | undefined): SweepCell {
  const parts = [...values.map(([path, value]) => `${path}=${nameOfValue(value)}`), ...(seed === undefined ? [] : [`seed=${String(seed)}`])];
  const overrides = [
    ...values.map(([path, value]): ConfigOverride => ({ path: path.split("."), value, origin: "--grid" })),
    ...(seed === undefined ? [] : [{ path: ["seed"], value: seed, origin: "--seeds" }]),
  ];
  return { name: folderName(parts.join(",")), values, seed, overrides };
}

/** Folders take 255 bytes; a longer name ends with a hash of the whole. */
function folderName(name: string): string {
  return name.length <= FOLDER_NAME_MAX ? name : `${name.slice(0, FOLDER_NAME_MAX)}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}

export interface SweepOptions extends RunOptions {
  /** Before a cell is begun, gone on with, or left because it is finished. */
  readonly onCell?: (cell: SweepCell, state: "new" | "resumed" | "finished", position: number) => void;
}

/** Runs what is not finished, cell by cell. Throws CONFIG_INVALID for a folder whose cells came from another experiment, and as runExperiment. */
export async function runSweep(folder: string, cells: readonly { readonly cell: SweepCell; readonly config: ExperimentConfig }[], options: SweepOptions = {}): Promise<void> {
  const states = cells.map(({ cell, config }) => stateOf(join(folder, cell.name), config));
  for (const [position, { cell, config }] of cells.entries()) {
    const place = join(folder, cell.name);
    const state = states[position] ?? "new";
    options.onCell?.(cell, state, position);
    if (state === "new") await runExperiment(config, place, options);
    else if (state === "resumed") await resumeExperiment(place, options);
  }
}

/** Looked at for all cells before any of them runs. */
function stateOf(place: string, config: ExperimentConfig): "new" | "resumed" | "finished" {
  if (!hasRun(place)) return "new";
  const paths = runPaths(place);
  if (readRunRecord(paths.record).configFingerprint !== fingerprintConfig(config)) {
    throw problemError("CONFIG_INVALID", {
      subject: `cell ${place}`,
      expected: "a run of the experiment as it is now",
      received: "one of other settings",
      remedy: "Name another folder with --out, or remove this one",
    });
  }
  if (!existsSync(paths.metrics)) return "resumed";
  const database = openMetricsForReading(paths.metrics);
  try {
    const finished = new Set(events(database).flatMap(({ kind, arm }) => (kind === ARM_FINISHED ? [arm] : [])));
    return config.arms.every(({ name }) => finished.has(name)) ? "finished" : "resumed";
  } finally {
    database.close();
  }
}
