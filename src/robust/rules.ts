/** The robust rules by name: what each needs to know, how many clients it needs, and what it makes of a round's updates in the space they are compared in. */
import type { Matrix } from "../adapter/matrix.js";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { meanNearMedian, median, trimmedMean, type CoordinateRule } from "./coordinates.js";
import { bulyanSelection, krumScores, lowestScores } from "./krum.js";
import { acceptedShares, boundOf, clippedShares, type NormBound } from "./norm-bound.js";

export const ROBUST_RULES = ["normBound", "median", "trimmedMean", "krum", "multiKrum", "bulyan"] as const;
export type RobustRule = (typeof ROBUST_RULES)[number];

export interface RobustOptions extends NormBound {
  readonly rule: RobustRule;
  /** f: clients of a round that may be hostile; of trimmedMean, krum, multiKrum and bulyan. */
  readonly assumedHostile?: number;
  /** m of multiKrum; absent: n - f - 2. */
  readonly numSelected?: number;
  /** normBound: what becomes of an update beyond the bound. */
  readonly overBound: "clip" | "reject";
}

/** A round's updates in the space in which they are compared; all in the order of the clients. */
export interface UpdateSpace {
  readonly numClients: number;
  /** Lengths of the changes. */
  norms(): readonly number[];
  /** Between all pairs of changes [n, n]. */
  squaredDistances(): Matrix;
  /** sum(shares[k] * change[k]), in the form that the strategy's mean has. */
  sum(shares: readonly number[]): Float64Array;
  /** The rule for each coordinate of the changes at these places, in that form, and how far each client's change is from it. */
  byCoordinate(rule: CoordinateRule, places: readonly number[]): { readonly change: Float64Array; readonly distances: readonly number[] };
}

/** What a rule made of a round. */
export interface RobustOutcome {
  /** Takes the place of the mean. */
  readonly change: Float64Array;
  /** What each client's change counts in it, 0: nothing; undefined where that differs from coordinate to coordinate. */
  readonly shares: readonly (number | undefined)[];
  /** By what each was judged: Krum's score, the norm, or the distance from the result. */
  readonly scores: readonly number[];
  /** normBound: the longest that counted in full. */
  readonly bound?: number;
}

/** Rules that are told how many clients may be hostile. */
export function knowsHostile(rule: RobustRule): boolean {
  return rule === "trimmedMean" || rule === "krum" || rule === "multiKrum" || rule === "bulyan";
}

/** Fewest updates of a round with which the rule is defined and keeps what it promises. */
export function neededUpdates({ rule, assumedHostile = 0, numSelected = 1 }: RobustOptions): number {
  switch (rule) {
    case "krum":
      return 2 * assumedHostile + 3;
    case "multiKrum":
      return Math.max(2 * assumedHostile + 3, numSelected + assumedHostile + 2);
    case "bulyan":
      return 4 * assumedHostile + 3;
    case "trimmedMean":
      return 2 * assumedHostile + 1;
    default:
      return 1;
  }
}

/** Throws COHORT_TOO_SMALL when fewer updates came than the rule needs. */
export function applyRule(options: RobustOptions, space: UpdateSpace): RobustOutcome {
  const needed = neededUpdates(options);
  if (space.numClients < needed) {
    throw problemError("COHORT_TOO_SMALL", {
      subject: `robust rule ${options.rule}`,
      expected: `at least ${String(needed)} updates for ${String(options.assumedHostile)} hostile ones`,
      received: String(space.numClients),
      remedy: "Ask more clients in each round, or assume fewer hostile ones",
    });
  }
  return RULES[options.rule](space, options);
}

type Rule = (space: UpdateSpace, options: RobustOptions) => RobustOutcome;

const RULES: Readonly<Record<RobustRule, Rule>> = {
  normBound: (space, options) => {
    const norms = space.norms();
    const bound = boundOf(norms, options);
    const shares = options.overBound === "clip" ? clippedShares(norms, bound) : acceptedShares(norms, bound);
    return { change: space.sum(shares), shares, scores: norms, bound };
  },
  median: (space) => coordinateOutcome(space, median),
  trimmedMean: (space, options) => coordinateOutcome(space, trimmedMean(hostileOf(options))),
  krum: (space, options) => krumOutcome(space, hostileOf(options), 1),
  multiKrum: (space, options) => krumOutcome(space, hostileOf(options), options.numSelected ?? space.numClients - hostileOf(options) - 2),
  bulyan: (space, options) => {
    const numHostile = hostileOf(options);
    const distances = space.squaredDistances();
    const chosen = bulyanSelection(distances, numHostile);
    const { change } = space.byCoordinate(meanNearMedian(space.numClients - 4 * numHostile), chosen);
    return { change, shares: placesOf(space).map((i) => (chosen.includes(i) ? undefined : 0)), scores: krumScores(distances, numHostile) };
  },
};

function coordinateOutcome(space: UpdateSpace, rule: CoordinateRule): RobustOutcome {
  const { change, distances } = space.byCoordinate(rule, placesOf(space));
  return { change, shares: placesOf(space).map(() => undefined), scores: distances };
}

function krumOutcome(space: UpdateSpace, numHostile: number, numSelected: number): RobustOutcome {
  const scores = krumScores(space.squaredDistances(), numHostile);
  const chosen = lowestScores(scores, numSelected);
  const shares = scores.map((_, i) => (chosen.includes(i) ? 1 / numSelected : 0));
  return { change: space.sum(shares), shares, scores };
}

function placesOf({ numClients }: UpdateSpace): readonly number[] {
  return Array.from({ length: numClients }, (_, i) => i);
}

function hostileOf({ assumedHostile }: RobustOptions): number {
  assert(assumedHostile !== undefined, "the configuration says how many clients may be hostile");
  return assumedHostile;
}
