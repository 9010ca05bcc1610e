/**
 * MMLU's files (Hendrycks et al. 2021): a CSV file for each subject and split. Both published forms are read: without a line of names
 * and with letters A to D as answers, and with a line of names and answers 0 to 3. They may lie in folders `dev` and `test` or be
 * named `<subject>_dev.csv`, in a folder or in a tar or zip archive, with anything around them.
 */
import { copyFile, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { unpackArchive } from "../../data/catalogue/archive.js";
import type { ArchiveEntry } from "../../data/catalogue/archive.js";
import { newStoredFile, readTextBytes } from "../../data/stored-bytes.js";
import { readCsvRecords } from "../../data/import/csv-records.js";
import { problemError } from "../../errors.js";
import { recordError } from "./question-records.js";
import { unpackTar } from "./tar.js";

export const LETTERS = ["A", "B", "C", "D"] as const;

/** One question with four options. */
export interface ChoiceQuestion {
  readonly question: string;
  readonly choices: readonly [string, string, string, string];
  /** Position of the right option, from 0. */
  readonly answer: number;
}

/** A subject: questions to learn the form from, and those that are asked. */
export interface ChoiceSubject {
  /** As in the files' names, for example `high_school_physics`. */
  readonly name: string;
  readonly dev: readonly ChoiceQuestion[];
  readonly test: readonly ChoiceQuestion[];
}

const MAX_FOLDER_DEPTH = 4;
const COLUMNS = ["question", "A", "B", "C", "D", "answer"];

/** All subjects of a folder or an archive, by name. Throws DATASET_INVALID with file and line of a mistake, or where a subject has one split only; IO_FAILED. */
export async function readChoiceSubjects(path: string): Promise<readonly ChoiceSubject[]> {
  if (!isArchive(path)) return readFolder(path, await listFiles(path, MAX_FOLDER_DEPTH), path);
  const folder = await mkdtemp(join(tmpdir(), "fedllm-questions-"));
  try {
    await unpackChoiceFiles(path, folder);
    return await readFolder(folder, await listFiles(folder, 1), path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** True for names of tar and zip archives. */
export function isArchive(path: string): boolean {
  return /\.(zip|tar|tar\.gz)$/i.test(path);
}

/** Copies the subjects' files of a folder as `dev/<subject>_dev.csv` and `test/<subject>_test.csv`, and nothing else. Throws IO_FAILED. */
export async function copyChoiceFiles(from: string, folder: string): Promise<void> {
  for (const file of await listFiles(from, MAX_FOLDER_DEPTH)) {
    const name = nameFor(file);
    if (name === undefined) continue;
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await copyFile(join(from, file), join(folder, name));
  }
}

/** Unpacks the same files of an archive. Throws DATASET_INVALID, IO_FAILED. */
export async function unpackChoiceFiles(path: string, folder: string): Promise<void> {
  if (!/\.zip$/i.test(path)) {
    await unpackTar(path, folder, nameFor);
    return;
  }
  const choose = (entries: readonly ArchiveEntry[]) => {
    const named = entries.map((entry) => [entry.path, nameFor(entry.path)] as const);
    return new Map(named.filter((pair): pair is readonly [string, string] => pair[1] !== undefined));
  };
  await unpackArchive(path, folder, choose);
}

/** The name that a subject's file is kept under; undefined for other files. */
function nameFor(path: string): string | undefined {
  const found = splitOf(path);
  return found === undefined ? undefined : `${found.split}/${found.subject}_${found.split}.csv`;
}

/** What a file is by its path; undefined for other files. */
function splitOf(path: string): { readonly subject: string; readonly split: "dev" | "test" } | undefined {
  const parts = path.split("/");
  const name = parts.at(-1) ?? "";
  if (name.startsWith(".") || !/\.csv$/i.test(name)) return undefined;
  const stem = name.slice(0, -4);
  const named = /^(.+)_(dev|test)$/.exec(stem);
  if (named !== null) return { subject: named[1] ?? "", split: named[2] as "dev" | "test" };
  const folder = parts.at(-2);
  // A folder's name may say it, but not for files that say of themselves that they are something else.
  return (folder === "dev" || folder === "test") && !/_(val|train)$/.test(stem) ? { subject: stem, split: folder } : undefined;
}

async function readFolder(folder: string, files: readonly string[], source: string): Promise<readonly ChoiceSubject[]> {
  const subjects = new Map<string, { dev?: string; test?: string }>();
  for (const file of files) {
    const found = splitOf(file);
    if (found === undefined) continue;
    const subject = subjects.get(found.subject) ?? {};
    const other = subject[found.split];
    if (other !== undefined) throw problemError("DATASET_INVALID", { subject: source, expected: `one ${found.split} file of ${found.subject}`, received: `${other} and ${file}` });
    subjects.set(found.subject, { ...subject, [found.split]: file });
  }
  if (subjects.size === 0) {
    throw problemError("DATASET_INVALID", { subject: source, expected: "files like dev/anatomy_dev.csv and test/anatomy_test.csv", received: `${String(files.length)} other files` });
  }
  const names = [...subjects.keys()].sort();
  return Promise.all(
    names.map(async (name) => {
      const { dev, test } = subjects.get(name) ?? {};
      if (dev === undefined || test === undefined) {
        throw problemError("DATASET_INVALID", { subject: source, expected: `a dev and a test file of ${name}`, received: `${dev === undefined ? "test" : "dev"} alone` });
      }
      return { name, dev: await readChoiceFile(join(folder, dev), nameIn(source, dev)), test: await readChoiceFile(join(folder, test), nameIn(source, test)) };
    }),
  );
}

function nameIn(source: string, file: string): string {
  return isArchive(source) ? `${basename(source)}: ${file}` : join(source, file);
}

/** The questions of one file, in either form. `name` is for messages. Throws DATASET_INVALID with the line, IO_FAILED. */
export async function readChoiceFile(path: string, name = path): Promise<readonly ChoiceQuestion[]> {
  const questions: ChoiceQuestion[] = [];
  let form: "letters" | "numbers" | undefined;
  let hasNames = false;
  for await (const batch of readCsvRecords(readTextBytes(path, newStoredFile()), name, { delimiter: ",", columns: COLUMNS })) {
    for (const { value, position } of batch) {
      const record = { path: name, line: position, fields: value as Readonly<Record<string, string>> };
      const answer = record.fields["answer"] ?? "";
      if (questions.length === 0 && !hasNames && /^answer$/i.test(answer.trim())) {
        hasNames = true;
        continue;
      }
      const question = toQuestion(record);
      const found = /^\d$/.test(answer.trim()) ? "numbers" : "letters";
      if (form !== undefined && found !== form) throw recordError(record, "answer", form === "letters" ? "a letter as before" : "a number as before", answer);
      form = found;
      questions.push(question);
    }
  }
  if (questions.length === 0) throw problemError("DATASET_INVALID", { subject: name, expected: "at least one question", received: "none" });
  return questions;
}

function toQuestion(record: { readonly path: string; readonly line: number; readonly fields: Readonly<Record<string, string>> }): ChoiceQuestion {
  const [question = "", a = "", b = "", c = "", d = "", answer = ""] = COLUMNS.map((column) => record.fields[column]);
  if (question.trim() === "") throw recordError(record, "question", "a text", question);
  const trimmed = answer.trim();
  const position = /^[0-3]$/.test(trimmed) ? Number(trimmed) : (LETTERS as readonly string[]).indexOf(trimmed);
  if (position < 0) throw recordError(record, "answer", "a letter from A to D, or a number from 0 to 3", answer);
  return { question, choices: [a, b, c, d], answer: position };
}

async function listFiles(folder: string, depth: number): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("IO_FAILED", { subject: folder, expected: "a folder with the folders dev and test, or an archive of them", received }, error);
  });
  const lists = entries.map(async (entry) => {
    if (entry.isDirectory()) return depth === 0 ? [] : (await listFiles(join(folder, entry.name), depth - 1)).map((path) => `${entry.name}/${path}`);
    return entry.isFile() ? [entry.name] : [];
  });
  return (await Promise.all(lists)).flat().sort();
}
