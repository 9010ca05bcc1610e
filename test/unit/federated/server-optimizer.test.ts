/**
 * Goal: the server optimizers compute what is printed. Three sources: the scalar vectors noted from FedLLM-Bench's code,
 * sums written out over the whole history on plain numbers, and the rule by which each method weighs its clients.
 */
import { describe, expect, test } from "vitest";
import type { CoordinateRule } from "../../../src/federated/server-optimizer.js";
import { fedAdagradRule } from "../../../src/federated/strategies/fedadagrad.js";
import { fedAdamRule } from "../../../src/federated/strategies/fedadam.js";
import { fedAvgMRule } from "../../../src/federated/strategies/fedavgm.js";
import { fedYogiRule } from "../../../src/federated/strategies/fedyogi.js";
import type { StrategyOptions } from "../../../src/federated/strategies/options.js";
import { createStrategy } from "../../../src/federated/strategies/registry.js";
import { PythonRandom } from "../../../src/data/python-random.js";
import { makeUpdate } from "../../helpers/client-update.js";
import { makeOptions } from "../../../src/contract/federation.js";
import { QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";

const { layout } = new QuadraticTrainer(3);

const context = { round: 1, plan: makeOptions().plan, numClients: 5, layout };
const bench = (beta1: number) =>
  ({ reference: "fedllm-bench", serverLearningRate: 1e-3, tau: 1e-3, beta1, beta2: 0.99 }) as const;
const textbook = { ...bench(0.5), reference: "textbook" } as const;

interface Row {
  readonly weight: number;
  readonly momentum?: number;
  readonly secondMoment?: number;
}

interface Vector {
  readonly name: string;
  readonly options: StrategyOptions;
  readonly rule: CoordinateRule;
  /** Mean change in each of the two rounds: weighted 0.125 and 0.15, unweighted 0.05 and 0.2. */
  readonly changes: readonly [number, number];
  readonly rows: readonly [Row, Row];
}

const WEIGHTED = [0.125, 0.15] as const;
const UNWEIGHTED = [0.05, 0.2] as const;

/**
 * Clients of size 3 and 1 start at 1 and move by 0.2 and -0.1, then by 0.1 and 0.3. The reference's figures, where they
 * are noted with fewer digits continued to 13 in decimal arithmetic; the last two are the published equations likewise.
 */
const VECTORS: readonly Vector[] = [
  {
    name: "fedavgm",
    options: { beta1: 0.5 },
    rule: fedAvgMRule({ reference: "fedllm-bench", beta1: 0.5 }),
    changes: WEIGHTED,
    rows: [
      { weight: 1.125, momentum: 0.125 },
      { weight: 1.2625, momentum: 0.1375 },
    ],
  },
  {
    name: "fedavgm",
    options: { beta1: 0.9 },
    rule: fedAvgMRule({ reference: "fedllm-bench", beta1: 0.9 }),
    changes: WEIGHTED,
    rows: [
      { weight: 1.125, momentum: 0.125 },
      { weight: 1.2525, momentum: 0.1275 },
    ],
  },
  {
    // m: 0.125, then 0.5 * 0.125 + 0.15; half of each is added.
    name: "fedavgm",
    options: { reference: "textbook", beta1: 0.5, serverLearningRate: 0.5 },
    rule: fedAvgMRule({ reference: "textbook", beta1: 0.5, serverLearningRate: 0.5 }),
    changes: WEIGHTED,
    rows: [
      { weight: 1.0625, momentum: 0.125 },
      { weight: 1.16875, momentum: 0.2125 },
    ],
  },
  {
    name: "fedadagrad",
    options: {},
    rule: fedAdagradRule(bench(0)),
    changes: UNWEIGHTED,
    rows: [
      { weight: 1.00098019998, secondMoment: 0.002501 },
      { weight: 1.0019456480112, secondMoment: 0.042501 },
    ],
  },
  {
    name: "fedyogi",
    options: { beta1: 0.5 },
    rule: fedYogiRule(bench(0.5)),
    changes: UNWEIGHTED,
    rows: [
      { weight: 1.0081980390272, momentum: 0.05, secondMoment: 2.6e-5 },
      { weight: 1.0168187286824, momentum: 0.125, secondMoment: 1.8225e-4 },
    ],
  },
  {
    name: "fedyogi",
    options: { beta1: 0.9 },
    rule: fedYogiRule(bench(0.9)),
    changes: UNWEIGHTED,
    rows: [
      { weight: 1.0081980390272, momentum: 0.05, secondMoment: 2.6e-5 },
      { weight: 1.0152164498578, momentum: 0.065, secondMoment: 6.825e-5 },
    ],
  },
  {
    name: "fedadam",
    options: { beta1: 0.5 },
    rule: fedAdamRule(bench(0.5)),
    changes: UNWEIGHTED,
    rows: [
      { weight: 1.0081993574202, momentum: 0.05, secondMoment: 2.599e-5 },
      { weight: 1.0168259964816, momentum: 0.125, secondMoment: 1.819801e-4 },
    ],
  },
  {
    name: "fedadam",
    options: { beta1: 0.9 },
    rule: fedAdamRule(bench(0.9)),
    changes: UNWEIGHTED,
    rows: [
      { weight: 1.0081993574202, momentum: 0.05, secondMoment: 2.599e-5 },
      { weight: 1.0152301814356, momentum: 0.065, secondMoment: 6.79801e-5 },
    ],
  },
  {
    name: "fedyogi",
    options: { reference: "textbook" },
    rule: fedYogiRule(textbook),
    changes: UNWEIGHTED,
    rows: [
      { weight: 1.0040990195136, momentum: 0.025, secondMoment: 2.6e-5 },
      { weight: 1.0092977814832, momentum: 0.1125, secondMoment: 4.26e-4 },
    ],
  },
  {
    name: "fedadam",
    options: { reference: "textbook" },
    rule: fedAdamRule(textbook),
    changes: UNWEIGHTED,
    rows: [
      { weight: 1.0040996787101, momentum: 0.025, secondMoment: 2.599e-5 },
      { weight: 1.0093000121837, momentum: 0.1125, secondMoment: 4.257301e-4 },
    ],
  },
];

describe.each(VECTORS)("two rounds of $name $options on one weight", ({ name, options, rule, changes, rows }) => {
  test("give the noted figures to 1e-9 in double precision", () => {
    let weight = 1;
    let momentum: number | undefined;
    let secondMoment = rule.secondMoment?.initial ?? 0;
    for (const [round, change] of changes.entries()) {
      momentum = rule.momentum === undefined ? change : rule.momentum(momentum, change);
      secondMoment = rule.secondMoment?.next(secondMoment, change, momentum) ?? 0;
      weight += rule.step(momentum, secondMoment);
      const row = rows[round];
      expectRelative(weight, row?.weight, 1e-9);
      expectRelative(momentum, row?.momentum, 1e-9);
      expectRelative(secondMoment, row?.secondMoment, 1e-9);
    }
  });

  test("give them through the strategy, whose state is in single precision", () => {
    const strategy = createStrategy(name, options);
    let state = strategy.init(Float32Array.of(1));
    for (const [round, moves] of [[0.2, -0.1] as const, [0.1, 0.3] as const].entries()) {
      const updates = [makeUpdate("a", 3, [moves[0]]), makeUpdate("b", 1, [moves[1]])];
      state = strategy.aggregate(state, updates, context);
      const row = rows[round];
      // Updates, momentum and second moment are each rounded to 24 bits (6e-8 relative): a few of these errors add up.
      expectRelative(state.arrays["adapter"]?.[0], row?.weight, 2e-7);
      expectRelative(state.arrays["momentum"]?.[0], row?.momentum, 4e-7);
      expectRelative(state.arrays["secondMoment"]?.[0], row?.secondMoment, 8e-7);
    }
  });
});

/** A row without a figure demands nothing. */
function expectRelative(actual: number | undefined, expected: number | undefined, tolerance: number): void {
  if (expected === undefined) return;
  expect(Math.abs((actual ?? Number.NaN) / expected - 1)).toBeLessThan(tolerance);
}

/** The weight after all changes of one coordinate, from the start and the whole history. */
type Naive = (start: number, changes: readonly number[]) => number;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** FedLLM-Bench's momentum in round t: b^t d_0 + (1 - b) sum_{s=1..t} b^(t-s) d_s. */
const benchMomentum = (d: readonly number[], t: number, b: number): number =>
  b ** t * (d[0] ?? 0) + (1 - b) * sum(d.slice(1, t + 1).map((value, k) => b ** (t - 1 - k) * value));

/** The published one: (1 - b) sum_{s=0..t} b^(t-s) d_s. */
const textbookMomentum = (d: readonly number[], t: number, b: number): number =>
  (1 - b) * sum(d.slice(0, t + 1).map((value, s) => b ** (t - s) * value));

const steps = (d: readonly number[], step: (t: number) => number): number => sum(d.map((_, t) => step(t)));

/** b2^(t+1) tau^2 + (1 - b2) sum_{s=0..t} b2^(t-s) x_s^2. */
const adamMoment = (observed: readonly number[], t: number, b2: number, tau: number): number =>
  b2 ** (t + 1) * tau ** 2 + (1 - b2) * sum(observed.slice(0, t + 1).map((x, s) => b2 ** (t - s) * x ** 2));

function yogiMoment(observed: readonly number[], t: number, b2: number, tau: number): number {
  let v = tau ** 2;
  for (const x of observed.slice(0, t + 1)) v += v > x ** 2 ? -(1 - b2) * x ** 2 : (1 - b2) * x ** 2;
  return v;
}

const OPTIONS = { serverLearningRate: 0.03, tau: 0.02, beta1: 0.7, beta2: 0.8 };
const { serverLearningRate: eta, tau, beta1, beta2 } = OPTIONS;

function naiveAdaptive(momentOf: typeof adamMoment, momentumOf: typeof benchMomentum, ofMomentum: boolean): Naive {
  return (start, d) => {
    const momenta = d.map((_, t) => momentumOf(d, t, beta1));
    const observed = ofMomentum ? momenta : d;
    return start + steps(d, (t) => (eta * (momenta[t] ?? 0)) / (Math.sqrt(momentOf(observed, t, beta2, tau)) + tau));
  };
}

const NAIVE: readonly (readonly [string, StrategyOptions, "weighted" | "unweighted", Naive])[] = [
  ["fedavg", {}, "weighted", (start, d) => start + sum(d)],
  ["fedprox", {}, "weighted", (start, d) => start + sum(d)],
  ["fedavgm", { beta1 }, "weighted", (start, d) => start + steps(d, (t) => benchMomentum(d, t, beta1))],
  [
    "fedavgm",
    { reference: "textbook", beta1, serverLearningRate: eta },
    "weighted",
    (start, d) => start + steps(d, (t) => eta * sum(d.slice(0, t + 1).map((value, s) => beta1 ** (t - s) * value))),
  ],
  [
    "fedadagrad",
    { serverLearningRate: eta, tau },
    "unweighted",
    (start, d) =>
      start + steps(d, (t) => (eta * (d[t] ?? 0)) / (Math.sqrt(tau ** 2 + sum(d.slice(0, t + 1).map((x) => x * x))) + tau)),
  ],
  ["fedyogi", OPTIONS, "unweighted", naiveAdaptive(yogiMoment, benchMomentum, true)],
  ["fedyogi", { ...OPTIONS, reference: "textbook" }, "unweighted", naiveAdaptive(yogiMoment, textbookMomentum, false)],
  ["fedadam", OPTIONS, "unweighted", naiveAdaptive(adamMoment, benchMomentum, true)],
  ["fedadam", { ...OPTIONS, reference: "textbook" }, "unweighted", naiveAdaptive(adamMoment, textbookMomentum, false)],
];

const NUM_ROUNDS = 12;
const NUM_COORDINATES = 40;

test.each(NAIVE)("12 random rounds of %s %j equal sums over the whole history (%s mean)", (name, options, weighting, naive) => {
  const random = new PythonRandom(11);
  const strategy = createStrategy(name, options);
  const start = Float32Array.from({ length: NUM_COORDINATES }, () => random.random() - 0.5);
  const history: number[][] = [];
  let state = strategy.init(start);
  for (let round = 1; round <= NUM_ROUNDS; round++) {
    const updates = ["a", "b", "c", "d"].slice(0, 1 + (round % 4)).map((id) =>
      makeUpdate(id, 1 + Math.floor(random.random() * 500), Array.from(start, () => (random.random() - 0.5) * 0.4)),
    );
    state = strategy.aggregate(state, updates, { ...context, round });
    const shares = updates.map(({ numExamples }) => (weighting === "weighted" ? numExamples : 1));
    history.push(
      Array.from(start, (_, i) => sum(updates.map(({ update }, k) => (shares[k] ?? 0) * (update[i] ?? 0))) / sum(shares)),
    );
  }
  for (const [i, weight] of (state.arrays["adapter"] ?? []).entries()) {
    const expected = naive(start[i] ?? 0, history.map((means) => means[i] ?? 0));
    // The strategy rounds weight and moments (below 4) to 24 bits in each of 12 rounds, the sums round nothing.
    expect(Math.abs(weight - expected)).toBeLessThan(NUM_ROUNDS * 4 * 2 ** -24);
  }
});

test.each(NAIVE)("%s %j takes the %s mean of its clients", (name, options, weighting) => {
  const strategy = createStrategy(name, options);
  const after = (sizes: readonly [number, number]) =>
    strategy.aggregate(
      strategy.init(Float32Array.of(1)),
      [makeUpdate("a", sizes[0], [0.25]), makeUpdate("b", sizes[1], [-0.125])],
      context,
    );
  if (weighting === "unweighted") expect(after([300, 1])).toEqual(after([1, 1]));
  else expect(after([300, 1])).not.toEqual(after([1, 1]));
});

test("Yogi's second moment shrinks by what Adam's would lose as a share, so a quiet round hardly moves it", () => {
  // v 1, x 0.1, b2 0.99: Yogi takes off 0.01 * 0.01, Adam 0.01 * (1 - 0.01).
  expect(fedYogiRule(textbook).secondMoment?.next(1, 0.1, 0)).toBeCloseTo(0.9999, 12);
  expect(fedAdamRule(textbook).secondMoment?.next(1, 0.1, 0)).toBeCloseTo(0.9901, 12);
});
