import { expect, test } from "vitest";
import type { ClientUpdate, TrainTask } from "../../../src/federated/protocol.js";
import { QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";
import { checkUpdate } from "../../../src/federated/update-check.js";

const { layout } = new QuadraticTrainer(2);

const task: TrainTask = {
  clientId: "a",
  numExamples: 5,
  round: 2,
  weights: new Float32Array(2),
  localSteps: 1,
  batchSize: 1,
  clientLearningRate: 0.1,
  numSamples: 1,
  sampleSeed: 1,
};

const update: ClientUpdate = {
  clientId: "a",
  numExamples: 5,
  round: 2,
  update: Float32Array.of(1, -1),
  layoutFingerprint: "layout",
  numSamples: 1,
  numSteps: 1,
  numTokens: 3,
  numSupervisedTokens: 2,
  trainLoss: 0.5,
  firstTrainLoss: 0.5,
  lastTrainLoss: 0.5,
  trainDurationMs: 1,
};

const check = (change: Partial<ClientUpdate>): string | undefined =>
  checkUpdate({ ...update, ...change }, task, { layout, layoutFingerprint: "layout" })?.message;

test("a good update passes, with and without a control variate", () => {
  expect(check({})).toBeUndefined();
  expect(check({ controlVariateUpdate: new Float32Array(2) })).toBeUndefined();
});

test("an answer without a control variate is refused when the task brought the server's", () => {
  const asked: TrainTask = { ...task, serverControlVariate: new Float32Array(2) };
  const expectation = { layout, layoutFingerprint: "layout" };
  expect(checkUpdate(update, asked, expectation)?.message).toContain("a change of the client's control variate, received none");
  expect(checkUpdate({ ...update, controlVariateUpdate: new Float32Array(2) }, asked, expectation)).toBeUndefined();
});

test.each([
  { change: { update: new Float32Array(3) }, says: "expected 2 weights, received 3" },
  { change: { update: Float32Array.of(0, Number.NaN) }, says: "expected finite weights, received NaN at index 1" },
  { change: { update: Float32Array.of(Infinity, 0) }, says: "expected finite weights, received Infinity at index 0" },
  { change: { layoutFingerprint: "other" }, says: "expected adapter layout layout, received layout other" },
  { change: { lastTrainLoss: Number.NaN }, says: "finite train loss" },
  { change: { controlVariateUpdate: new Float32Array(1) }, says: "expected 2 control variate, received 1" },
  { change: { round: 1 }, says: "for round 1" },
  { change: { clientId: "b" }, says: 'one of client "b"' },
  { change: { numExamples: 500 }, says: "expected the weight 5, received 500" },
])("an update is refused: $says", ({ change, says }) => {
  const message = check(change);
  expect(message).toContain('update of client "a"');
  expect(message).toContain(says);
});

test("a refusal carries the code, the client and the round of the task", () => {
  const failure = checkUpdate({ ...update, clientId: "b" }, task, { layout, layoutFingerprint: "layout" });
  expect(failure).toMatchObject({ clientId: "a", round: 2, code: "UPDATE_REJECTED" });
});
