/**
 * A strategy whose mean is replaced by a robust rule (src/robust): its server keeps all updates of a round until the last one is there, and goes on from what the
 * rule makes of them as it would from their mean (`Aggregate.fromMean`). Every client counts once, whatever the size of its data. What became of each client in the
 * last round is a part of the state, which a checkpoint holds.
 */
import { compareIds } from "../adapter/weights.js";
import { problemError } from "../errors.js";
import { createFactorSpace } from "../robust/factor-space.js";
import { applyRule, type RobustOptions, type RobustOutcome } from "../robust/rules.js";
import type { ClientUpdate, NamedState } from "./protocol.js";
import type { ClientVerdict, Strategy } from "./strategy.js";

/** Names in the state begin with it; those of strategies have no colon. */
const OWN = "robust:";
const SHARE = `${OWN}share of `;
const SCORE = `${OWN}score of `;
const REJECTED = `${OWN}rejected`;
const BOUND = `${OWN}bound`;

/** The strategy with a robust rule in the place of its mean. Throws CONFIG_INVALID where it has no such mean. */
export function withRobustRule(strategy: Strategy, options: RobustOptions | undefined): Strategy {
  if (options === undefined) return strategy;
  const { fromMean } = strategy.aggregate;
  const obstacle = findRobustObstacle(strategy);
  if (fromMean === undefined || obstacle !== undefined) {
    throw problemError("CONFIG_INVALID", { subject: "robust.rule", expected: "a strategy whose server needs one mean of its clients' updates", received: `strategy ${strategy.name}: ${String(obstacle)}` });
  }
  return {
    ...strategy,
    aggregate: (state, updates, context) => {
      const sorted = [...updates].sort((left, right) => compareIds(left.clientId, right.clientId));
      const outcome = applyRule(options, createFactorSpace(sorted.map(({ update }) => update)));
      return withOutcome(fromMean(state, outcome.change, context), sorted, outcome);
    },
    clientWeight: () => 1,
    verdicts: verdictsOf,
    measures: (state) => ({ ...strategy.measures?.(state), ...measuresOf(state) }),
  };
}

/** Why a rule cannot take the place of a strategy's mean; undefined where it can. */
export function findRobustObstacle(strategy: Strategy): string | undefined {
  const reasons = [
    strategy.participants === "pooled" && "one participant has the data of all, so there are no updates to compare",
    !strategy.exchangesWeights && "nothing is sent, so there is nothing to compare",
    strategy.asynchronous !== undefined && "its updates began at different versions of the adapter, so their differences are not those of clients",
    strategy.aggregate.fromMean === undefined &&
      "its server makes more of the updates than a mean of one vector per client (products of their factors, other ranks, or a second vector such as a control variate)",
  ];
  return reasons.find((reason) => reason !== false);
}

/** The next state with what became of this round's clients, and nothing of earlier ones. */
function withOutcome(next: NamedState, updates: readonly ClientUpdate[], { shares, scores, bound }: RobustOutcome): NamedState {
  const verdicts = updates.flatMap(({ clientId }, k): (readonly [string, number])[] => {
    const share = shares[k];
    return [[SCORE + clientId, scores[k] ?? 0], ...(share === undefined ? [] : [[SHARE + clientId, share] as const])];
  });
  const rejected = shares.filter((share) => share === 0).length;
  const kept = Object.entries(next.numbers).filter(([name]) => !name.startsWith(OWN));
  const numbers = { ...Object.fromEntries(kept), ...Object.fromEntries(verdicts), [REJECTED]: rejected, ...(bound === undefined ? {} : { [BOUND]: bound }) };
  return { arrays: next.arrays, numbers };
}

function verdictsOf({ numbers }: NamedState): ReadonlyMap<string, ClientVerdict> {
  const scores = Object.entries(numbers).filter(([name]) => name.startsWith(SCORE));
  return new Map(
    scores.map(([name, score]) => {
      const clientId = name.slice(SCORE.length);
      const share = numbers[SHARE + clientId];
      return [clientId, { score, ...(share === undefined ? {} : { share }) }];
    }),
  );
}

function measuresOf({ numbers }: NamedState): Readonly<Record<string, number>> {
  const told = [["robust_rejected", numbers[REJECTED]], ["robust_bound", numbers[BOUND]]] as const;
  return Object.fromEntries(told.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])));
}
