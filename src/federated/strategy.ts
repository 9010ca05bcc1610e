/**
 * Interface Strategy: one published method, both halves of it. A method is one file in strategies/ and one line in
 * strategies/registry.ts; nothing else compares names of strategies.
 *
 * The contract, checked for every registered strategy by src/contract, which is exported for others:
 * - All functions are pure: they read their arguments, change none, and keep nothing between calls. What must be kept
 *   is in the server's state or in a client's own state, so a checkpoint holds everything.
 * - `configure` gives exactly one task per member of the cohort.
 * - `aggregate` gets at least one update, only checked ones, sorted by client id; its result depends on the values of
 *   the updates and not on their order. Clients that failed are simply absent.
 * - A client's own state is read by `begin`, replaced by what `finish` returns, and only after the whole round.
 */
import type { EmulatorShape } from "../adapter/emulator-layers.js";
import type { AdapterLayout } from "../adapter/layout.js";
import type { AdapterSlice } from "../adapter/slice.js";
import { compareIds } from "../adapter/weights.js";
import { assert } from "../util/assert.js";
import type { ServerSide } from "./alignment.js";
import { cosineLearningRate } from "./learning-rate.js";
import { expectedParticipations, localStepsOf } from "./local-steps.js";
import type { AdapterSet, ClientUpdate, CohortMember, FederationState, GroupOf, NamedState, TrainTask } from "./protocol.js";

/** How much is trained and how; the same for all rounds of a run. */
export interface TrainingPlan {
  readonly numRounds: number;
  /** Clients drawn in each round; all of them when there are fewer. */
  readonly clientsPerRound: number;
  /** Optimizer steps per client and round; not used with `totalEpochs`. */
  readonly localSteps: number;
  /** Passes of each client over its own data in the whole run, from which its steps per round follow (local-steps.ts). */
  readonly totalEpochs?: number;
  /** Optimizer steps per round on pooled data; absent: as many as all clients of a round make together. */
  readonly pooledSteps?: number;
  /** Samples per optimizer step. */
  readonly batchSize: number;
  /** Learning rate of the first round. */
  readonly initialLearningRate: number;
  /** Lower end of the cosine between rounds, approached but not reached. */
  readonly finalLearningRate: number;
  /** Cohort of strategies that keep one cohort; absent: the cohort that round 1 would draw. */
  readonly fixedClients?: readonly string[];
}

/** What a strategy may know of the round it configures or aggregates. */
export interface RoundContext {
  /** Counted from 1. */
  readonly round: number;
  readonly plan: TrainingPlan;
  /** All clients of the federation, also those not in this round's cohort. */
  readonly numClients: number;
  readonly layout: AdapterLayout;
  /** Tasks are made for their sizes, so nothing need be encoded. */
  readonly sizesOnly?: boolean;
}

/** The result of a client's local training, before it leaves the client. */
export interface LocalOutcome {
  readonly startWeights: Float32Array;
  readonly trainedWeights: Float32Array;
  readonly numSteps: number;
  readonly layout: AdapterLayout;
  /** Of the personal task; only with one. */
  readonly personalWeights?: Float32Array;
}

/** The half of a strategy that runs at the client, with the client's own state (undefined before its first round). */
export interface ClientSide {
  /** The task as this client will do it. */
  begin(task: TrainTask, ownState: NamedState | undefined, layout: AdapterLayout): TrainTask;
  /**
   * A second training on the same samples, for an adapter of the client's own: what comes of it goes to `finish` and nowhere
   * else. Absent: a client trains once.
   */
  personalTask?(task: TrainTask, ownState: NamedState | undefined, layout: AdapterLayout): TrainTask;
  /**
   * What leaves the client beside the update, and the state the client keeps if the round succeeds. With an answerSlice the
   * client answers with less than the task asks for: no pair of a higher rank, and the same half.
   */
  finish(
    task: TrainTask,
    outcome: LocalOutcome,
    ownState: NamedState | undefined,
  ): {
    readonly controlVariateUpdate?: Float32Array;
    readonly nextState?: NamedState;
    readonly answerSlice?: AdapterSlice;
  };
}

/** A round's result in the making: it gets the updates one by one in ascending order of client id, and keeps none. */
export interface Aggregation {
  add(update: ClientUpdate): void;
  /** Called once, after at least one update. */
  finish(): NamedState;
}

/** Combines the updates of a round. With `start` they need not all be there at once, so memory does not grow with the cohort. */
export interface Aggregate {
  (state: NamedState, updates: readonly ClientUpdate[], context: RoundContext): NamedState;
  readonly start?: (state: NamedState, context: RoundContext) => Aggregation;
  /**
   * The next state from a mean of the updates, however it was formed: for a noisy one (private-round.ts). Only where nothing else of the
   * updates is needed. Absent: the method looks at single updates, or at more of them than one vector.
   */
  readonly fromMean?: (state: NamedState, mean: Float64Array, context: RoundContext) => NamedState;
}

/** An aggregate in both forms from the one that takes updates one by one. */
export function oneByOne(start: NonNullable<Aggregate["start"]>): Aggregate {
  const aggregate = (state: NamedState, updates: readonly ClientUpdate[], context: RoundContext): NamedState => {
    const aggregation = start(state, context);
    const sorted = [...updates].sort((left, right) => compareIds(left.clientId, right.clientId));
    for (const update of sorted) aggregation.add(update);
    return aggregation.finish();
  };
  return Object.assign(aggregate, { start });
}

/** How a robust rule (src/robust) took a client's update. */
export interface ClientVerdict {
  /** What its change counts in the result, 0: nothing; absent: that differs from coordinate to coordinate. */
  readonly share?: number;
  /** By what it was judged; what that is depends on the rule. */
  readonly score: number;
}

export interface Strategy {
  readonly name: string;
  /** `clients`: each with its own data; `pooled`: one participant that has the data of all. */
  readonly participants: "clients" | "pooled";
  /** `sampled`: drawn anew in each round; `fixed`: the same in all rounds. */
  readonly cohort: "sampled" | "fixed";
  /** Whether weights travel between server and clients, so that bytes are counted. */
  readonly exchangesWeights: boolean;
  readonly clientSide?: ClientSide;
  /** What the server trains itself before the tasks of a round are made; its result is in the state they are made from. Absent: nothing. */
  readonly serverSide?: ServerSide;
  /** The server keeps a state per group, and each group draws a cohort of its own (groups.ts); absent: all clients are one. */
  readonly groups?: GroupOf;
  /**
   * The server does not wait for a cohort: clients work all the time, and it makes its next version of every `bufferSize`
   * updates (asynchronous.ts). Its state has the global adapter as `adapter`, from which and the context alone `configure` makes
   * tasks; clients keep nothing, so it has no clientSide. Tasks may send and ask for slices: an update of a slice is the change of that
   * slice since `delay.sentWeights`. Absent: rounds, in which a cohort starts together.
   */
  readonly asynchronous?: { readonly bufferSize: number };
  /** Its adapters have frozen ones beside them (`AdapterSet.frozen`), which are the same for all results: not one per group. */
  readonly keepsFrozen?: boolean;
  /** Its tasks and answers bring control variates beside the weights, which server and clients both keep. */
  readonly sendsControlVariates?: boolean;
  /** Numbers of one place in two rounds' adapters mean different things: factors are decomposed anew, or clients' ranks change. */
  readonly changesBasis?: boolean;
  /** What tasks do not send of `known` is the initial adapter's in all rounds. */
  readonly keepsInitial?: boolean;
  /** It trains the matrices between a fixed A and B (`TrainTask.outer`), so what distinguishes A from B has no meaning. */
  readonly trainsInner?: boolean;
  /**
   * Clients train on an emulator of the model, which has fewer layers, and never see the others; the adapter sits on the first and
   * last layers and is judged in both models. Absent: clients have the model.
   */
  readonly emulator?: EmulatorShape;
  /** The server's state before round 1, from the initial adapter weights. */
  init(weights: Float32Array): NamedState;
  configure(state: NamedState, cohort: readonly CohortMember[], context: RoundContext): readonly TrainTask[];
  readonly aggregate: Aggregate;
  /**
   * A state that has what `aggregate` makes as far as the sizes of later tasks go by it, with any values: for working out before a
   * run what will travel. `answered` are all of the asked members, or with `allAnswer` false those that may answer, of which at
   * most clientsPerRound do; then it is such that tasks are the largest that can be. Absent: tasks are sized as the initial state's.
   */
  sizesAfter?(state: NamedState, answered: readonly CohortMember[], context: RoundContext, allAnswer: boolean): NamedState;
  /** What travels depends on values that training makes, and is at most what tasks of the initial state and the sizes of their answers say. */
  readonly sizesVary?: boolean;
  /** The adapters to evaluate and to save. */
  adapters(state: FederationState, layout: AdapterLayout): AdapterSet;
  /** How much an update counts in this method's mean; absent: `numExamples`. */
  clientWeight?(update: ClientUpdate, state: NamedState, context: RoundContext): number;
  /** What a robust rule made of each client of the last round, by client id; absent: no rule judges them. */
  verdicts?(state: NamedState): ReadonlyMap<string, ClientVerdict>;
  /** What a round's aggregation is to be known for beside its result, by name; stored with the round. */
  measures?(state: NamedState): Readonly<Record<string, number>>;
}

/** A vector of a state that the strategy itself put there. */
export function stateArray(state: NamedState, name: string): Float32Array {
  const array = state.arrays[name];
  assert(array !== undefined, `the state has the array ${name}`);
  return array;
}

/** The steps, rate and sub-sample every strategy starts from; a method adds fields or replaces `localSteps`. */
export function plainTask(
  member: CohortMember,
  weights: Float32Array,
  context: RoundContext,
  localSteps = localStepsOf(context.plan, member, expectedParticipations(context.plan, context.numClients)),
): TrainTask {
  const { plan, round } = context;
  // The data set's reference counts rounds from 0, for the learning rate as for the seeds of its draws.
  const roundIndex = round - 1;
  return {
    clientId: member.clientId,
    numExamples: member.numExamples,
    round,
    weights,
    localSteps,
    batchSize: plan.batchSize,
    clientLearningRate: cosineLearningRate({
      initial: plan.initialLearningRate,
      final: plan.finalLearningRate,
      roundIndex,
      numRounds: plan.numRounds,
    }),
    numSamples: Math.min(member.numExamples, plan.batchSize * localSteps),
    sampleSeed: roundIndex,
  };
}
