/**
 * What a finished round is known for beside its result: the aggregation error, from the adapters as the clients trained
 * them, and what the strategy itself tells. Nothing here changes a result.
 */
import { measureAggregationError, type BesideTerm, type RoundMeasure } from "../adapter/aggregation-error.js";
import { layoutOfRank } from "../adapter/joined.js";
import type { AdapterLayout } from "../adapter/layout.js";
import type { FederationOptions } from "./options.js";
import type { AdapterSet, ClientUpdate, NamedState } from "./protocol.js";
import type { RoundContext, Strategy } from "./strategy.js";

/**
 * Most weights of a cohort's adapters together that are kept for the measurement, 1 GiB of them. The error needs all at once
 * (its cost grows with the square of the cohort), so larger cohorts have none.
 */
const MAX_KEPT_WEIGHTS = 2 ** 28;

/** One client's adapter as it was trained, and what it counts in the method's mean. */
export interface TrainedAdapter {
  readonly clientId: string;
  readonly weights: Float32Array;
  readonly weight: number;
}

/** Whether the trained adapters of a cohort are to be kept until the round's end. */
export function keepsTrained(options: FederationOptions, cohortSize: number, context: RoundContext): boolean {
  return options.measureAggregation && cohortSize * context.layout.numParameters <= MAX_KEPT_WEIGHTS;
}

/** What an update counts in the strategy's mean. */
export function weightOf(strategy: Strategy, update: ClientUpdate, state: NamedState, context: RoundContext): number {
  return strategy.clientWeight?.(update, state, context) ?? update.numExamples;
}

/**
 * The measures of a round that ended with this server's state; the error only where there is one adapter for all, or one per
 * group, whose measures are then `measure@group`. What frozen adapters gained since `before` is a part of the result, since the
 * clients trained beside the former ones.
 */
export function measureRound(
  strategy: Strategy,
  trained: readonly TrainedAdapter[],
  result: { readonly state: NamedState; readonly adapters: AdapterSet; readonly before: AdapterSet },
  context: RoundContext,
): readonly RoundMeasure[] {
  const told = Object.entries(strategy.measures?.(result.state) ?? {}).map(([measure, value]) => ({ measure, value }));
  const { adapters } = result;
  if (adapters.kind === "perClient") return told;
  const beside = [...besideTerms(adapters, context.layout, 1), ...besideTerms(result.before, context.layout, -1)];
  if (adapters.kind === "global") return [...measureMean(trained, adapters.weights, context, beside), ...told];
  const ofGroups = [...adapters.weights].flatMap(([group, weights]) => {
    const members = trained.filter(({ clientId }) => adapters.groupOf.get(clientId) === group);
    return measureMean(members, weights, context, beside).map((measure) => ({ ...measure, measure: `${measure.measure}@${group}` }));
  });
  return [...ofGroups, ...told];
}

function measureMean(
  trained: readonly TrainedAdapter[],
  result: Float32Array,
  { layout }: RoundContext,
  beside: readonly BesideTerm[],
): readonly RoundMeasure[] {
  if (trained.length === 0) return [];
  const total = trained.reduce((sum, { weight }) => sum + weight, 0);
  const clients = trained.map(({ weights, weight }) => ({ weights, share: weight / total }));
  return measureAggregationError(layout, clients, result, beside);
}

function besideTerms({ frozen = [] }: AdapterSet, layout: AdapterLayout, factor: number): readonly BesideTerm[] {
  return frozen.map(({ rank, weights }) => ({ layout: layoutOfRank(layout, rank), weights, factor }));
}
