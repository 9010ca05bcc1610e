/** What the server demands of an update before it may count; a refused one is a ClientFailure with UPDATE_REJECTED. */
import { innerLength } from "../adapter/inner.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { adapterPairs } from "../adapter/pairs.js";
import { sliceLength } from "../adapter/slice.js";
import { findNonFinite } from "../adapter/weights.js";
import { describeProblem } from "../errors.js";
import type { ClientFailure, ClientUpdate, TrainTask } from "./protocol.js";

/** What a good update looks like. */
export interface UpdateExpectation {
  readonly layout: AdapterLayout;
  readonly layoutFingerprint: string;
}

/** The reason to refuse the update, or undefined for a good one. */
export function checkUpdate(
  update: ClientUpdate,
  task: TrainTask,
  expectation: UpdateExpectation,
): ClientFailure | undefined {
  const problem =
    findIdentityProblem(update, task) ??
    findLayoutProblem(update, expectation) ??
    findSliceProblem(update, task, expectation) ??
    findVectorProblem("weights", update.update, expectedLength(update, task, expectation)) ??
    findControlVariateProblem(update, task, expectation) ??
    findLossProblem(update);
  if (problem === undefined) return undefined;
  const subject = `update of client ${JSON.stringify(task.clientId)}`;
  return {
    clientId: task.clientId,
    round: task.round,
    code: "UPDATE_REJECTED",
    message: describeProblem({ subject, ...problem }),
  };
}

interface Finding {
  readonly expected: string;
  readonly received: string;
}

function findIdentityProblem(update: ClientUpdate, task: TrainTask): Finding | undefined {
  if (update.clientId !== task.clientId || update.round !== task.round) {
    return {
      expected: `an answer to round ${String(task.round)}`,
      received: `one of client ${JSON.stringify(update.clientId)} for round ${String(update.round)}`,
    };
  }
  if (update.numExamples === task.numExamples) return undefined;
  return { expected: `the weight ${String(task.numExamples)}`, received: String(update.numExamples) };
}

function findLayoutProblem(update: ClientUpdate, { layoutFingerprint }: UpdateExpectation): Finding | undefined {
  if (update.layoutFingerprint === layoutFingerprint) return undefined;
  return { expected: `adapter layout ${layoutFingerprint}`, received: `layout ${update.layoutFingerprint}` };
}

/** A client may answer with less than it was asked for, in lower ranks, but not with more or with something else. */
function findSliceProblem({ slice }: ClientUpdate, { answerSlice }: TrainTask, { layout }: UpdateExpectation): Finding | undefined {
  const ranks = slice?.ranks;
  const half = slice?.half ?? "both";
  const wanted = answerSlice?.half ?? "both";
  if (half !== wanted) return { expected: `half ${JSON.stringify(wanted)} of each pair`, received: JSON.stringify(half) };
  const most = adapterPairs(layout).map((pair, index) => answerSlice?.ranks?.[index] ?? pair.rank);
  if (ranks === undefined) {
    return answerSlice?.ranks === undefined ? undefined : { expected: "weights of the ranks that were asked for", received: "weights of full rank" };
  }
  const fits = ranks.length === most.length && ranks.every((rank, index) => Number.isSafeInteger(rank) && rank >= 0 && rank <= (most[index] ?? 0));
  return fits ? undefined : { expected: `ranks of at most ${most.join(", ")}`, received: ranks.join(", ") };
}

function expectedLength({ slice }: ClientUpdate, { outer }: TrainTask, { layout }: UpdateExpectation): number {
  if (outer !== undefined) return innerLength(layout);
  return slice === undefined ? layout.numParameters : sliceLength(layout, slice);
}

/** Who got the server's control variate answers with the change of its own. */
function findControlVariateProblem(
  { controlVariateUpdate }: ClientUpdate,
  { serverControlVariate }: TrainTask,
  { layout: { numParameters } }: UpdateExpectation,
): Finding | undefined {
  if (controlVariateUpdate !== undefined) return findVectorProblem("control variate", controlVariateUpdate, numParameters);
  if (serverControlVariate === undefined) return undefined;
  return { expected: "a change of the client's control variate", received: "none" };
}

function findVectorProblem(name: string, values: Float32Array, numParameters: number): Finding | undefined {
  if (values.length !== numParameters) {
    return { expected: `${String(numParameters)} ${name}`, received: String(values.length) };
  }
  const index = findNonFinite(values);
  if (index === undefined) return undefined;
  return { expected: `finite ${name}`, received: `${String(values[index])} at index ${String(index)}` };
}

function findLossProblem(update: ClientUpdate): Finding | undefined {
  const { trainLoss, firstTrainLoss, lastTrainLoss, preference } = update;
  if (![trainLoss, firstTrainLoss, lastTrainLoss].every(Number.isFinite)) {
    return { expected: "a finite train loss in every step", received: `a mean of ${String(trainLoss)}` };
  }
  const bad = Object.entries(preference ?? {}).find(([, value]) => !Number.isFinite(value));
  return bad === undefined ? undefined : { expected: `a finite ${bad[0]}`, received: String(bad[1]) };
}
