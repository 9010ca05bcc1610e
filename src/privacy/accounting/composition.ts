/**
 * Many releases together: the sum of their privacy losses, by the fast Fourier transform, and the least epsilon for a delta (Koskela,
 * Jalko, Honkela 2020; Gopi, Lee, Wutschitz 2021). An upper bound: the losses of one release are discretized pessimistically
 * (loss-distribution.ts), and what the transform's window cannot hold counts as an infinite loss.
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

/** Least epsilon for delta of all releases, all in this direction; Infinity where the grid would be too coarse. `points`: a power of two. */
export function composedEpsilon(releases: readonly RepeatedGaussian[], direction: Direction, delta: number, points: number): number {
  const parts = releases.map((release) => ({ pair: lossPair(release, direction), count: release.count }));
  const total = parts.reduce((sum, { count }) => sum + count, 0);
  const logTail = CUT + Math.log(delta) - Math.log(total);
  const cumulant = (theta: number) => parts.reduce((sum, { pair, count }) => sum + count * logMoment(pair, theta, logTail), 0);
  const theta = bestTilt(cumulant, Math.log(1 / delta));
  const window = windowOf(cumulant, theta, Math.log(delta));
  const spacing = (window.high - window.low) / (points - 2);
  if (!(spacing < SPACING_MAX)) return Number.POSITIVE_INFINITY;
  const { low, high } = window;
  const lossMin = Math.min(low, low - high);
  const grids = parts.map(({ pair, count }) => ({ count, grid: discretize(pair, spacing, withinLosses(pair, rangeOf(pair, logTail), lossMin, high)) }));
  return epsilonOnGrid(grids, { theta, spacing, start: Math.floor(window.low / spacing), points }, delta);
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
  const steps = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2];
  const slacks = [...steps, 6.4, 12.8, 25.6, 51.2, 102.4].map((step) => step * theta);
  const above = slacks.map((s) => {
    const value = cumulant(theta + s);
    return Math.max((value - atTheta - CUT) / s, (value - logDelta - CUT) / (theta + s));
  });
  const below = slacks.map((s) => (atTheta - cumulant(theta - s) + CUT) / s);
  return { low: Math.max(...below.filter((x) => !Number.isNaN(x))), high: Math.min(...above.filter((x) => !Number.isNaN(x))) };
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
  const logs = [1, 1.1, 1.3, 1.6, 2, 3, 5, 10].map((factor) => {
    const tilt = theta * factor;
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
