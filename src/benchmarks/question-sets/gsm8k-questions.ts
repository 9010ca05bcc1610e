/** GSM8K's problems (Cobbe et al. 2021): JSON Lines with question and answer, whose last line is `#### number`; own files of the same form. */
import { readQuestionRecords, recordError, textField } from "./question-records.js";
import { parseNumber } from "../number-answer.js";

export interface MathProblem {
  /** Position in the file, from 0. */
  readonly id: string;
  readonly question: string;
  /** The right answer. */
  readonly answer: number;
}

/** The problems in file order. Throws DATASET_INVALID with the line of a mistake, IO_FAILED. */
export async function readMathProblems(path: string): Promise<readonly MathProblem[]> {
  const records = await readQuestionRecords(path);
  return records.map((record, index) => {
    const text = textField(record, "answer");
    const answer = parseNumber(/####\s*(\S.*?)\s*$/u.exec(text)?.[1] ?? "");
    if (answer === undefined) throw recordError(record, "answer", "a text that ends with #### and a number", text.slice(-60));
    return { id: String(index), question: textField(record, "question"), answer };
  });
}
