/**
 * Which trainings of several runs are the same arm with another seed. An arm is what its settings, its data and its model say; its name is
 * only how it is called. Where one name stands for several settings, what differs is added to it.
 */
import { seedSuffix } from "../../config/grid.js";
import { strategyLabel } from "../../config/strategy-file.js";
import { REFERENCE_PRECISIONS } from "../summary.js";
import type { OpenRun, StoredConfig } from "./source.js";
import type { StudyArm } from "./study.js";

/** One training: an arm of one run. */
export interface Cell {
  /** Place of the run in the study. */
  readonly run: number;
  /** Its name in the run. */
  readonly name: string;
  readonly seed: number;
  /** Cells with equal ones saw the same data. */
  readonly dataKey: string;
  readonly isFinished: boolean;
  readonly lastRound: number;
}

/** An arm of the study with its trainings. */
export interface ArmCells extends StudyArm {
  readonly trainings: readonly Cell[];
}

interface Identity {
  readonly name: string;
  readonly precision: string;
  readonly strategy: string;
  /** Dotted path -> value, of everything that makes the arm what it is. */
  readonly settings: ReadonlyMap<string, string>;
  /** The settings without those that go with the precision. */
  readonly family: string;
  readonly cells: Cell[];
}

/** Arms in the order of the first run that has them, and what had to be left out. */
export function collectArms(runs: readonly OpenRun[]): { readonly arms: readonly ArmCells[]; readonly warnings: readonly string[] } {
  const identities = new Map<string, Identity>();
  const warnings: string[] = [];
  for (const [index, run] of runs.entries()) {
    for (const arm of run.config.arms) {
      const settings = settingsOf(run, arm);
      const key = JSON.stringify([...settings]);
      const identity = identities.get(key) ?? { name: nameWithoutSeed(arm), precision: arm.precision, strategy: strategyLabel(arm.strategy), settings, family: familyOf(settings), cells: [] };
      identities.set(key, identity);
      const cell = { run: index, name: arm.name, seed: arm.seed ?? run.record.seed, dataKey: dataKeyOf(run), isFinished: run.finishedArms.has(arm.name), lastRound: run.lastRounds.get(arm.name) ?? 0 };
      warnings.push(...addCell(identity.cells, cell, runs));
    }
  }
  const labels = labelsOf([...identities.values()]);
  const all = [...identities.values()].map((identity, index) => ({ ...identity, arm: labels[index] ?? identity.name }));
  return { arms: all.map((identity) => finishArm(identity, all)), warnings };
}

/** Adds a cell; of two with one seed the better one stays: a finished before an unfinished one, then the newer one. */
function addCell(cells: Cell[], cell: Cell, runs: readonly OpenRun[]): string[] {
  const place = cells.findIndex(({ seed, dataKey }) => seed === cell.seed && dataKey === cell.dataKey);
  const other = cells[place];
  if (other === undefined) {
    cells.push(cell);
    return [];
  }
  const startOf = ({ run }: Cell) => runs[run]?.record.startedAt ?? "";
  const isBetter = cell.isFinished !== other.isFinished ? cell.isFinished : startOf(cell) > startOf(other);
  const [kept, left] = isBetter ? [cell, other] : [other, cell];
  cells[place] = kept;
  return [`${cell.name} with seed ${String(cell.seed)} is in ${runs[kept.run]?.folderName ?? ""} and in ${runs[left.run]?.folderName ?? ""}; the first of them counts.`];
}

function finishArm(identity: Identity & { readonly arm: string }, all: readonly (Identity & { readonly arm: string })[]): ArmCells {
  const { arm, precision, strategy, cells } = identity;
  const family = all.filter((other) => other.family === identity.family);
  const reference = REFERENCE_PRECISIONS.map((name) => family.find((other) => other.precision === name)).find((found) => found !== undefined);
  const finished = cells.filter(({ isFinished }) => isFinished);
  return {
    arm,
    precision,
    strategy,
    ...(reference === undefined || reference.arm === arm ? {} : { reference: reference.arm }),
    cells: cells.map(({ run, seed, isFinished, lastRound }) => ({ run, seed, isFinished, lastRound })),
    isPreliminary: finished.length === 0,
    trainings: finished.length === 0 ? cells : finished,
  };
}

/** What the cells of an arm with several seeds in one run have in common. */
function nameWithoutSeed({ name, seed }: StoredConfig["arms"][number]): string {
  const suffix = seed === undefined ? "" : seedSuffix(seed);
  return suffix !== "" && name.endsWith(suffix) && name.length > suffix.length ? name.slice(0, -suffix.length) : name;
}

/** SHA-256 of the data's files, by role, and the seed that they were divided by. */
function dataKeyOf({ record }: OpenRun): string {
  return [`divided by ${String(record.seed)}`, ...filesOf(record)].join(" ");
}

function filesOf(record: OpenRun["record"]): string[] {
  return Object.entries(record.hashes).filter(([role]) => role.startsWith("data.")).map(([role, hash]) => `${role} ${hash}`).sort();
}

/** Where files lie does not count, what is in them does; neither does the arm's name. */
function settingsOf({ config, record }: OpenRun, arm: StoredConfig["arms"][number]): Map<string, string> {
  const { name, strategy, seed: _seed, ...rest } = arm;
  const { train, heldOutFile, serverFile, synthetic, ...data } = config.data;
  const hashes = Object.entries(record.hashes).filter(([role]) => role.startsWith("data.") || role === `model.${arm.precision}` || role === `startAdapter.${name}` || role === `strategy.${name}`);
  const settings = new Map<string, string>();
  flatten({ ...rest, strategy: strategyLabel(strategy), data, evaluation: config.evaluation ?? {}, objective: config.training?.objective ?? "sft" }, "", settings);
  for (const [role, hash] of hashes) settings.set(`sha256 of ${role.startsWith("model.") ? "model" : role.replace(`.${name}`, "")}`, hash.slice(0, 8));
  return new Map([...settings].sort(([left], [right]) => (left < right ? -1 : 1)));
}

function flatten(value: unknown, path: string, into: Map<string, string>): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, path === "" ? key : `${path}.${key}`, into);
  } else {
    into.set(path, JSON.stringify(value));
  }
}

function familyOf(settings: ReadonlyMap<string, string>): string {
  return JSON.stringify([...settings].filter(([path]) => path !== "precision" && path !== "sha256 of model"));
}

const DIFFERENCES_MAX = 3;
const VALUE_LENGTH_MAX = 24;

/** The names, each with what differs where several arms have it. */
function labelsOf(identities: readonly Identity[]): string[] {
  const labels = identities.map((identity) => {
    const others = identities.filter((other) => other !== identity && other.name === identity.name);
    if (others.length === 0) return identity.name;
    const paths = [...new Set([identity, ...others].flatMap(({ settings }) => [...settings.keys()]))];
    const differing = paths.filter((path) => others.some((other) => other.settings.get(path) !== identity.settings.get(path)));
    // How it was trained says more than how it was judged.
    differing.sort((left, right) => Number(left.startsWith("evaluation.")) - Number(right.startsWith("evaluation.")));
    const shown = differing.slice(0, DIFFERENCES_MAX).map((path) => `${path}=${shortened(identity.settings.get(path) ?? "-")}`);
    return `${identity.name} [${[...shown, ...(differing.length > shown.length ? ["…"] : [])].join(", ")}]`;
  });
  return labels.map((label, index) => (labels.indexOf(label) === index ? label : `${label} #${String(labels.slice(0, index).filter((other) => other === label).length + 1)}`));
}

function shortened(value: string): string {
  const text = value.replaceAll('"', "");
  return text.length <= VALUE_LENGTH_MAX ? text : `${text.slice(0, VALUE_LENGTH_MAX - 1)}…`;
}
