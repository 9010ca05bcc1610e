/**
 * Records of question files: JSON Lines, or a JSON document that is an array or an object of arrays (of which each key is a category);
 * also gzipped. Every record knows its line, and what is wrong with it is said with file, line, expected and received.
 */
import { createHash } from "node:crypto";
import { MAX_SAMPLE_BYTES, MAX_SAMPLE_DEPTH, formOf } from "../../data/dataset.js";
import { sliceJson } from "../../data/json-slices.js";
import { describeType, isRecord } from "../../data/sample-fields.js";
import type { JsonRecord } from "../../data/sample-fields.js";
import { newStoredFile, readTextBytes, requireUtf8 } from "../../data/stored-bytes.js";
import { problemError } from "../../errors.js";
import type { FedllmError } from "../../errors.js";

/** Question sets are small; the largest known has 2 MB of text. */
const MAX_FILE_BYTES = 256 * 2 ** 20;
const LONE_SURROGATE = /\p{Surrogate}/u;
const NEWLINE = 0x0a;
const SHOWN_CHARACTERS_MAX = 80;

/** One record of a question file. */
export interface QuestionRecord {
  readonly path: string;
  /** From 1: where the record begins. */
  readonly line: number;
  /** The key of the outer object that it stands under. */
  readonly key?: string;
  readonly fields: JsonRecord;
}

/** All records in file order. Throws DATASET_INVALID for anything that is no record and for a file without any, IO_FAILED. */
export async function readQuestionRecords(path: string): Promise<readonly QuestionRecord[]> {
  const text = await readText(path);
  const records = formOf(path) === "lines" ? readLines(text, path) : await readDocument(text, path);
  if (records.length === 0) throw problemError("DATASET_INVALID", { subject: path, expected: "at least one question", received: "none" });
  return records;
}

/** The file's text, unpacked. Throws DATASET_INVALID for text that is not UTF-8 or too long, IO_FAILED. */
export async function readText(path: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  const bytes = readTextBytes(path, newStoredFile(), { maxBytes: MAX_FILE_BYTES, maxRatio: 200 });
  for await (const piece of requireUtf8(limitBytes(bytes, path), path)) pieces.push(piece);
  const text = Buffer.concat(pieces);
  return text.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf])) ? text.subarray(3) : text;
}

async function* limitBytes(pieces: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  let numBytes = 0;
  for await (const piece of pieces) {
    numBytes += piece.length;
    if (numBytes > MAX_FILE_BYTES) throw problemError("DATASET_INVALID", { subject: path, expected: `at most ${String(MAX_FILE_BYTES)} bytes of questions`, received: "more" });
    yield piece;
  }
}

function readLines(text: Buffer, path: string): QuestionRecord[] {
  return text
    .toString("utf8")
    .split("\n")
    .flatMap((content, index) => {
      if (content.trim() === "") return [];
      const line = index + 1;
      return [toRecord(parseLine(content, path, line), path, line)];
    });
}

function parseLine(content: string, path: string, line: number): unknown {
  try {
    return JSON.parse(content);
  } catch (error) {
    throw problemError("DATASET_INVALID", { subject: `${path}, line ${String(line)}`, expected: "one JSON object", received: shown(content) }, error);
  }
}

async function readDocument(text: Buffer, path: string): Promise<QuestionRecord[]> {
  const found: { readonly value: unknown; readonly offset: number; readonly key?: string }[] = [];
  let key: string | undefined;
  await sliceJson([text], "document", {
    path,
    limits: { maxSliceBytes: MAX_SAMPLE_BYTES, maxDepth: MAX_SAMPLE_DEPTH },
    handler: {
      onKey: (name) => {
        key = name;
      },
      onElement: (value, offset) => found.push({ value, offset, ...(key === undefined ? {} : { key }) }),
      onStrayValue: (value, offset) => {
        throw problemError("DATASET_INVALID", { subject: `${path}, line ${String(lineAt(text, 0, offset) + 1)}`, expected: "an array of questions", received: describeType(value) });
      },
    },
  });
  let line = 1;
  let last = 0;
  return found.map(({ value, offset, key: category }) => {
    line += lineAt(text, last, offset);
    last = offset;
    return toRecord(value, path, line, category);
  });
}

/** Line ends in a part of the text. */
function lineAt(text: Buffer, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf(NEWLINE, from); at >= 0 && at < to; at = text.indexOf(NEWLINE, at + 1)) count++;
  return count;
}

function toRecord(value: unknown, path: string, line: number, key?: string): QuestionRecord {
  if (isRecord(value)) return { path, line, fields: value, ...(key === undefined ? {} : { key }) };
  throw problemError("DATASET_INVALID", { subject: `${path}, line ${String(line)}`, expected: "an object", received: describeType(value) });
}

/** What is wrong with a field of a record. */
export function recordError({ path, line }: Pick<QuestionRecord, "path" | "line">, field: string, expected: string, value: unknown): FedllmError {
  const received = typeof value === "string" || typeof value === "number" ? shown(JSON.stringify(value)) : describeType(value);
  return problemError("DATASET_INVALID", { subject: `${path}, line ${String(line)}, ${field}`, expected, received });
}

/** A text with something in it. Throws DATASET_INVALID. */
export function textField(record: QuestionRecord, field: string): string {
  const value = Object.hasOwn(record.fields, field) ? record.fields[field] : undefined;
  return checkText(record, field, value);
}

/** The same of any value. Throws DATASET_INVALID. */
export function checkText(record: QuestionRecord, field: string, value: unknown): string {
  if (typeof value !== "string" || value.trim() === "") throw recordError(record, field, "a text", value);
  if (LONE_SURROGATE.test(value)) throw recordError(record, field, "text of whole characters", value);
  return value;
}

/** The text of a field that may be left out; undefined then. Throws DATASET_INVALID. */
export function optionalTextField(record: QuestionRecord, field: string): string | undefined {
  return Object.hasOwn(record.fields, field) ? textField(record, field) : undefined;
}

/** SHA-256 of questions as JSON, in hexadecimal digits: the same for everybody who has the same questions in the same order. */
export function hashQuestions(questions: unknown): string {
  return createHash("sha256").update(JSON.stringify(questions)).digest("hex");
}

function shown(text: string): string {
  return text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text;
}
