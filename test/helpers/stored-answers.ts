/** Answers of subjects as `eval` keeps them, written without a model. */
import type { EvaluationStore } from "../../src/benchmarks/store.js";

export interface StoredSide {
  /** By item, then by turn. */
  readonly answers?: readonly (readonly string[])[];
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly itemsSha256?: string;
  readonly adapterSha256?: string;
}

export interface AnswersBySide {
  readonly left?: StoredSide;
  readonly right?: StoredSide;
}

/** Under a rule that prefers the longer answer: two wins, a loss, a tie; then one that shows the place, one that cannot be compared. */
export const LEFT_ANSWERS: readonly (readonly string[])[] = [["longer"], ["longer"], ["x"], ["same"], ["first"], ["?"]];
export const RIGHT_ANSWERS: readonly (readonly string[])[] = [["x"], ["x"], ["longer"], ["also"], ["place"], ["y"]];

/** One subject's answers to the metric vicuna; question and category follow from an item's place. */
export function keepEvaluation(store: EvaluationStore, label: string, { answers = [], settings = { maxNewTokens: 8 }, itemsSha256 = "f".repeat(64), adapterSha256 = label }: StoredSide): void {
  const subject = { modelSha256: "01", adapterSha256 };
  store.saveSubject({ label, modelName: "model", ...subject });
  const evaluationId = store.openEvaluation(
    { ...subject, metric: "vicuna", settings, itemsSha256, numItems: answers.length, seed: 0, versions: {} },
    { title: "Vicuna bench", categoryName: "category", measures: [] },
    new Date(0),
  );
  store.openGrading(evaluationId, {});
  const rows = answers.map((outputs, seq) => ({
    seq,
    item: { id: `q${String(seq)}`, category: seq % 2 === 0 ? "odd" : "even" },
    answer: { turns: outputs.map((output, turn) => ({ prompt: `question ${String(seq)}${outputs.length === 1 ? "" : `.${String(turn)}`}`, output, stop: "endToken" as const })), numPromptTokens: 1, numTokens: 1 },
    durationMs: 1,
  }));
  store.keepAnswers(evaluationId, rows);
}
