/** HumanEval's problems (Chen et al. 2021): JSON Lines, also gzipped, with task_id, prompt, entry_point, test and canonical_solution; own files of the same form. */
import { readQuestionRecords, optionalTextField, recordError, textField } from "./question-records.js";

export interface ProgrammingProblem {
  /** task_id. */
  readonly id: string;
  /** Code up to the function's head and description. */
  readonly prompt: string;
  /** The function's name. */
  readonly entryPoint: string;
  /** Code that defines `check(candidate)`. */
  readonly test: string;
  /** A right body; not needed. */
  readonly canonicalSolution?: string;
}

/** The problems in file order. Throws DATASET_INVALID with the line of a mistake, IO_FAILED. */
export async function readProgrammingProblems(path: string): Promise<readonly ProgrammingProblem[]> {
  const records = await readQuestionRecords(path);
  const ids = new Set<string>();
  return records.map((record) => {
    const id = textField(record, "task_id");
    if (ids.has(id)) throw recordError(record, "task_id", "a name of its own", id);
    ids.add(id);
    const prompt = textField(record, "prompt");
    const entryPoint = textField(record, "entry_point");
    if (!/^[A-Za-z_]\w*$/u.test(entryPoint) || !new RegExp(`\\bdef\\s+${entryPoint}\\s*\\(`, "u").test(prompt)) {
      throw recordError(record, "entry_point", "the name of a function that the prompt begins", entryPoint);
    }
    const test = textField(record, "test");
    if (!/^def\s+check\s*\(/mu.test(test)) throw recordError(record, "test", "code that defines check(candidate)", test);
    const canonicalSolution = optionalTextField(record, "canonical_solution");
    return { id, prompt, entryPoint, test, ...(canonicalSolution === undefined ? {} : { canonicalSolution }) };
  });
}

/** What is run after the program: the problem's own check of its function. */
export function checkOf({ test, entryPoint }: ProgrammingProblem): string {
  return `${test}\n\ncheck(${entryPoint})\n`;
}
