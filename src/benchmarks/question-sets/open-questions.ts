/**
 * Questions with free answers, of one or more turns, in the published forms: MT-Bench's and the Vicuna bench's `question.jsonl`
 * (question_id, category, turns) with reference answers in a file of their own (question_id, choices), the benchmark's test sets
 * (instruction, reference, language; lists, or an object of them by language), and own files of any of these forms.
 */
import { problemError } from "../../errors.js";
import { checkText, optionalTextField, readQuestionRecords, recordError, textField } from "./question-records.js";
import type { QuestionRecord } from "./question-records.js";

export interface OpenQuestion {
  readonly id: string;
  /** Category, or language. */
  readonly category?: string;
  /** What the user says, turn by turn. */
  readonly turns: readonly string[];
  /** Good answers, by turn, as far as there are some. */
  readonly references?: readonly (string | undefined)[];
}

/** Names of a question of one turn. */
const QUESTION_FIELDS = ["instruction", "prompt", "question"] as const;

/** The questions of a file, each of `numTurns` turns. Throws DATASET_INVALID with the line of a mistake, IO_FAILED. */
export async function readOpenQuestions(path: string, numTurns: number): Promise<readonly OpenQuestion[]> {
  const records = await readQuestionRecords(path);
  const numOfKey = new Map<string, number>();
  const lineOfId = new Map<string, number>();
  return records.map((record) => {
    const index = numOfKey.get(record.key ?? "") ?? 0;
    numOfKey.set(record.key ?? "", index + 1);
    const question = toQuestion(record, index);
    const { turns, id } = question;
    if (turns.length !== numTurns) throw recordError(record, "turns", `${String(numTurns)} of them`, turns.length);
    const before = lineOfId.get(id);
    if (before !== undefined) throw recordError(record, "question_id", `another one than in line ${String(before)}`, id);
    lineOfId.set(id, record.line);
    return question;
  });
}

function toQuestion(record: QuestionRecord, index: number): OpenQuestion {
  const turns = turnsOf(record);
  const category = optionalTextField(record, "category") ?? optionalTextField(record, "language") ?? record.key;
  const references = referencesOf(record, turns.length);
  return {
    id: idOf(record) ?? (record.key === undefined ? String(index) : `${record.key}/${String(index)}`),
    ...(category === undefined ? {} : { category }),
    turns,
    ...(references === undefined ? {} : { references }),
  };
}

function idOf(record: QuestionRecord): string | undefined {
  const field = ["question_id", "id"].find((name) => Object.hasOwn(record.fields, name));
  if (field === undefined) return undefined;
  const value = record.fields[field];
  if (Number.isSafeInteger(value)) return String(value);
  return checkText(record, field, value);
}

function turnsOf(record: QuestionRecord): readonly string[] {
  if (Object.hasOwn(record.fields, "turns")) return textsOf(record, "turns", record.fields["turns"]);
  const field = QUESTION_FIELDS.find((name) => Object.hasOwn(record.fields, name));
  if (field !== undefined) return [textField(record, field)];
  throw recordError(record, "question", `one of the fields turns, ${QUESTION_FIELDS.join(", ")}`, undefined);
}

/** In MT-Bench's file an empty text says that a turn has no reference. */
function referencesOf(record: QuestionRecord, numTurns: number): readonly (string | undefined)[] | undefined {
  if (!Object.hasOwn(record.fields, "reference")) return undefined;
  const value = record.fields["reference"];
  const given = Array.isArray(value) ? (value as unknown[]) : [value];
  const references = given.map((text, index) => (text === "" ? undefined : checkText(record, `reference[${String(index)}]`, text)));
  if (references.length <= numTurns) return references.some((text) => text !== undefined) ? references : undefined;
  throw recordError(record, "reference", `at most ${String(numTurns)} texts, one a turn`, references.length);
}

function textsOf(record: QuestionRecord, field: string, value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length === 0) throw recordError(record, field, "an array of texts", value);
  return (value as unknown[]).map((text, index) => checkText(record, `${field}[${String(index)}]`, text));
}

/** Reference answers by question id: records with `choices`, of which the first has `turns`. Throws DATASET_INVALID with the line, IO_FAILED. */
export async function readReferenceAnswers(path: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const answers = new Map<string, readonly string[]>();
  for (const record of await readQuestionRecords(path)) {
    const id = idOf(record);
    if (id === undefined) throw recordError(record, "question_id", "the id of a question", undefined);
    if (answers.has(id)) throw recordError(record, "question_id", "each question once", id);
    const choices = record.fields["choices"];
    const first: unknown = Array.isArray(choices) ? (choices as unknown[])[0] : undefined;
    const turns = typeof first === "object" && first !== null && "turns" in first ? first.turns : undefined;
    answers.set(id, textsOf(record, "choices[0].turns", turns));
  }
  return answers;
}

/** Puts reference answers to their questions, in the place of those that the questions have. Throws DATASET_INVALID for answers to questions that are not there, or to more turns than there are. */
export function withReferences(questions: readonly OpenQuestion[], answers: ReadonlyMap<string, readonly string[]>, path: string): readonly OpenQuestion[] {
  const ids = new Set(questions.map(({ id }) => id));
  const stray = [...answers.keys()].find((id) => !ids.has(id));
  if (stray !== undefined) throw problemError("DATASET_INVALID", { subject: path, expected: "answers to the questions of the set", received: `one to question ${stray}` });
  return questions.map((question) => {
    const references = answers.get(question.id);
    const { references: replaced, ...rest } = question;
    if (references === undefined) return rest;
    if (references.length <= question.turns.length) return { ...rest, references };
    const expected = `at most ${String(question.turns.length)} answers to question ${question.id}`;
    throw problemError("DATASET_INVALID", { subject: path, expected, received: String(references.length) });
  });
}
