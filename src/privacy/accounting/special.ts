/** Functions of one number that accounting needs to full relative accuracy, also where their values are tiny. */

/** log(exp(a) + exp(b)). */
export function logAdd(a: number, b: number): number {
  const high = Math.max(a, b);
  return high === Number.NEGATIVE_INFINITY || high === Number.POSITIVE_INFINITY ? high : high + Math.log1p(Math.exp(Math.min(a, b) - high));
}

/** log(exp(x) - 1) for x > 0; -Infinity at 0. */
export function logExpm1(x: number): number {
  return x > 1 ? x + Math.log1p(-Math.exp(-x)) : Math.log(Math.expm1(x));
}

/** log(1 + q (exp(t) - 1)), 0 <= q <= 1: of a mixture over a density, exact to rounding also where it is close to 0. */
export function logMixture(q: number, t: number): number {
  if (q === 0) return 0;
  if (q === 1) return t;
  // Beyond 600 the exponential might overflow, and the rest of the mixture is below rounding unless q is as small as exp(-600).
  return t > 600 ? logAdd(Math.log(q) + t, Math.log1p(-q)) : Math.log1p(q * Math.expm1(t));
}

/** log of the standard normal density. */
export function logNormalDensity(x: number): number {
  return -0.5 * x * x - 0.5 * Math.log(2 * Math.PI);
}

/** Where the continued fraction is shorter than the series, and the series loses no more than two digits. */
const SERIES_UP_TO = 2;
const FRACTION_TERMS = 200;

/** Mills' ratio P(Z > x) / density(x) for x >= 2: Laplace's continued fraction 1 / (x + 1 / (x + 2 / (x + ...))). */
function tailFraction(x: number): number {
  let rest = x;
  for (let n = FRACTION_TERMS; n >= 1; n--) rest = x + n / rest;
  return 1 / rest;
}

/** P(0 < Z < x) for |x| <= 2: density(x) (x + x^3 / 3 + x^5 / (3 * 5) + ...), all terms of one sign. */
function centralPart(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 3; Math.abs(term) > Math.abs(sum) * 1e-17; n += 2) {
    term *= (x * x) / n;
    sum += term;
  }
  return Math.exp(logNormalDensity(x)) * sum;
}

/** log P(Z > x) of a standard normal variable; relative accuracy of the probability about 1e-14 for every x. */
export function logNormalTail(x: number): number {
  if (x > SERIES_UP_TO) return logNormalDensity(x) + Math.log(tailFraction(x));
  if (x < -SERIES_UP_TO) return Math.log1p(-Math.exp(logNormalDensity(x)) * tailFraction(-x));
  return Math.log(0.5 - centralPart(x));
}

/** P(Z > x) / density(x); infinite where that is above the largest number. */
export function millsRatio(x: number): number {
  return x > SERIES_UP_TO ? tailFraction(x) : Math.exp(logNormalTail(x) - logNormalDensity(x));
}

/** Where a function that does not fall is 0, between two ends that enclose it: the upper end of the last interval. */
export function bisect(low: number, high: number, isAbove: (x: number) => boolean): number {
  let [a, b] = [low, high];
  for (;;) {
    const middle = a + (b - a) / 2;
    if (middle <= a || middle >= b) return b;
    if (isAbove(middle)) b = middle;
    else a = middle;
  }
}

/** The x in [low, high] at which a function with one valley is least, to about `tolerance`. */
export function goldenMinimum(low: number, high: number, tolerance: number, f: (x: number) => number): number {
  const shrink = (Math.sqrt(5) - 1) / 2;
  let [a, b] = [low, high];
  let [x, y] = [b - shrink * (b - a), a + shrink * (b - a)];
  let [fx, fy] = [f(x), f(y)];
  while (b - a > tolerance) {
    if (fx <= fy) {
      [b, y, fy] = [y, x, fx];
      x = b - shrink * (b - a);
      fx = f(x);
    } else {
      [a, x, fx] = [x, y, fy];
      y = a + shrink * (b - a);
      fy = f(y);
    }
  }
  return fx <= fy ? x : y;
}

/** Nodes and weights of Gauss-Legendre quadrature on [-1, 1], by Newton's method on the Legendre polynomial. */
export function gaussLegendre(count: number): { readonly nodes: Float64Array; readonly weights: Float64Array } {
  const nodes = new Float64Array(count);
  const weights = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let x = Math.cos((Math.PI * (i + 0.75)) / (count + 0.5));
    let slope = 1;
    for (let iteration = 0; iteration < 20; iteration++) {
      let [last, value] = [1, x];
      for (let n = 2; n <= count; n++) [last, value] = [value, ((2 * n - 1) * x * value - (n - 1) * last) / n];
      slope = (count * (x * value - last)) / (x * x - 1);
      x -= value / slope;
    }
    nodes[i] = x;
    weights[i] = 2 / ((1 - x * x) * slope * slope);
  }
  return { nodes, weights };
}
