/**
 * Server optimizers: FedAvg whose mean change of a round is not added as it is, but drives an optimizer that the server
 * keeps. What a method adds is the rule of one coordinate; this file keeps its moments and applies it to all coordinates.
 * Moments live in the server's state between rounds in single precision, like the adapter. Within a round everything
 * is double: a step is computed from moments that are not rounded yet, and each result is rounded once.
 */
import { aggregateMean, byDataSize, equally } from "./aggregators/mean.js";
import type { NamedState } from "./protocol.js";
import { createFedAvg } from "./strategies/fedavg.js";
import type { AdaptiveOptions } from "./strategies/options.js";
import { stateArray, type Strategy } from "./strategy.js";
import { assert } from "../util/assert.js";

/** A method's arithmetic on one coordinate, in double precision. */
export interface CoordinateRule {
  /** Next first moment; `previous` is undefined in the first round. Absent: the change itself, and nothing is kept. */
  readonly momentum?: (previous: number | undefined, change: number) => number;
  /** Next second moment. Absent: none is kept, and `step` gets 0. */
  readonly secondMoment?: {
    /** Before the first round. */
    readonly initial: number;
    next(previous: number, change: number, momentum: number): number;
  };
  /** What is added to the weight. */
  step(momentum: number, secondMoment: number): number;
}

interface ServerOptimizer {
  readonly name: string;
  readonly rule: CoordinateRule;
  /** Absent: the mean weighted by data size. */
  readonly weighting?: "equal";
}

/** Server state: `adapter`, and `momentum` (from round 1 on) and `secondMoment` where the rule has them. */
export function createServerOptimizer({ name, rule, weighting }: ServerOptimizer): Strategy {
  return {
    ...createFedAvg(),
    ...(weighting === "equal" ? { clientWeight: equally } : {}),
    name,
    init: (weights) => ({
      arrays: {
        adapter: weights,
        ...(rule.secondMoment === undefined
          ? {}
          : { secondMoment: new Float32Array(weights.length).fill(rule.secondMoment.initial) }),
      },
      numbers: {},
    }),
    aggregate: aggregateMean(weighting === "equal" ? equally : byDataSize, (state, mean) => advance(rule, state, mean)),
  };
}

function advance(rule: CoordinateRule, state: NamedState, change: Float64Array): NamedState {
  const weights = stateArray(state, "adapter");
  assert(weights.length === change.length, "weights and mean change have equal lengths");
  const lastMomentum = state.arrays["momentum"];
  const lastSecondMoment = state.arrays["secondMoment"];
  const adapter = new Float32Array(weights.length);
  const momentum = rule.momentum === undefined ? undefined : new Float32Array(weights.length);
  const secondMoment = rule.secondMoment === undefined ? undefined : new Float32Array(weights.length);
  for (let i = 0; i < adapter.length; i++) {
    const d = change[i] ?? 0;
    const m = rule.momentum === undefined ? d : rule.momentum(lastMomentum?.[i], d);
    const v = rule.secondMoment === undefined ? 0 : rule.secondMoment.next(lastSecondMoment?.[i] ?? 0, d, m);
    adapter[i] = (weights[i] ?? 0) + rule.step(m, v);
    if (momentum !== undefined) momentum[i] = m;
    if (secondMoment !== undefined) secondMoment[i] = v;
  }
  return {
    arrays: {
      adapter,
      ...(momentum === undefined ? {} : { momentum }),
      ...(secondMoment === undefined ? {} : { secondMoment }),
    },
    numbers: {},
  };
}

/** FedLLM-Bench's momentum: an average of the changes that starts at the first of them. */
export function averageFromFirst(beta1: number): NonNullable<CoordinateRule["momentum"]> {
  return (previous, change) => (previous === undefined ? change : beta1 * previous + (1 - beta1) * change);
}

/** The published momentum of the adaptive methods: an average of the changes that starts at 0, not corrected for it. */
export function averageFromZero(beta1: number): NonNullable<CoordinateRule["momentum"]> {
  return (previous, change) => beta1 * (previous ?? 0) + (1 - beta1) * change;
}

/** The step of all adaptive methods: eta m / (sqrt(v) + tau). */
export function adaptiveStep(serverLearningRate: number, tau: number): CoordinateRule["step"] {
  return (momentum, secondMoment) => (serverLearningRate * momentum) / (Math.sqrt(secondMoment) + tau);
}

/**
 * The rule that FedAdam and FedYogi share: they differ in how the second moment takes in an observed value alone. That value is the
 * momentum in FedLLM-Bench's form and the change in the papers'. v starts at tau^2.
 */
export function adaptiveRule(
  { reference, serverLearningRate, tau, beta1 }: AdaptiveOptions,
  next: (previous: number, observed: number) => number,
): CoordinateRule {
  return {
    momentum: reference === "textbook" ? averageFromZero(beta1) : averageFromFirst(beta1),
    secondMoment: {
      initial: tau * tau,
      next: (previous, change, momentum) => next(previous, reference === "textbook" ? change : momentum),
    },
    step: adaptiveStep(serverLearningRate, tau),
  };
}
