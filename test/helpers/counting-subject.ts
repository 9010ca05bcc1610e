/** A subject without a model: its answers are a function of the request, and a metric whose judge may fail. For tests of the runner. */
import { createHash } from "node:crypto";
import type { AnswerRequest, ItemAnswer, Metric, ModelAnswer, SubjectModel } from "../../src/benchmarks/metric.js";
import { FedllmError } from "../../src/errors.js";

/** Answers with the number of times it was asked for a group in `numCalls`. */
export class CountingSubject implements SubjectModel {
  readonly contextLength = 100;
  numCalls = 0;

  async answer(requests: readonly AnswerRequest[]): Promise<readonly ModelAnswer[]> {
    this.numCalls += 1;
    await new Promise((resolve) => setImmediate(resolve));
    return requests.map(({ key }) => ({ text: createHash("sha256").update(key).digest("hex").slice(0, 6), stop: "endToken", numPromptTokens: key.length, numTokens: 6 }));
  }

  tokenize(text: string): Int32Array {
    return Int32Array.from(text, (character) => character.codePointAt(0) ?? 0);
  }

  tokenizeChat(): Int32Array {
    return new Int32Array(0);
  }

  score(): Promise<never> {
    return Promise.reject(new Error("this subject scores nothing"));
  }
}

/** Ten items in two categories, three at once; the score is the parity of the answer's last digit, unknown for the item "unknown". */
export function countingMetric(fails: (itemId: string) => boolean = () => false): Metric {
  const items = Array.from({ length: 10 }, (_, index) => ({ id: index === 4 ? "unknown" : `q${String(index)}`, category: index % 2 === 0 ? "even" : "odd" }));
  return {
    name: "parity",
    title: "Parity",
    measures: [{ measure: "parity", title: "parity", summary: "mean", displayFactor: 100, higherIsBetter: true }],
    needs: { generation: true },
    groupSize: 3,
    settings: {},
    items,
    itemsSha256: "ab",
    answerItems: async ({ model, seed }, group): Promise<readonly ItemAnswer[]> => {
      const answers = await model.answer(group.map(({ id }) => ({ prompt: id, maxNewTokens: 6, sampling: { temperature: 1 }, key: `${String(seed)} ${id}` })));
      return answers.map(({ text, stop, numPromptTokens, numTokens }, index) => ({ turns: [{ prompt: group[index]?.id ?? "", output: text, stop }], numPromptTokens, numTokens }));
    },
    scoreItem: async (_context, { id }, { turns }) => {
      await new Promise((resolve) => setImmediate(resolve));
      if (fails(id)) throw new FedllmError("JUDGE_FAILED", "the judge is not there");
      const digit = Number.parseInt(turns[0]?.output.slice(-1) ?? "", 16);
      return [{ measure: "parity", value: id === "unknown" ? null : digit % 2, words: turns[0]?.output ?? "" }];
    },
  };
}
