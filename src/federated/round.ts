/**
 * One round, in the order in which it is told: cohort, tasks, train, check, aggregate, evaluate, record, commit.
 * `runRound` returns the next state; until then nobody sees it, so a round that ends half-way leaves no client ahead of
 * the server. Which rounds there are, and checkpoints, are the server's part (server.ts).
 */
import { weightsNorm, subtractWeights } from "../adapter/weights.js";
import { FedllmError, problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { alignServer } from "./alignment.js";
import { scheduleTasks, trainCohort, type Accepted, type CheckedOutcome, type CohortWork } from "./cohort-training.js";
import { selectParticipants } from "./cohort.js";
import type { FederationDeps, FederationOptions } from "./options.js";
import type { AdapterSet, FederatedClient, FederationState, NamedState, TrainTask } from "./protocol.js";
import type { EvaluationRecord, EventRecord, RoundRecord } from "./records.js";
import { canGoOn, drawPrivateCohort, privacyMeasures, startPrivateAggregation } from "./private-round.js";
import { measureRound } from "./round-measures.js";
import type { RoundContext, Strategy } from "./strategy.js";

/** What stays the same over all rounds of a federation. */
export interface RoundSetup {
  readonly options: FederationOptions;
  readonly deps: FederationDeps;
  /** The clients, or the one pooled participant. */
  readonly participants: readonly FederatedClient[];
  readonly layoutFingerprint: string;
}

/** Runs one round and records it. Throws COHORT_TOO_SMALL or CANCELLED; then nothing of the round is kept. */
export async function runRound(setup: RoundSetup, former: FederationState, round: number): Promise<FederationState> {
  const { options, deps, participants } = setup;
  const { strategy, clock } = deps;
  const startedAt = clock.now().toISOString();
  const startMs = clock.monotonicMs();
  const { layout } = deps.trainer;
  const context: RoundContext = { round, plan: options.plan, numClients: deps.clients.length, layout };

  const cohort =
    drawPrivateCohort(setup, round) ??
    selectParticipants(strategy, participants, options.plan, round, deps.sampleIndices, options.participation?.overSelection);
  deps.onEvent?.({
    type: "roundStarted",
    round,
    numRounds: options.plan.numRounds,
    clientIds: cohort.map((client) => client.id),
  });
  const state = await orCancelled(alignServer(setup, former, context), deps.signal);
  const members = cohort.map((client) => ({ clientId: client.id, numExamples: client.numSamples }));
  const tasks = strategy.configure(state.server, members, context);
  assertOneTaskEach(tasks, cohort);

  const schedule = await scheduleTasks(setup, tasks, cohort);
  const aggregation = startPrivateAggregation(setup, state.server, context) ?? strategy.aggregate.start?.(state.server, context);
  const work: CohortWork = { state, tasks, cohort, context, ...(schedule === undefined ? {} : { schedule }) };
  const outcomes = await orCancelled(trainCohort(setup, work, aggregation), deps.signal);
  const accepted = outcomes.flatMap((outcome) => (outcome.accepted === undefined ? [] : [outcome.accepted]));
  // Whether enough came is not public, so a private round goes on with any number.
  if (deps.privacy === undefined) checkCohortSize(accepted.length, options.minClients, round, outcomes);

  const updates = accepted.flatMap(({ update }) => (update === undefined ? [] : [update]));
  const server = aggregation?.finish() ?? strategy.aggregate(state.server, updates, context);
  const next: FederationState = { server, clients: nextClientStates(state, accepted) };

  const simulated = schedule === undefined ? {} : { simulatedDurationMs: schedule.simulatedDurationMs };
  await finishRound(setup, { before: state, next, outcomes, context, startedAt, startMs, ...simulated });
  return next;
}

/** What a round came to, before it is evaluated. */
interface RoundResult {
  readonly before: FederationState;
  readonly next: FederationState;
  readonly outcomes: readonly CheckedOutcome[];
  readonly context: RoundContext;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly startMs: number;
  readonly simulatedDurationMs?: number;
}

/** Evaluates and records a round. Throws CANCELLED. */
export async function finishRound(setup: RoundSetup, result: RoundResult): Promise<void> {
  const { before, next, outcomes, context, startedAt, startMs, simulatedDurationMs } = result;
  const { options, deps } = setup;
  const { round, layout } = context;
  const { strategy, clock } = deps;
  const adapters = strategy.adapters(next, layout);
  const former = strategy.adapters(before, layout);
  const evaluation = await evaluateRound(setup, adapters, round);
  const record: RoundRecord = {
    round,
    startedAt,
    durationMs: clock.monotonicMs() - startMs,
    ...evaluation,
    ...summarizeOutcomes(outcomes, strategy.verdicts?.(next.server)),
    measures: [
      ...measureRound(
        strategy,
        outcomes.flatMap(({ accepted }) => (accepted?.trained === undefined ? [] : [accepted.trained])),
        { state: next.server, adapters, before: former },
        context,
      ),
      ...privacyMeasures(setup, next.server),
    ],
    ...(simulatedDurationMs === undefined ? {} : { simulatedDurationMs }),
    ...globalUpdateNorm(former, adapters),
  };
  await deps.metrics.recordRound(record);
  deps.onEvent?.({ type: "roundFinished", round, numRounds: options.plan.numRounds, record });
}

/** Evaluates the adapters of a round if it is that round's turn; also used for round 0. Throws CANCELLED. */
export async function evaluateRound(
  { options, deps }: RoundSetup,
  adapters: AdapterSet,
  round: number,
): Promise<{ evaluations: readonly EvaluationRecord[]; evaluationDurationMs?: number }> {
  const { numRounds } = options.plan;
  const isLastRound = round === numRounds || !canGoOn(deps, round);
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
export async function orCancelled<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await work;
  } finally {
    throwIfCancelled(signal);
  }
}

/** Throws COHORT_TOO_SMALL with the first failures. */
export function checkCohortSize(
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

function summarizeOutcomes(outcomes: readonly CheckedOutcome[], verdicts: ReturnType<NonNullable<Strategy["verdicts"]>> | undefined): OutcomeSummary {
  const clients = outcomes.map(({ record, failure }) => {
    // In a group without an answer the verdicts are those of an earlier round.
    const verdict = failure === undefined ? verdicts?.get(record.clientId) : undefined;
    return verdict === undefined ? record : { ...record, verdict };
  });
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
    events: outcomes.flatMap(eventsOf),
  };
}

function eventsOf({ record: { clientId }, failedAttempts = [], failure }: CheckedOutcome): readonly EventRecord[] {
  const retried = failedAttempts.map((message): EventRecord => ({ kind: "clientRetried", clientId, message }));
  if (failure === undefined) return retried;
  const kind = failure.code === "UPDATE_REJECTED" ? "updateRejected" : "clientFailed";
  return [...retried, { kind, clientId, message: `${failure.code}: ${failure.message}` }];
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
