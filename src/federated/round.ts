/**
 * One round, in the order in which it is told: cohort, tasks, train, check, aggregate, evaluate, record, commit.
 * `runRound` returns the next state; until then nobody sees it, so a round that ends half-way leaves no client ahead of
 * the server. Which rounds there are, and checkpoints, are the server's part (server.ts).
 */
import { compareIds, weightsNorm, subtractWeights } from "../adapter/weights.js";
import { FedllmError, problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { trainClient, type ClientOutcome } from "./client.js";
import { mapBounded } from "./bounded.js";
import { selectParticipants } from "./cohort.js";
import type { FederationDeps, FederationOptions } from "./options.js";
import type {
  AdapterSet,
  ClientFailure,
  ClientUpdate,
  FederatedClient,
  FederationState,
  NamedState,
  TrainTask,
} from "./protocol.js";
import type { ClientRoundRecord, EvaluationRecord, RoundRecord } from "./records.js";
import { OrderedFold } from "./ordered-fold.js";
import type { Aggregation, RoundContext } from "./strategy.js";
import { keepsTrained, measureRound, weightOf, type TrainedAdapter } from "./round-measures.js";
import { downloadBytes, uploadBytes } from "./traffic.js";
import { checkUpdate } from "./update-check.js";

/** What stays the same over all rounds of a federation. */
export interface RoundSetup {
  readonly options: FederationOptions;
  readonly deps: FederationDeps;
  /** The clients, or the one pooled participant. */
  readonly participants: readonly FederatedClient[];
  readonly layoutFingerprint: string;
}

/** An answer that counts. */
interface Accepted {
  readonly clientId: string;
  /** Absent: it is in the aggregation already. */
  readonly update?: ClientUpdate;
  /** Absent: it is not to be measured. */
  readonly trained?: TrainedAdapter;
  readonly nextState?: NamedState;
}

/** A client's answer after the server's check, and its row. */
interface CheckedOutcome {
  readonly record: ClientRoundRecord;
  readonly accepted?: Accepted;
  readonly failure?: ClientFailure;
}

/** Runs one round and records it. Throws COHORT_TOO_SMALL or CANCELLED; then nothing of the round is kept. */
export async function runRound(setup: RoundSetup, state: FederationState, round: number): Promise<FederationState> {
  const { options, deps, participants } = setup;
  const { strategy, clock } = deps;
  const startedAt = clock.now().toISOString();
  const startMs = clock.monotonicMs();
  const { layout } = deps.trainer;
  const context: RoundContext = { round, plan: options.plan, numClients: deps.clients.length, layout };

  const cohort = selectParticipants(strategy, participants, options.plan, round, deps.sampleIndices);
  deps.onEvent?.({
    type: "roundStarted",
    round,
    numRounds: options.plan.numRounds,
    clientIds: cohort.map((client) => client.id),
  });
  const members = cohort.map((client) => ({ clientId: client.id, numExamples: client.numSamples }));
  const tasks = strategy.configure(state.server, members, context);
  assertOneTaskEach(tasks, cohort);

  const aggregation = strategy.aggregate.start?.(state.server, context);
  const outcomes = await orCancelled(trainCohort(setup, state, { tasks, cohort, context }, aggregation), deps.signal);
  const accepted = outcomes.flatMap((outcome) => (outcome.accepted === undefined ? [] : [outcome.accepted]));
  checkCohortSize(accepted.length, options.minClients, round, outcomes);

  const updates = accepted.flatMap(({ update }) => (update === undefined ? [] : [update]));
  const server = aggregation?.finish() ?? strategy.aggregate(state.server, updates, context);
  const next: FederationState = { server, clients: nextClientStates(state, accepted) };

  const adapters = strategy.adapters(next, layout);
  const evaluation = await evaluateRound(setup, adapters, round);
  const record: RoundRecord = {
    round,
    startedAt,
    durationMs: clock.monotonicMs() - startMs,
    ...evaluation,
    ...summarizeOutcomes(outcomes),
    measures: measureRound(
      strategy,
      accepted.flatMap(({ trained }) => (trained === undefined ? [] : [trained])),
      { state: server, adapters },
      context,
    ),
    ...(adapters.kind === "global" ? globalUpdateNorm(strategy.adapters(state, layout), adapters) : {}),
  };
  await deps.metrics.recordRound(record);
  deps.onEvent?.({ type: "roundFinished", round, numRounds: options.plan.numRounds, record });
  return next;
}

/** Evaluates the adapters of a round if it is that round's turn; also used for round 0. Throws CANCELLED. */
export async function evaluateRound(
  { options, deps }: RoundSetup,
  adapters: AdapterSet,
  round: number,
): Promise<{ evaluations: readonly EvaluationRecord[]; evaluationDurationMs?: number }> {
  const { numRounds } = options.plan;
  const isLastRound = round === numRounds;
  if (deps.evaluate === undefined || !(isLastRound || round % options.evaluateEvery === 0)) return { evaluations: [] };
  const startMs = deps.clock.monotonicMs();
  const rows = await orCancelled(
    deps.evaluate({ round, isLastRound, adapters, ...(deps.signal === undefined ? {} : { signal: deps.signal }) }),
    deps.signal,
  );
  deps.onEvent?.({ type: "evaluation", round, rows });
  return { evaluations: rows, evaluationDurationMs: deps.clock.monotonicMs() - startMs };
}

/** Throws CANCELLED when the signal is aborted. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new FedllmError("CANCELLED", "the run was cancelled; its last finished round is kept", {
    cause: signal.reason,
  });
}

/** Work that is cut off by an abort may end in any way, also as if it were done; all of them are CANCELLED. */
async function orCancelled<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await work;
  } finally {
    throwIfCancelled(signal);
  }
}

/** What a round has to do. */
interface CohortWork {
  readonly tasks: readonly TrainTask[];
  readonly cohort: readonly FederatedClient[];
  readonly context: RoundContext;
}

/**
 * Trains all clients in ascending order of their ids, a bounded number at once; the outcomes are in that order. With an
 * aggregation each update goes into it in that order as soon as those before it are there, and is forgotten.
 */
async function trainCohort(
  setup: RoundSetup,
  state: FederationState,
  { tasks, cohort, context }: CohortWork,
  aggregation: Aggregation | undefined,
): Promise<CheckedOutcome[]> {
  const { maxConcurrentClients } = setup.options;
  const sorted = [...tasks].sort((left, right) => compareIds(left.clientId, right.clientId));
  const outcomes: CheckedOutcome[] = [];
  // Twice as many as train at once: a slow client does not stop the others soon.
  const fold = new OrderedFold<CheckedOutcome>(2 * maxConcurrentClients, (outcome) => {
    outcomes.push(aggregation === undefined ? outcome : addTo(aggregation, outcome));
  });
  await mapBounded([...sorted.entries()], maxConcurrentClients, setup.deps.signal, async ([position, task]) => {
    try {
      await fold.start(position);
      fold.offer(position, await trainMember(setup, state, task, { tasks, cohort, context }));
    } catch (error) {
      fold.close();
      throw error;
    }
  });
  return outcomes;
}

function addTo(aggregation: Aggregation, outcome: CheckedOutcome): CheckedOutcome {
  if (outcome.accepted?.update === undefined) return outcome;
  const { update, ...accepted } = outcome.accepted;
  aggregation.add(update);
  return { ...outcome, accepted };
}

async function trainMember(
  setup: RoundSetup,
  state: FederationState,
  task: TrainTask,
  { cohort, context }: CohortWork,
): Promise<CheckedOutcome> {
  const { options, deps } = setup;
  const client = cohort.find((candidate) => candidate.id === task.clientId);
  assert(client !== undefined, "a task is for a member of the cohort");
  const { round, clientId, localSteps } = task;
  deps.onEvent?.({ type: "clientStarted", round, clientId, localSteps });
  const outcome = await trainClient(task, client, readOwnState(state, clientId), options, {
    trainer: deps.trainer,
    layoutFingerprint: setup.layoutFingerprint,
    sampleIndices: deps.sampleIndices,
    ...(deps.strategy.clientSide === undefined ? {} : { clientSide: deps.strategy.clientSide }),
    ...(deps.signal === undefined ? {} : { signal: deps.signal }),
    onProgress: (progress) => deps.onEvent?.({ type: "clientProgress", round, clientId, ...progress }),
  });
  const checked = keepTrained(setup, state, checkOutcome(setup, task, outcome), outcome, { cohort, context });
  deps.onEvent?.({
    type: checked.failure === undefined ? "clientFinished" : "clientFailed",
    round,
    client: checked.record,
  });
  return checked;
}

/** With the adapter as it was trained, where that is to be measured. */
function keepTrained(
  { options, deps: { strategy } }: RoundSetup,
  state: FederationState,
  checked: CheckedOutcome,
  outcome: ClientOutcome,
  { cohort, context }: Pick<CohortWork, "cohort" | "context">,
): CheckedOutcome {
  const { accepted } = checked;
  if (accepted?.update === undefined || outcome.kind === "failure" || !keepsTrained(options, cohort.length, context)) return checked;
  const weight = weightOf(strategy, accepted.update, state.server, context);
  return { ...checked, accepted: { ...accepted, trained: { weights: outcome.trainedWeights, weight } } };
}

/**
 * The client's own state, read once for the round. Outside of trainClient, because a state that we lost is no failure of
 * the client: it throws and ends the run.
 */
function readOwnState({ clients }: FederationState, clientId: string): NamedState | undefined {
  const stored = clients.get(clientId);
  return stored === undefined ? undefined : { arrays: stored.arrays, numbers: stored.numbers };
}

/** The server's check, and the row of the client. A rejected answer keeps its cost (bytes, time) but no result. */
function checkOutcome(setup: RoundSetup, task: TrainTask, outcome: ClientOutcome): CheckedOutcome {
  const { deps, layoutFingerprint } = setup;
  const travels = deps.strategy.exchangesWeights;
  const common = {
    clientId: task.clientId,
    numExamples: task.numExamples,
    learningRate: task.clientLearningRate,
    downloadBytes: travels ? downloadBytes(task) : 0,
    ...(deps.peakMemoryBytes === undefined ? {} : { peakMemoryBytes: deps.peakMemoryBytes() }),
  };
  if (outcome.kind === "failure") {
    return { record: { ...common, uploadBytes: 0, ...failureColumns(outcome.failure) }, failure: outcome.failure };
  }
  const { update } = outcome;
  const cost = {
    uploadBytes: travels ? uploadBytes(update) : 0,
    trainDurationMs: update.trainDurationMs,
  };
  const failure = checkUpdate(update, task, { layout: deps.trainer.layout, layoutFingerprint });
  if (failure !== undefined) return { record: { ...common, ...cost, ...failureColumns(failure) }, failure };
  const record: ClientRoundRecord = {
    ...common,
    ...cost,
    numSamples: update.numSamples,
    numTokens: update.numTokens,
    numSupervisedTokens: update.numSupervisedTokens,
    numSteps: update.numSteps,
    trainLoss: update.trainLoss,
    firstTrainLoss: update.firstTrainLoss,
    lastTrainLoss: update.lastTrainLoss,
    ...(update.preference === undefined ? {} : { preference: update.preference }),
    updateNorm: weightsNorm(update.update),
    ...(update.trainDurationMs > 0 ? { tokensPerSecond: (update.numTokens * 1000) / update.trainDurationMs } : {}),
  };
  const { nextState } = outcome;
  return { record, accepted: { clientId: task.clientId, update, ...(nextState === undefined ? {} : { nextState }) } };
}

function failureColumns(failure: ClientFailure): Pick<ClientRoundRecord, "failureCode" | "failureMessage"> {
  return { failureCode: failure.code, failureMessage: failure.message };
}

function checkCohortSize(
  numAccepted: number,
  minClients: number,
  round: number,
  outcomes: readonly CheckedOutcome[],
): void {
  if (numAccepted >= minClients) return;
  const failures = outcomes.flatMap(({ failure }) => (failure === undefined ? [] : [failure]));
  // A few failures are enough to see the cause; they mostly have the same one.
  const shown = failures
    .slice(0, 3)
    .map((failure) => `client ${failure.clientId}: ${failure.code}: ${failure.message}`);
  throw problemError("COHORT_TOO_SMALL", {
    subject: `round ${String(round)}`,
    expected: `usable updates of at least ${String(minClients)} clients`,
    received: `${String(numAccepted)} of ${String(outcomes.length)}${shown.length === 0 ? "" : ` (${shown.join("; ")})`}`,
  });
}

function nextClientStates(
  state: FederationState,
  accepted: readonly Accepted[],
): ReadonlyMap<string, NamedState> {
  const clients = new Map(state.clients);
  for (const { clientId, nextState } of accepted) {
    if (nextState !== undefined) clients.set(clientId, nextState);
  }
  return clients;
}

type OutcomeSummary = Omit<
  RoundRecord,
  "round" | "startedAt" | "durationMs" | "evaluations" | "evaluationDurationMs" | "globalUpdateNorm" | "measures"
>;

function summarizeOutcomes(outcomes: readonly CheckedOutcome[]): OutcomeSummary {
  const clients = outcomes.map(({ record }) => record);
  const failures = outcomes.flatMap(({ failure }) => (failure === undefined ? [] : [failure]));
  const losses = clients.flatMap(({ trainLoss }) => (trainLoss === undefined ? [] : [trainLoss]));
  const preferences = clients.flatMap(({ preference }) => (preference === undefined ? [] : [preference]));
  return {
    cohortSize: outcomes.length,
    numSucceeded: outcomes.length - failures.length,
    numFailed: failures.length,
    numRejected: failures.filter(({ code }) => code === "UPDATE_REJECTED").length,
    ...(losses.length === 0 ? {} : { trainLoss: mean(losses) }),
    ...(preferences.length === 0
      ? {}
      : {
          preference: {
            rewardMargin: mean(preferences.map(({ rewardMargin }) => rewardMargin)),
            rewardAccuracy: mean(preferences.map(({ rewardAccuracy }) => rewardAccuracy)),
          },
        }),
    uploadBytes: clients.reduce((sum, { uploadBytes }) => sum + uploadBytes, 0),
    downloadBytes: clients.reduce((sum, { downloadBytes }) => sum + downloadBytes, 0),
    clients,
    events: failures.map(({ clientId, code, message }) => ({
      kind: code === "UPDATE_REJECTED" ? "updateRejected" : "clientFailed",
      clientId,
      message: `${code}: ${message}`,
    })),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function globalUpdateNorm(before: AdapterSet, after: AdapterSet): { globalUpdateNorm?: number } {
  if (before.kind !== "global" || after.kind !== "global") return {};
  return { globalUpdateNorm: weightsNorm(subtractWeights(after.weights, before.weights)) };
}

function assertOneTaskEach(tasks: readonly TrainTask[], cohort: readonly FederatedClient[]): void {
  const ids = new Set(tasks.map((task) => task.clientId));
  assert(tasks.length === cohort.length && ids.size === cohort.length, "a strategy gives one task per cohort member");
}
