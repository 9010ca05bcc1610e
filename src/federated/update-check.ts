/** What the server demands of an update before it may count; a refused one is a ClientFailure with UPDATE_REJECTED. */
import { findNonFinite } from "../adapter/weights.js";
import { describeProblem } from "../errors.js";
import type { ClientFailure, ClientUpdate, TrainTask } from "./protocol.js";

/** What a good update looks like. */
export interface UpdateExpectation {
  readonly numParameters: number;
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
    findVectorProblem("weights", update.update, expectation.numParameters) ??
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

/** Who got the server's control variate answers with the change of its own. */
function findControlVariateProblem(
  { controlVariateUpdate }: ClientUpdate,
  { serverControlVariate }: TrainTask,
  { numParameters }: UpdateExpectation,
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
