/** The learning rate between rounds (FedLLM-Bench): constant within a round, a half cosine over all rounds. */

export interface CosineSchedule {
  /** Rate of the first round, a. */
  readonly initial: number;
  /** Lower end, m. */
  readonly final: number;
  /** Counted from 0, t. */
  readonly roundIndex: number;
  /** T. */
  readonly numRounds: number;
}

/** lr(t) = m + (a - m) / 2 * (1 + cos(pi t / T)); t stays below T, so m is never quite reached. */
export function cosineLearningRate({ initial, final, roundIndex, numRounds }: CosineSchedule): number {
  return final + 0.5 * (initial - final) * (1 + Math.cos((Math.PI * roundIndex) / numRounds));
}
