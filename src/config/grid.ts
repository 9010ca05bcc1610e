/**
 * The arms that an experiment lists, or those of its grid, written out: precision x strategy x whatever `vary` names x seed. Cells of one
 * seed have the same data, cohorts and initial adapter (as far as their adapters have one shape), so that their differences are paired.
 */
import { createHash } from "node:crypto";
import { FedllmError, problemError } from "../errors.js";
import type { ArmStrategyInput } from "./arm-strategies.js";
import { mergeRaw, parseSetOption, setValue } from "./overrides.js";
import { describeIssues } from "./problems.js";
import { NAME_LENGTH_MAX, armDifferencesSchema } from "./schema.js";
import type { ArmConfig, ParsedExperiment } from "./schema.js";
import { strategyLabel } from "./strategy-file.js";

/** Most cells of a grid; more are a slip of the keyboard. */
const CELLS_MAX = 10_000;
/** Sections in which an arm may differ. */
const SECTIONS = ["lora", "training", "federation", "privacy", "robust", "strategyOptions"] as const;

/** An arm as parsed, before the common sections are merged in. */
export interface ArmInput extends ArmStrategyInput, Pick<ArmConfig, "precision"> {
  readonly name: string;
  readonly seed?: number | undefined;
  readonly lora?: object | undefined;
  readonly training?: object | undefined;
  readonly federation?: object | undefined;
  readonly privacy?: object | undefined;
  readonly robust?: object | undefined;
}

type Grid = Exclude<ParsedExperiment["arms"], readonly unknown[]>;

/** The arms of a list as they are, those of a grid written out. Throws CONFIG_INVALID for values of `vary` that no arm may have. */
export function listArms({ arms }: Pick<ParsedExperiment, "arms">): readonly ArmInput[] {
  if (Array.isArray(arms)) {
    return arms.map((arm) => ({ ...arm, name: arm.name ?? cellName(arm.precision, arm.strategy, [], arm.seed) }));
  }
  const cells = combinations(Object.entries(arms.vary ?? {}));
  const seeds = arms.seeds ?? [undefined];
  const numCells = arms.precisions.length * arms.strategies.length * cells.length * seeds.length;
  if (numCells > CELLS_MAX) {
    throw problemError("CONFIG_INVALID", { subject: "arms", expected: `a grid of at most ${String(CELLS_MAX)} arms`, received: String(numCells) });
  }
  return arms.precisions.flatMap((precision) =>
    arms.strategies.flatMap((strategy) => cells.flatMap((cell) => seeds.map((seed) => cellOf(arms, { precision, strategy, cell, seed })))),
  );
}

/** One value of each varied field. */
type Cell = readonly (readonly [path: string, value: unknown])[];

/** All combinations; the last field varies fastest. */
function combinations(fields: readonly (readonly [path: string, values: readonly unknown[]])[]): readonly Cell[] {
  return fields.reduce<readonly Cell[]>((cells, [path, values]) => cells.flatMap((cell) => values.map((value) => [...cell, [path, value] as const])), [[]]);
}

interface Place {
  readonly precision: ArmConfig["precision"];
  readonly strategy: string;
  readonly cell: Cell;
  readonly seed: number | undefined;
}

function cellOf(grid: Grid, { precision, strategy, cell, seed }: Place): ArmInput {
  const raw = structuredClone(grid.byStrategy?.[strategy] ?? {}) as Record<string, unknown>;
  for (const [path, value] of cell) setValue(raw, { path: checkPath(path), value: mergeRaw(undefined, value), origin: "arms.vary" });
  const parsed = armDifferencesSchema.safeParse(raw);
  if (!parsed.success) throw new FedllmError("CONFIG_INVALID", describeIssues(parsed.error.issues, raw, () => "arms.vary").join("\n"));
  return { name: cellName(precision, strategy, cell, seed), precision, strategy, ...(seed === undefined ? {} : { seed }), ...parsed.data };
}

function checkPath(text: string): readonly string[] {
  const { path } = parseSetOption(`${text}=null`);
  const [section, ...rest] = path;
  if (rest.length > 0 && SECTIONS.some((name) => name === section)) return path;
  throw problemError("CONFIG_INVALID", {
    subject: "arms.vary",
    expected: `fields of ${SECTIONS.join(", ")} by dotted path, for example lora.rank`,
    received: JSON.stringify(text),
    remedy: "Precisions, strategies and seeds have lists of their own beside it",
  });
}

/** `q4_k_m-fedavg`, and behind it what the cell varies and its seed; a name too long for a file ends with a hash of the whole. */
function cellName(precision: string, strategy: string, cell: Cell, seed: number | undefined): string {
  const varied = cell.map(([path, value]) => `${path.split(".").at(-1) ?? path}${nameOfValue(value)}`);
  const name = [precision.toLowerCase(), strategyLabel(strategy), ...varied].join("-");
  const suffix = seed === undefined ? "" : seedSuffix(seed);
  if (name.length + suffix.length <= NAME_LENGTH_MAX || cell.length === 0) return `${name}${suffix}`;
  const hash = createHash("sha256").update(JSON.stringify(cell)).digest("hex").slice(0, 8);
  return `${name.slice(0, NAME_LENGTH_MAX - suffix.length - hash.length - 1)}-${hash}${suffix}`;
}

/** How a cell's name ends, so that cells that differ in nothing but the seed can be told to be one arm. */
export function seedSuffix(seed: number): string {
  return `-seed${String(seed)}`;
}

/** A value as a part of a file name. */
export function nameOfValue(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.replace(/[^A-Za-z0-9._-]+/g, ".").replace(/^\.+|\.+$/g, "");
}
