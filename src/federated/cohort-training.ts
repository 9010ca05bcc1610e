/**
 * The clients' part of a round as the server sees it: who is asked and when they answer, training a bounded number at once,
 * the check of each answer and the row that is left of it.
 */
import { compareIds, weightsNorm } from "../adapter/weights.js";
import { assert } from "../util/assert.js";
import { openAnswer } from "./answer-message.js";
import { mapBounded } from "./bounded.js";
import { splitByGroup } from "./groups.js";
import { readRoundSamples, trainClient, type ClientOutcome } from "./client.js";
import { sequencesOf } from "./local-trainer.js";
import { OrderedFold } from "./ordered-fold.js";
import { EVERYBODY_ANSWERS, scheduleRound, type Appointment, type RoundSchedule } from "./participation.js";
import type { ClientFailure, ClientUpdate, FederatedClient, FederationState, NamedState, TrainTask } from "./protocol.js";
import type { ClientRoundRecord } from "./records.js";
import type { RoundSetup } from "./round.js";
import { keepsTrained, weightOf, type TrainedAdapter } from "./round-measures.js";
import type { Aggregation, RoundContext } from "./strategy.js";
import { withinTime } from "./time-limit.js";
import { downloadBytes, expectedUploadBytes, uploadBytes } from "./traffic.js";

/** An answer that counts. */
export interface Accepted {
  readonly clientId: string;
  /** Absent: it is in the aggregation already. */
  readonly update?: ClientUpdate;
  /** Absent: it is not to be measured. */
  readonly trained?: TrainedAdapter;
  readonly nextState?: NamedState;
}

/** A client's answer after the server's check, and its row. */
export interface CheckedOutcome {
  /** What went wrong before it was asked again. */
  readonly failedAttempts?: readonly string[];
  readonly record: ClientRoundRecord;
  readonly accepted?: Accepted;
  readonly failure?: ClientFailure;
}

/** What a cohort is asked to do. */
export interface CohortWork {
  readonly state: FederationState;
  readonly tasks: readonly TrainTask[];
  readonly cohort: readonly FederatedClient[];
  readonly context: RoundContext;
  /** Absent: everybody answers, and there is no simulated clock. */
  readonly schedule?: RoundSchedule;
}

/** Who answers when; undefined without a simulated clock. The server goes on when every group has its answers. */
export async function scheduleTasks(
  setup: RoundSetup,
  tasks: readonly TrainTask[],
  cohort: readonly FederatedClient[],
): Promise<RoundSchedule | undefined> {
  const { options, deps } = setup;
  const { participation } = options;
  if (participation?.deviceOf === undefined) return undefined;
  const { deviceOf } = participation;
  const { strategy } = deps;
  const schedules: RoundSchedule[] = [];
  for (const group of splitByGroup(tasks, strategy.groups, ({ clientId }) => clientId)) {
    const candidates = [];
    for (const task of group) {
      candidates.push({ clientId: task.clientId, work: await workOf(setup, task, memberOf(cohort, task.clientId)) });
    }
    // A private cohort has any size, and nobody may be left out because of others.
    const takesAll = strategy.cohort === "fixed" || deps.privacy !== undefined;
    const numWanted = Math.min(group.length, takesAll ? group.length : options.plan.clientsPerRound);
    schedules.push(scheduleRound(candidates, numWanted, { seed: options.seed, round: tasks[0]?.round ?? 0 }, { ...participation, deviceOf }));
  }
  return {
    appointments: new Map(schedules.flatMap(({ appointments }) => [...appointments])),
    simulatedDurationMs: Math.max(0, ...schedules.map(({ simulatedDurationMs }) => simulatedDurationMs)),
  };
}

/** Bytes and tokens of a task; tokens are those of the samples that its steps pass over. */
export async function workOf({ deps }: RoundSetup, task: TrainTask, client: FederatedClient) {
  const travels = deps.strategy.exchangesWeights;
  const bytes = {
    downloadBytes: travels ? downloadBytes(task) : 0,
    uploadBytes: travels ? expectedUploadBytes(task, deps.trainer.layout) : 0,
  };
  // A client without samples fails when it trains, which is a row and not an error.
  if (client.numSamples === 0) return { ...bytes, numTokens: 0 };
  const lengths = (await readRoundSamples(task, client, deps.sampleIndices)).map((sample) =>
    sequencesOf([sample]).reduce((sum, { tokens }) => sum + tokens.length, 0),
  );
  const numDraws = task.localSteps * task.batchSize;
  const sumOf = (part: readonly number[]) => part.reduce((sum, length) => sum + length, 0);
  const numPasses = Math.floor(numDraws / Math.max(1, lengths.length));
  const numTokens = numPasses * sumOf(lengths) + sumOf(lengths.slice(0, numDraws - numPasses * lengths.length));
  const numTrainings = deps.strategy.clientSide?.personalTask === undefined ? 1 : 2;
  return { ...bytes, numTokens: numTokens * numTrainings };
}

/**
 * Trains all clients in ascending order of their ids, a bounded number at once; the outcomes are in that order. With an
 * aggregation each update goes into it in that order as soon as those before it are there, and is forgotten.
 */
export async function trainCohort(
  setup: RoundSetup,
  work: CohortWork,
  aggregation: Aggregation | undefined,
): Promise<CheckedOutcome[]> {
  const { maxConcurrentClients } = setup.options;
  const sorted = [...work.tasks].sort((left, right) => compareIds(left.clientId, right.clientId));
  const outcomes: CheckedOutcome[] = [];
  // Twice as many as train at once: a slow client does not stop the others soon.
  const fold = new OrderedFold<CheckedOutcome>(2 * maxConcurrentClients, (outcome) => {
    outcomes.push(aggregation === undefined ? outcome : addTo(aggregation, outcome));
  });
  await mapBounded([...sorted.entries()], maxConcurrentClients, setup.deps.signal, async ([position, task]) => {
    try {
      await fold.start(position);
      fold.offer(position, await trainMember(setup, work, task));
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

/** One client: not at all when the schedule says that it does not answer, otherwise until it succeeds or is asked no more. */
export async function trainMember(setup: RoundSetup, work: CohortWork, task: TrainTask): Promise<CheckedOutcome> {
  const { options, deps } = setup;
  const { state, cohort, schedule } = work;
  const client = memberOf(cohort, task.clientId);
  const { round, clientId, localSteps } = task;
  const appointment = schedule?.appointments.get(clientId);
  deps.onEvent?.({ type: "clientStarted", round, clientId, localSteps });
  const trainer = deps.trainerOf?.(clientId).trainer ?? deps.trainer;
  const train = (signal: AbortSignal | undefined) =>
    trainClient(task, client, readOwnState(state, clientId), options, {
      trainer: trainer.forTask?.(task) ?? trainer,
      layoutFingerprint: setup.layoutFingerprint,
      sampleIndices: deps.sampleIndices,
      ...(deps.strategy.clientSide === undefined ? {} : { clientSide: deps.strategy.clientSide }),
      ...(signal === undefined ? {} : { signal }),
      onProgress: (progress) => deps.onEvent?.({ type: "clientProgress", round, clientId, ...progress }),
    });
  const limitMs = options.participation?.wallClockTimeoutMs;
  const attempt = () => withinTime(train, { limitMs, signal: deps.signal, whenOver: () => timedOut(task, limitMs) });
  const { outcome, failedAttempts } = await untilAnswered(attempt, task, options.participation, appointment);
  const answer = await stageState(setup, perturbed(setup, keepTrained(setup, checkOutcome(setup, task, outcome), outcome, work)));
  const checked = withAppointment(answer, appointment, failedAttempts);
  deps.onEvent?.({
    type: checked.failure === undefined ? "clientFinished" : "clientFailed",
    round,
    client: checked.record,
  });
  return checked;
}

function perturbed({ deps: { perturb } }: RoundSetup, checked: CheckedOutcome): CheckedOutcome {
  const update = checked.accepted?.update;
  if (checked.accepted === undefined || update === undefined || perturb === undefined) return checked;
  return { ...checked, accepted: { ...checked.accepted, update: perturb(update) } };
}

/** A large cohort's next states are not held in memory until the round is over. */
async function stageState({ deps: { checkpoints } }: RoundSetup, checked: CheckedOutcome): Promise<CheckedOutcome> {
  const nextState = checked.accepted?.nextState;
  if (checked.accepted === undefined || nextState === undefined || checkpoints?.stage === undefined) return checked;
  return { ...checked, accepted: { ...checked.accepted, nextState: await checkpoints.stage(nextState) } };
}

/** With the adapter as it was trained, where that is to be measured. */
function keepTrained(
  { options, deps: { strategy } }: RoundSetup,
  checked: CheckedOutcome,
  outcome: ClientOutcome,
  { state, cohort, context }: CohortWork,
): CheckedOutcome {
  const { accepted } = checked;
  if (accepted?.update === undefined || outcome.kind === "failure" || !keepsTrained(options, cohort.length, context)) return checked;
  const weight = weightOf(strategy, accepted.update, state.server, context);
  return { ...checked, accepted: { ...accepted, trained: { clientId: accepted.clientId, weights: outcome.trainedWeights, weight } } };
}

export function memberOf(cohort: readonly FederatedClient[], clientId: string): FederatedClient {
  const client = cohort.find(({ id }) => id === clientId);
  assert(client !== undefined, "a task is for a member of the cohort");
  return client;
}

/** Asks until there is an update, or as often as is asked at most. A client that does not answer in time is not asked at all. */
async function untilAnswered(
  attempt: () => Promise<ClientOutcome>,
  { clientId, round }: TrainTask,
  { attempts } = EVERYBODY_ANSWERS,
  appointment?: Appointment,
): Promise<{ readonly outcome: ClientOutcome; readonly failedAttempts: readonly string[] }> {
  if (appointment?.refusal !== undefined) {
    return { outcome: { kind: "failure", failure: { clientId, round, ...appointment.refusal } }, failedAttempts: [] };
  }
  const failedAttempts: string[] = [];
  for (;;) {
    const outcome = await attempt();
    if (outcome.kind === "update" || failedAttempts.length + 1 >= attempts) return { outcome, failedAttempts };
    failedAttempts.push(`${outcome.failure.code}: ${outcome.failure.message}`);
  }
}

function timedOut({ clientId, round }: TrainTask, limitMs = 0): ClientOutcome {
  const message = `stopped, because it had not answered within ${(limitMs / 1000).toFixed(1)} s of real time`;
  return { kind: "failure", failure: { clientId, round, code: "CLIENT_TIMEOUT", message } };
}

/** The outcome with what the clock and the attempts add to its row. */
function withAppointment(checked: CheckedOutcome, appointment: Appointment | undefined, failedAttempts: readonly string[]): CheckedOutcome {
  const numAttempts = Math.max(appointment?.numAttempts ?? 1, failedAttempts.length + 1);
  const record: ClientRoundRecord = {
    ...checked.record,
    ...(appointment === undefined ? {} : { device: appointment.device, simulatedDurationMs: appointment.simulatedDurationMs }),
    ...(numAttempts === 1 ? {} : { numAttempts }),
  };
  return { ...checked, record, ...(failedAttempts.length === 0 ? {} : { failedAttempts }) };
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
  const precision = deps.trainerOf?.(task.clientId).precision;
  const group = deps.groupOf?.get(task.clientId) ?? deps.strategy.groups?.get(task.clientId);
  const common = {
    clientId: task.clientId,
    numExamples: task.numExamples,
    learningRate: task.clientLearningRate,
    downloadBytes: travels ? downloadBytes(task) : 0,
    ...(precision === undefined ? {} : { precision }),
    ...(group === undefined ? {} : { group }),
    ...(deps.peakMemoryBytes === undefined ? {} : { peakMemoryBytes: deps.peakMemoryBytes() }),
  };
  if (outcome.kind === "failure") {
    return { record: { ...common, uploadBytes: 0, ...failureColumns(outcome.failure) }, failure: outcome.failure };
  }
  const answer = outcome.update;
  const cost = {
    uploadBytes: travels ? uploadBytes(answer) : 0,
    trainDurationMs: answer.trainDurationMs,
    ...(answer.memory === undefined ? {} : { memory: answer.memory }),
  };
  const expectation = { layout: deps.trainer.layout, layoutFingerprint };
  const opened = openAnswer(answer, task, expectation);
  if (opened.kind === "failure") return { record: { ...common, ...cost, ...failureColumns(opened.failure) }, failure: opened.failure };
  const { update } = opened;
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
  const { clientId } = task;
  return { record, accepted: nextState === undefined ? { clientId, update } : { clientId, update, nextState } };
}

function failureColumns(failure: ClientFailure): Pick<ClientRoundRecord, "failureCode" | "failureMessage"> {
  return { failureCode: failure.code, failureMessage: failure.message };
}
