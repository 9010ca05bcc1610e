/**
 * A round with differential privacy of whole clients: the cohort is drawn in secret, the updates go into a sum that shortens each of them,
 * and the strategy gets a noisy mean (src/privacy/user-level.ts) instead of the mean. Everything after that is the strategy's own,
 * since what is computed from a private result is as private. The clipping norm of the next round is a number of the server's state.
 */
import { innerLength } from "../adapter/inner.js";
import type { RoundMeasure } from "../adapter/aggregation-error.js";
import { sliceLength } from "../adapter/slice.js";
import { assert } from "../util/assert.js";
import type { FederationDeps } from "./options.js";
import type { FederatedClient, NamedState } from "./protocol.js";
import type { RoundSetup } from "./round.js";
import type { Aggregation, RoundContext, Strategy } from "./strategy.js";

/** In the server's state; strategies have no colon in their names. */
const CLIP_NORM = "privacy:clipNorm";

/** False when the budget does not pay for the round after this one; true without privacy. */
export function canGoOn({ privacy }: FederationDeps, round: number): boolean {
  return privacy?.canRelease(round + 1) ?? true;
}

/** Who takes part, in the order of the data; may be nobody. Undefined without privacy. */
export function drawPrivateCohort({ deps, participants }: RoundSetup, round: number): readonly FederatedClient[] | undefined {
  const drawn = new Set(deps.privacy?.drawCohort(round, participants.length));
  return deps.privacy === undefined ? undefined : participants.filter((_, index) => drawn.has(index));
}

/** Undefined without privacy. Its `finish` throws PRIVACY_SPENT, and may be called without any update. */
export function startPrivateAggregation({ deps, participants }: RoundSetup, state: NamedState, context: RoundContext): Aggregation | undefined {
  const { privacy, strategy } = deps;
  if (privacy === undefined) return undefined;
  const { fromMean } = strategy.aggregate;
  const [anybody] = participants;
  assert(fromMean !== undefined && anybody !== undefined, "a private round is of a strategy that needs the mean alone");
  const sum = privacy.startRound(context.round, clipNormOf(deps, state), answerLength(strategy, state, context, anybody));
  return {
    add: ({ update, numExamples }) => {
      sum.add(update, numExamples);
    },
    finish: () => {
      const { mean, nextClipNorm } = sum.finish();
      const next = fromMean(state, mean, context);
      return { ...next, numbers: { ...next.numbers, [CLIP_NORM]: nextClipNorm } };
    },
  };
}

/** What a private round is known for, all of which follows from what was released. */
export function privacyMeasures({ deps }: RoundSetup, state: NamedState): readonly RoundMeasure[] {
  if (deps.privacy === undefined) return [];
  const epsilon = deps.privacy.epsilonSpent();
  const spent = Number.isFinite(epsilon) ? [{ measure: "privacy_epsilon", value: epsilon }] : [];
  return [...spent, { measure: "privacy_clip_norm", value: clipNormOf(deps, state) }];
}

function clipNormOf({ privacy }: FederationDeps, { numbers }: NamedState): number {
  return numbers[CLIP_NORM] ?? privacy?.options.clipNorm ?? 0;
}

/** Numbers that a client answers with, also when there is none. */
function answerLength(strategy: Strategy, state: NamedState, context: RoundContext, { id, numSamples }: FederatedClient): number {
  const [task] = strategy.configure(state, [{ clientId: id, numExamples: numSamples }], context);
  assert(task !== undefined, "a strategy gives one task per cohort member");
  if (task.outer !== undefined) return innerLength(context.layout);
  return task.answerSlice === undefined ? context.layout.numParameters : sliceLength(context.layout, task.answerSlice);
}

/** Why clients cannot be protected as whole users in a strategy; undefined for one in which they can. */
export function findPrivacyObstacle(strategy: Strategy): string | undefined {
  const reasons = [
    strategy.participants === "pooled" && "one participant has the data of all, so there are no clients to protect",
    !strategy.exchangesWeights && "nothing is sent, so there is no mean to add noise to",
    strategy.asynchronous !== undefined && "who is in a mean depends on how fast clients are, so no cohort is drawn at random whose size is known",
    strategy.cohort === "fixed" && "the cohort is the same in all rounds and not drawn at random",
    strategy.aggregate.fromMean === undefined &&
      "its server needs more than a mean of one vector per client (single updates, products of their factors, or a second vector such as a control variate), and the noise is that of one clipped vector",
  ];
  return reasons.find((reason) => reason !== false);
}
