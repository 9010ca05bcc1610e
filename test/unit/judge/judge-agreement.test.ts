/** Agreement of judges from a database of results: a small one written through the store, with numbers that were worked out by hand. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { judgeAgreement } from "../../../src/benchmarks/judge-agreement.js";
import { EvaluationStore } from "../../../src/benchmarks/store.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

type Ratings = readonly (number | null)[];

function writeEvaluation(store: EvaluationStore, label: string, scores: Readonly<Record<string, Ratings>>): void {
  store.saveSubject({ label, modelName: "m", modelSha256: "a".repeat(64), adapterSha256: label.repeat(64) });
  const key = { modelSha256: "a".repeat(64), adapterSha256: label.repeat(64), metric: "vicuna", settings: {}, itemsSha256: "f".repeat(64), numItems: 4, seed: 0, versions: {} };
  const evaluation = store.openEvaluation(key, { title: "Vicuna", measures: [] }, new Date(0));
  const answer = { turns: [], numPromptTokens: 1, numTokens: 1 };
  store.keepAnswers(evaluation, [0, 1, 2, 3].map((seq) => ({ seq, item: { id: `q${String(seq)}` }, answer, durationMs: 1 })));
  for (const [judge, ratings] of Object.entries(scores)) {
    const grading = store.openGrading(evaluation, { judge });
    for (const [seq, value] of ratings.entries()) {
      store.keepScores(grading, seq, [
        { measure: "rating", value, by: judge },
        { measure: "length", value: 3, by: "a rule" },
      ]);
    }
  }
}

function agreementOf(evaluations: Readonly<Record<string, Readonly<Record<string, Ratings>>>>) {
  const store = new EvaluationStore(join(makeTemporaryFolder(), "evaluation.sqlite"));
  for (const [label, scores] of Object.entries(evaluations)) writeEvaluation(store, label, scores);
  const result = judgeAgreement(store.database);
  store.close();
  return result;
}

test("ratings of two judges are compared for each subject, without items that one could not rate and without rules", () => {
  const { subjects, verdicts } = agreementOf({ a: { strict: [1, 2, 3, null], mild: [3, 4, 5, 9] } });
  expect(subjects).toEqual([
    {
      ...{ subject: "a", metric: "vicuna", measure: "rating", judges: ["mild", "strict"], numItems: 4, numCompared: 3 },
      ...{ spearman: 1, meanAbsoluteDifference: 2, meanDifference: -2 },
      // Squares of 4 against a mean of (4 + 1 + 0 + 9 + 4 + 1 + 16 + 9 + 4) / 9 by chance.
      quadraticWeightedKappa: expect.closeTo(1 - 4 / (48 / 9), 12) as number,
    },
  ]);
  expect(verdicts).toEqual([]);
});

test("verdicts between subjects are compared too", () => {
  // mild: a better, b better, tie, a better. strict: a better, b better, a better, none.
  const { subjects, verdicts } = agreementOf({
    a: { mild: [8, 5, 7, 9], strict: [5, 2, 4, null] },
    b: { mild: [6, 6, 7.1, 8], strict: [4, 3, 2, 1] },
  });
  expect(subjects.map(({ subject }) => subject)).toEqual(["a", "b"]);
  // Two of three agree; by chance a 1/3 * 2/3 + 1/3 * 1/3 + 1/3 * 0 = 1/3.
  expect(verdicts).toEqual([{ metric: "vicuna", measure: "rating", judges: ["mild", "strict"], numVerdicts: 3, agreement: expect.closeTo(2 / 3, 12) as number, kappa: expect.closeTo((2 / 3 - 1 / 3) / (2 / 3), 12) as number }]);
});

test("three judges make three pairs, one alone none", () => {
  const ratings = [1, 2, 3, 4];
  expect(agreementOf({ a: { x: ratings, y: ratings, z: ratings } }).subjects.map(({ judges }) => judges)).toEqual([["x", "y"], ["x", "z"], ["y", "z"]]);
  expect(agreementOf({ a: { x: ratings } })).toEqual({ subjects: [], verdicts: [] });
});
