/**
 * Many releases together: the sum of their privacy losses, by the fast Fourier transform, and the least epsilon for a delta (Koskela,
 * Jalko, Honkela 2020; Gopi, Lee, Wutschitz 2021). An upper bound: the losses of one release are discretized pessimistically
 * (loss-distribution.ts), and what the transform's window cannot hold counts as an infinite loss.
 *
 * Rounding to the grid costs each release h^2 / 12 on average, so many equal releases are composed in two steps: the root of their number on
 * a finer grid, and the results on the coarse one.
 *
 * The transform sees the masses times exp(theta l), divided by their sum: it is exact to 1e-16 of the largest mass, and with theta near
 * the optimal order of RDP the largest masses are those of the epsilon that is looked for. So a delta of 1e-12 is found as well as 1e-3.
 */
import { transform } from "./fft.js";
import { discretize, rangeOf, withinLosses, type LossDistribution } from "./loss-distribution.js";
import { lossPair, type Direction, type LossPair } from "./loss-pair.js";
import type { SampledGaussian } from "./rdp.js";
import { gaussLegendre, goldenMinimum, logAdd } from "./special.js";

/** Equal releases and how many of them there are. */
export interface RepeatedGaussian extends SampledGaussian {
  readonly count: number;
}

/** Mass that is cut off, over delta, as a logarithm. */
const CUT = -28;
/** Above this spacing the grid says nothing useful, and below this many times the spacing a loss is rounding. */
const SPACING_MAX = 0.25;
/** Covers the rounding of the transforms and of powers with a count below 1e6, which is about 1e-16 times the count. */
const ROUNDING = 1e-9;
const THETA_MAX = 1e6;
/** Above it exponentials leave the range of numbers, and nothing is protected anyway. */
const EPSILON_MAX = 300;
/** Releases of one kind from which on they are composed in two steps. */
const BLOCKS_FROM = 256;
/** Points of one release's grid for each point of the window. */
const GRID_POINTS = 2;

/** Least epsilon for delta of all releases, all in this direction; Infinity where the grid would be too coarse or epsilon above 300. `points`: a power of two. */
export function composedEpsilon(releases: readonly RepeatedGaussian[], direction: Direction, delta: number, points: number): number {
  const parts = releases.map((release) => ({ pair: lossPair(release, direction), count: release.count }));
  const total = parts.reduce((sum, { count }) => sum + count, 0);
  const logTail = CUT + Math.log(delta) - Math.log(total);
  const cumulant = (theta: number) => parts.reduce((sum, { pair, count }) => sum + count * logMoment(pair, theta, logTail), 0);
  const logInverse = Math.log(1 / delta);
  const theta = bestTilt(cumulant, logInverse);
  if (!((cumulant(theta) + logInverse) / theta < EPSILON_MAX)) return Number.POSITIVE_INFINITY;
  const window = windowOf(cumulant, theta, Math.log(delta));
  const { low, high } = window;
  const ranges = parts.map(({ pair, count }) => ({ pair, count, range: withinLosses(pair, rangeOf(pair, logTail), Math.min(low, low - high), high) }));
  // Where the window is far from 0, one release alone has more losses than the window has room for.
  const widest = Math.max(...ranges.map(({ pair, range }) => pair.loss(range.high * pair.sigma) - pair.loss(range.low * pair.sigma)));
  const spacing = Math.max((high - low) / (points - 2), widest / (GRID_POINTS * points));
  if (!(spacing < SPACING_MAX)) return Number.POSITIVE_INFINITY;
  const grids = ranges.flatMap(({ pair, count, range }): readonly CountedGrid[] => {
    const size = count < BLOCKS_FROM ? 1 : Math.round(Math.sqrt(count));
    const block = size === 1 ? undefined : composeBlock(pair, size, { theta, spacing, points, logTail: logTail + Math.log(size) });
    const numBlocks = block === undefined ? 0 : Math.floor(count / size);
    const rest = { grid: discretize(pair, spacing, range), count: count - numBlocks * size };
    return [...(block === undefined ? [] : [{ grid: block, count: numBlocks }]), ...(rest.count === 0 ? [] : [rest])];
  });
  const epsilon = epsilonOnGrid(grids, { theta, spacing, start: Math.floor(low / spacing), points }, delta);
  return Number.isNaN(epsilon) ? Number.POSITIVE_INFINITY : epsilon;
}

/**
 * The loss of `size` releases together, composed on a grid as fine as their narrower window allows and brought to the coarse one in the end,
 * so that it is rounded once and not `size` times. Undefined where that gains nothing.
 */
function composeBlock(
  pair: LossPair,
  size: number,
  { theta, spacing, points, logTail }: { readonly theta: number; readonly spacing: number; readonly points: number; readonly logTail: number },
): LossDistribution | undefined {
  const { low, high } = windowOf((tilt) => size * logMoment(pair, tilt, logTail - Math.log(size)), theta, logTail - CUT);
  const range = withinLosses(pair, rangeOf(pair, logTail - Math.log(size)), Math.min(low, low - high), high);
  const width = Math.max(high - low, (pair.loss(range.high * pair.sigma) - pair.loss(range.low * pair.sigma)) / GRID_POINTS);
  const ratio = Math.floor((spacing * (points - 2)) / width);
  if (!(ratio > 1)) return undefined;
  const fine = spacing / ratio;
  const single = discretize(pair, fine, range);
  const grids = [{ grid: single, count: size }];
  const tilted = { theta, spacing: fine, start: Math.floor(low / fine), points };
  const logTotal = size * logSumOf(single, fine, theta);
  const first = Math.floor(tilted.start / ratio);
  const masses = new Float64Array(Math.ceil((tilted.start + points) / ratio) - first + 2);
  const span = -Math.expm1(-spacing);
  for (const [i, value] of composedMasses(grids, tilted).entries()) {
    const place = tilted.start + i;
    const mass = Math.max(0, value) * Math.exp(logTotal - theta * place * fine);
    const below = Math.floor(place / ratio);
    const upward = -Math.expm1((below * ratio - place) * fine) / span;
    masses[below - first] = (masses[below - first] ?? 0) + mass * (1 - upward);
    masses[below - first + 1] = (masses[below - first + 1] ?? 0) + mass * upward;
  }
  return { first, masses, infinite: size * single.infinite + tailAbove(grids, tilted) };
}

const RULE = gaussLegendre(10);

/** log E_p[exp(theta loss)] over the range that is discretized. */
function logMoment(pair: LossPair, theta: number, logTail: number): number {
  const { low, high } = rangeOf(pair, logTail);
  const pieces = Math.ceil((high - low) / 0.5);
  const half = (high - low) / pieces / 2;
  let sum = Number.NEGATIVE_INFINITY;
  for (let piece = 0; piece < pieces; piece++) {
    for (const [i, node] of RULE.nodes.entries()) {
      const x = (low + half * (2 * piece + 1 + node)) * pair.sigma;
      sum = logAdd(sum, Math.log((RULE.weights[i] ?? 0) * half) + pair.logDensity(x) + theta * pair.loss(x));
    }
  }
  return sum;
}

/** The theta at which Chernoff's bound of delta gives the least epsilon, (cumulant(theta) + log(1 / delta)) / theta. */
function bestTilt(cumulant: (theta: number) => number, logInverse: number): number {
  const logTheta = goldenMinimum(Math.log(1e-3), Math.log(THETA_MAX), 0.02, (x) => (cumulant(Math.exp(x)) + logInverse) / Math.exp(x));
  return Math.exp(logTheta);
}

/**
 * Losses outside of which the sum has, both as it is and times exp(theta l), a mass of no importance: Chernoff's bound with the tilts
 * theta (1 + s) above and theta - s' below.
 */
function windowOf(cumulant: (theta: number) => number, theta: number, logDelta: number): { low: number; high: number } {
  const atTheta = cumulant(theta);
  const slacks = slacksOf(theta);
  const above = slacks.map((s) => {
    const value = cumulant(theta + s);
    return Math.max((value - atTheta - CUT) / s, (value - logDelta - CUT) / (theta + s));
  });
  const below = slacks.map((s) => (atTheta - cumulant(theta - s) + CUT) / s);
  return { low: Math.max(...below.filter((x) => !Number.isNaN(x))), high: Math.min(...above.filter((x) => !Number.isNaN(x))) };
}

/** Distances from theta that Chernoff's bounds are tried at: they suit sums from a hundredth of their spread to all of it. */
function slacksOf(theta: number): readonly number[] {
  return Array.from({ length: 14 }, (_, i) => 0.05 * 2 ** i * theta);
}

interface Tilted {
  readonly theta: number;
  readonly spacing: number;
  /** The window's first loss, in units of the spacing. */
  readonly start: number;
  readonly points: number;
}

interface CountedGrid {
  readonly grid: LossDistribution;
  readonly count: number;
}

function epsilonOnGrid(grids: readonly CountedGrid[], tilted: Tilted, delta: number): number {
  const { theta, spacing, start, points } = tilted;
  const logTotal = grids.reduce((sum, { grid, count }) => sum + count * logSumOf(grid, spacing, theta), 0);
  const masses = composedMasses(grids, tilted);
  const infinite = grids.reduce((sum, { grid, count }) => sum + count * grid.infinite, 0) + tailAbove(grids, tilted);
  // From the highest loss downwards: P(l > epsilon) and its mean of exp(-l), in units of exp(-theta l) at the place itself.
  const target = delta * (1 - ROUNDING);
  const fall = Math.exp(-theta * spacing);
  const decay = Math.exp(-(theta + 1) * spacing);
  let mass = 0;
  let weighted = 0;
  for (let i = points - 1; i >= 0; i--) {
    const loss = (start + i) * spacing;
    const value = Math.max(0, masses[i] ?? 0);
    // Before this loss's own mass is added: what lies above it, seen from the loss above it.
    mass = mass * fall + value;
    weighted = weighted * decay + value;
    const scale = Math.exp(logTotal - theta * loss);
    const below = loss - spacing;
    // delta(epsilon) for epsilon in [below, loss] is infinite + scale (mass - exp(epsilon - loss) weighted).
    if (infinite + scale * (mass - Math.exp(below - loss) * weighted) <= target) continue;
    const ratio = (mass - (target - infinite) / scale) / weighted;
    return Math.max(0, Math.min(loss, loss + Math.log(Math.max(ratio, Number.MIN_VALUE))));
  }
  return Math.max(0, start * spacing);
}

/** Masses of the sum of all losses times exp(theta l), divided by their sum, from the window's start on. */
function composedMasses(grids: readonly CountedGrid[], { theta, spacing, start, points }: Tilted): Float64Array {
  const product = { re: new Float64Array(points).fill(1), im: new Float64Array(points) };
  for (const { grid, count } of grids) {
    const part = { re: new Float64Array(points), im: new Float64Array(points) };
    const logSum = logSumOf(grid, spacing, theta);
    for (let i = 0; i < grid.masses.length; i++) {
      const place = modulo(grid.first + i, points);
      part.re[place] = (part.re[place] ?? 0) + (grid.masses[i] ?? 0) * Math.exp(theta * (grid.first + i) * spacing - logSum);
    }
    transform(part);
    for (let k = 0; k < points; k++) {
      const [x, y] = [part.re[k] ?? 0, part.im[k] ?? 0];
      const radius = Math.hypot(x, y) ** count;
      const angle = count * Math.atan2(y, x);
      const [c, s] = [radius * Math.cos(angle), radius * Math.sin(angle)];
      const [a, b] = [product.re[k] ?? 0, product.im[k] ?? 0];
      product.re[k] = a * c - b * s;
      product.im[k] = a * s + b * c;
    }
  }
  transform(product, true);
  return Float64Array.from({ length: points }, (_, i) => product.re[modulo(start + i, points)] ?? 0);
}

/** Chernoff's bound of the mass above the window, which the transform puts elsewhere. */
function tailAbove(grids: readonly CountedGrid[], { theta, spacing, start, points }: Tilted): number {
  const high = (start + points) * spacing;
  const logs = [0, ...slacksOf(theta)].map((slack) => {
    const tilt = theta + slack;
    return grids.reduce((sum, { grid, count }) => sum + count * logSumOf(grid, spacing, tilt), 0) - tilt * high;
  });
  return Math.exp(Math.min(...logs));
}

/** log sum_i mass_i exp(theta l_i) over the finite losses. */
function logSumOf({ first, masses }: LossDistribution, spacing: number, theta: number): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < masses.length; i++) top = Math.max(top, Math.log(masses[i] ?? 0) + theta * (first + i) * spacing);
  let sum = 0;
  for (let i = 0; i < masses.length; i++) sum += Math.exp(Math.log(masses[i] ?? 0) + theta * (first + i) * spacing - top);
  return top + Math.log(sum);
}

function modulo(value: number, points: number): number {
  return ((value % points) + points) % points;
}
