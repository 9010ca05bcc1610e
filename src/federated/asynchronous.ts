/**
 * One update of an asynchronous server (strategies with `asynchronous`). On the simulated clock `clientsPerRound` clients are at
 * work at any time; who is done hands in an update and makes room for another client, which gets the newest weights. When
 * `bufferSize` updates are there, each some versions old, the server makes its next version: that is what counts as a round.
 * A client works on one thing at a time and hands in at most one update per version, so it never trains twice from the same
 * weights. Training is done when the clock says that it ends, one client after another, so order and bits are fixed.
 */
import { compareIds } from "../adapter/weights.js";
import { assert } from "../util/assert.js";
import { deriveSeed } from "../util/random.js";
import { memberOf, trainMember, workOf, type CheckedOutcome, type CohortWork } from "./cohort-training.js";
import type { DeviceProfile } from "./devices.js";
import { joinState, splitState, type AsynchronousState, type InFlight } from "./in-flight.js";
import { appoint, EVERYBODY_ANSWERS, type Appointment } from "./participation.js";
import type { ClientUpdate, FederatedClient, FederationState, TrainTask } from "./protocol.js";
import { checkCohortSize, finishRound, orCancelled, throwIfCancelled, type RoundSetup } from "./round.js";
import type { RoundContext } from "./strategy.js";

/** Without devices all machines are alike and their links cost nothing. */
const EQUAL_DEVICE: DeviceProfile = {
  name: "equal",
  tokensPerSecond: 1000,
  uploadBytesPerSecond: Number.POSITIVE_INFINITY,
  downloadBytesPerSecond: Number.POSITIVE_INFINITY,
  failureProbability: 0,
};

/** Makes the server's next version and records it as a round. Throws COHORT_TOO_SMALL or CANCELLED. */
export async function runAsynchronousRound(setup: RoundSetup, state: FederationState, round: number): Promise<FederationState> {
  const { options, deps } = setup;
  const { strategy, clock } = deps;
  const startedAt = clock.now().toISOString();
  const startMs = clock.monotonicMs();
  assert(strategy.asynchronous !== undefined, "the strategy is an asynchronous one");
  const before = splitState(state.server);
  const { inFlight, arrivals, simulatedMs } = await gather(setup, before, round, strategy.asynchronous.bufferSize);
  const outcomes = [...arrivals].sort((left, right) => compareIds(left.record.clientId, right.record.clientId));
  const updates = outcomes.flatMap(({ accepted }) => (accepted?.update === undefined ? [] : [accepted.update]));
  checkCohortSize(updates.length, Math.min(options.minClients, strategy.asynchronous.bufferSize), round, outcomes);
  const context = contextOf(setup, round);
  const own = strategy.aggregate(before.own, updates, context);
  const next: FederationState = { server: joinState({ own, simulatedMs, inFlight }), clients: state.clients };
  await finishRound(setup, { before: state, next, outcomes, context, startedAt, startMs, simulatedDurationMs: simulatedMs - before.simulatedMs });
  return next;
}

/** Lets clients work until the buffer is full, or nobody is left that could add to it. */
async function gather(setup: RoundSetup, before: AsynchronousState, round: number, bufferSize: number) {
  const { deps, options } = setup;
  const arrivals: CheckedOutcome[] = [];
  let { inFlight, simulatedMs } = before;
  const busy = () => new Set([...inFlight.map(({ clientId }) => clientId), ...arrivals.map(({ record }) => record.clientId)]);
  let numStarted = 0;
  const fillUp = async (): Promise<void> => {
    while (inFlight.length < options.plan.clientsPerRound) {
      const client = drawIdle(setup, busy(), round, numStarted);
      if (client === undefined) return;
      numStarted += 1;
      inFlight = [...inFlight, await begin(setup, before, client, { round, simulatedMs })];
    }
  };
  await fillUp();
  deps.onEvent?.({ type: "roundStarted", round, numRounds: options.plan.numRounds, clientIds: inFlight.map(({ clientId }) => clientId) });
  const isFull = () => arrivals.filter(({ accepted }) => accepted !== undefined).length >= bufferSize;
  while (!isFull()) {
    throwIfCancelled(deps.signal);
    const [first] = [...inFlight].sort((left, right) => left.finishMs - right.finishMs || compareIds(left.clientId, right.clientId));
    if (first === undefined) break;
    inFlight = inFlight.filter((entry) => entry !== first);
    simulatedMs = Math.max(simulatedMs, first.finishMs);
    arrivals.push(await arrive(setup, before, first, round));
    // Who would start when the buffer is full starts from the new version instead.
    if (!isFull()) await fillUp();
  }
  return { inFlight, arrivals, simulatedMs };
}

/** A client that neither works nor has handed in for this version; undefined when there is none. */
function drawIdle({ participants, options }: RoundSetup, busy: ReadonlySet<string>, round: number, position: number): FederatedClient | undefined {
  const idle = participants.filter(({ id }) => !busy.has(id));
  return idle[deriveSeed(options.seed, "asynchronous client", round, position) % Math.max(1, idle.length)];
}

async function begin(
  setup: RoundSetup,
  { own }: AsynchronousState,
  client: FederatedClient,
  { round, simulatedMs }: { readonly round: number; readonly simulatedMs: number },
): Promise<InFlight> {
  const sentWeights = own.arrays["adapter"];
  assert(sentWeights !== undefined, "an asynchronous strategy keeps the global adapter as adapter");
  const entry = { clientId: client.id, version: round - 1, finishMs: simulatedMs, sentWeights };
  const { simulatedDurationMs } = await appointmentOf(setup, own, entry);
  return { ...entry, finishMs: simulatedMs + simulatedDurationMs };
}

/** The training of a client whose time is over, and the server's check of what it hands in. */
async function arrive(setup: RoundSetup, { own }: AsynchronousState, entry: InFlight, round: number): Promise<CheckedOutcome> {
  const task = taskOf(setup, own, entry);
  const appointment = await appointmentOf(setup, own, entry);
  const work: CohortWork = {
    state: { server: own, clients: new Map() },
    tasks: [task],
    cohort: setup.participants,
    context: contextOf(setup, round),
    schedule: { appointments: new Map([[entry.clientId, appointment]]), simulatedDurationMs: 0 },
  };
  const outcome = await orCancelled(trainMember(setup, work, task), setup.deps.signal);
  const staleness = round - 1 - entry.version;
  const record = { ...outcome.record, staleness };
  if (outcome.accepted?.update === undefined) return { ...outcome, record };
  const update: ClientUpdate = { ...outcome.accepted.update, delay: { staleness, sentWeights: entry.sentWeights } };
  // What is measured compares the adapter with one mean of one cohort, which there is not.
  return { ...outcome, record, accepted: { clientId: entry.clientId, update } };
}

/** As it was when the client began: the strategy sees the weights that were sent. */
function taskOf(setup: RoundSetup, own: AsynchronousState["own"], { clientId, version, sentWeights }: InFlight): TrainTask {
  const client = memberOf(setup.participants, clientId);
  const state = { ...own, arrays: { ...own.arrays, adapter: sentWeights } };
  const [task] = setup.deps.strategy.configure(state, [{ clientId, numExamples: client.numSamples }], contextOf(setup, version + 1));
  assert(task !== undefined, "a strategy gives one task per cohort member");
  return task;
}

async function appointmentOf(setup: RoundSetup, own: AsynchronousState["own"], entry: InFlight): Promise<Appointment> {
  const { participation = EVERYBODY_ANSWERS, seed } = setup.options;
  const task = taskOf(setup, own, entry);
  const work = await workOf(setup, task, memberOf(setup.participants, entry.clientId));
  const deviceOf = participation.deviceOf ?? (() => EQUAL_DEVICE);
  return appoint({ clientId: entry.clientId, work }, { seed, round: task.round }, { ...participation, deviceOf });
}

function contextOf({ options, deps }: RoundSetup, round: number): RoundContext {
  return { round, plan: options.plan, numClients: deps.clients.length, layout: deps.trainer.layout };
}
