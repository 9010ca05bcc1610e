/**
 * The privacy loss of one release on a grid of losses i h, so that the grid's distribution is never easier to hide than the true one: the
 * mass of each loss l between two points of the grid goes to both in the shares that keep its probability under p and under q (the
 * connect-the-dots rule of Doroshenko et al. 2022), which makes delta(epsilon) exact on the grid and at most too large between. What
 * lies beyond the range counts as an infinite loss above and as the range's lowest loss below.
 */
import type { LossPair } from "./loss-pair.js";
import { gaussLegendre } from "./special.js";

/** Masses of the losses (first + i) * spacing, and of an infinite loss. */
export interface LossDistribution {
  readonly first: number;
  readonly masses: Float64Array;
  readonly infinite: number;
}

/** Widest piece of one application of a rule, in standard deviations: 8 nodes then leave an error below 1e-15, and 3 do for a narrow one. */
const PIECE = 0.5;
const NARROW = 0.02;
const WIDE_RULE = gaussLegendre(8);
const NARROW_RULE = gaussLegendre(3);

/** x / sigma from `low` to `high`. */
export interface Range {
  readonly low: number;
  readonly high: number;
}

/** The range outside of which the first distribution lies with no more than about exp(logTail). */
export function rangeOf({ sigma }: LossPair, logTail: number): Range {
  const reach = Math.sqrt(Math.max(1, -2 * logTail));
  return { low: -reach - 1 / sigma, high: reach + 1 / sigma };
}

/** The part of a range in which the loss lies between two values. */
export function withinLosses(pair: LossPair, range: Range, lossMin: number, lossMax: number): Range {
  return { low: Math.max(range.low, pair.inverse(lossMin) / pair.sigma), high: Math.min(range.high, pair.inverse(lossMax) / pair.sigma) };
}

/** The pair's loss distribution on the grid of this spacing. */
export function discretize(pair: LossPair, spacing: number, range: Range): LossDistribution {
  const { sigma } = pair;
  const first = Math.floor(pair.loss(range.low * sigma) / spacing);
  const last = Math.ceil(pair.loss(range.high * sigma) / spacing);
  const masses = new Float64Array(Math.max(2, last - first + 1));
  const span = -Math.expm1(-spacing);
  let from = range.low;
  for (let i = 0; i < masses.length - 1; i++) {
    const lower = (first + i) * spacing;
    const to = Math.min(range.high, Math.max(from, pair.inverse(lower + spacing) / sigma));
    let [mass, upward] = [0, 0];
    const { nodes, weights } = to - from > NARROW ? WIDE_RULE : NARROW_RULE;
    const pieces = Math.ceil((to - from) / PIECE);
    const half = (to - from) / pieces / 2;
    for (let piece = 0; piece < pieces; piece++) {
      for (let node = 0; node < nodes.length; node++) {
        const x = (from + half * (2 * piece + 1 + (nodes[node] ?? 0))) * sigma;
        const density = (weights[node] ?? 0) * half * Math.exp(pair.logDensity(x));
        const share = -Math.expm1(lower - pair.loss(x)) / span;
        mass += density;
        upward += density * Math.min(1, Math.max(0, share));
      }
    }
    masses[i] = (masses[i] ?? 0) + mass - upward;
    masses[i + 1] = (masses[i + 1] ?? 0) + upward;
    from = to;
  }
  masses[0] = (masses[0] ?? 0) + Math.max(0, 1 - pair.tail(range.low * sigma));
  return { first, masses, infinite: pair.tail(range.high * sigma) };
}
