/** Harmful requests: AdvBench's CSV (columns goal and target, of which goal is used), or own records with a goal. */
import { newStoredFile, readTextBytes } from "../../data/stored-bytes.js";
import { readCsvRecords } from "../../data/import/csv-records.js";
import { isRecord } from "../../data/sample-fields.js";
import { problemError } from "../../errors.js";
import { optionalTextField, readQuestionRecords, textField } from "./question-records.js";
import type { QuestionRecord } from "./question-records.js";

export interface HarmfulGoal {
  /** Position in the file, from 0. */
  readonly id: string;
  readonly category?: string;
  readonly goal: string;
}

/** The goals of a CSV, JSON Lines or JSON file, in its order. Throws DATASET_INVALID with the line of a mistake, IO_FAILED. */
export async function readHarmfulGoals(path: string): Promise<readonly HarmfulGoal[]> {
  const records = /\.csv(\.gz)?$/i.test(path) ? await readCsv(path) : await readQuestionRecords(path);
  return records.map((record, index) => {
    const category = optionalTextField(record, "category") ?? record.key;
    return { id: String(index), ...(category === undefined ? {} : { category }), goal: textField(record, "goal") };
  });
}

async function readCsv(path: string): Promise<readonly QuestionRecord[]> {
  const records: QuestionRecord[] = [];
  for await (const batch of readCsvRecords(readTextBytes(path, newStoredFile()), path, { delimiter: "," })) {
    for (const { value, position } of batch) if (isRecord(value)) records.push({ path, line: position, fields: value });
  }
  if (records.length === 0) throw problemError("DATASET_INVALID", { subject: path, expected: "a line of column names with goal, and at least one goal", received: "none" });
  return records;
}
