/**
 * Reads records out of files of any form: JSON (an array, or an object of users), JSON Lines, CSV and TSV, Parquet and scripts of
 * plays; text forms also gzipped. Records come in batches, in file order, so that memory is bounded by a batch.
 * What a record means is forms.ts.
 */
import { problemError } from "../../errors.js";
import { MAX_SAMPLE_BYTES, MAX_SAMPLE_DEPTH, formOf } from "../dataset.js";
import { sliceJsonByPiece } from "../json-slices.js";
import { describeType } from "../sample-fields.js";
import { DEFAULT_EXPANSION, readTextBytes } from "../stored-bytes.js";
import type { ExpansionLimits, StoredFile } from "../stored-bytes.js";
import { readCsvRecords } from "./csv-records.js";
import { readParquetRecords } from "./parquet-records.js";
import { readScriptRecords } from "./script-records.js";

/** One value of a file. */
export interface SourceRecord {
  readonly value: unknown;
  /** The key of the outer object that it stands under; absent in files without such keys. */
  readonly user?: string;
  /** Where it is, in the unit of its file (`describePosition`). */
  readonly position: number;
}

/** What was found wrong between records. */
export interface RecordProblem {
  readonly user?: string;
  readonly position: number;
  readonly reason: string;
}

export interface ReadRecordsOptions {
  /** Keeps the hash and the number of the bytes read. */
  readonly file: StoredFile;
  /** Told about oddities that lose nothing but should be known. */
  readonly report: (problem: RecordProblem) => void;
  /** Names of the fields that are needed; other columns of a Parquet file are not read. Absent: all. */
  readonly fields?: ReadonlySet<string>;
  /** Names of a CSV file's columns when its first line does not have them. */
  readonly columns?: readonly string[];
  /** Most bytes of one record; default MAX_SAMPLE_BYTES. */
  readonly maxRecordBytes?: number;
  readonly expansion?: ExpansionLimits;
}

/** The forms of files by the ends of their names. */
export type FileForm = "json" | "lines" | "csv" | "tsv" | "parquet" | "script";

const FILE_FORMS: readonly (readonly [RegExp, FileForm])[] = [
  [/\.json(\.gz)?$/i, "json"],
  [/\.(jsonl|ndjson)(\.gz)?$/i, "lines"],
  [/\.csv(\.gz)?$/i, "csv"],
  [/\.tsv(\.gz)?$/i, "tsv"],
  [/\.parquet$/i, "parquet"],
  [/\.txt(\.gz)?$/i, "script"],
];

/** The form that a file has by its name. Throws CONFIG_INVALID for other names. */
export function fileFormOf(path: string): FileForm {
  const form = FILE_FORMS.find(([pattern]) => pattern.test(path))?.[1];
  if (form !== undefined) return form;
  throw problemError("CONFIG_INVALID", {
    subject: path,
    expected: "a name that ends with .json, .jsonl, .csv, .tsv or .txt (each also with .gz) or .parquet",
    received: "another one",
    ...(/\.zip$/i.test(path) ? { remedy: "Unpack the archive and name the file inside" } : {}),
  });
}

/** Where a record stands: bytes for JSON, lines for CSV and scripts (from 1), rows for Parquet (from 0). */
export function describePosition(path: string, position: number): string {
  const units: Readonly<Record<FileForm, string>> = { json: "byte", lines: "byte", csv: "line", tsv: "line", script: "line", parquet: "row" };
  return `${units[fileFormOf(path)]} ${String(position)}`;
}

/** The records of one file in batches. Throws DATASET_INVALID for damaged files, IO_FAILED, CONFIG_INVALID for unknown names. */
export function readRecords(path: string, options: ReadRecordsOptions): AsyncGenerator<readonly SourceRecord[]> {
  const form = fileFormOf(path);
  if (form === "parquet") return readParquetRecords(path, options);
  const bytes = readTextBytes(path, options.file, options.expansion ?? DEFAULT_EXPANSION);
  if (form === "script") return readScriptRecords(bytes, path);
  if (form === "csv" || form === "tsv") return readCsvRecords(bytes, path, { ...options, delimiter: form === "csv" ? "," : "\t" });
  return readJsonRecords(bytes, path, options);
}

async function* readJsonRecords(
  bytes: AsyncIterable<Uint8Array>,
  path: string,
  { report, maxRecordBytes }: ReadRecordsOptions,
): AsyncGenerator<readonly SourceRecord[]> {
  let batch: SourceRecord[] = [];
  let user: string | undefined;
  let numOfUser = 0;
  const seen = new Set<string>();
  const noteEmptyUser = (position: number) => {
    if (user !== undefined && numOfUser === 0) report({ user, position, reason: "the user has no samples and is left out" });
  };
  const handler = {
    onKey: (key: string, position: number) => {
      noteEmptyUser(position);
      if (seen.has(key)) report({ user: key, position, reason: "the user appears again; the samples are added to the earlier ones" });
      seen.add(key);
      user = key;
      numOfUser = 0;
    },
    onElement: (value: unknown, position: number) => {
      numOfUser++;
      batch.push(user === undefined ? { value, position } : { value, user, position });
    },
    onStrayValue: (value: unknown, position: number) => {
      numOfUser++;
      report({ ...(user === undefined ? {} : { user }), position, reason: `expected an array of samples, received ${describeType(value)}` });
    },
  };
  const limits = { maxSliceBytes: maxRecordBytes ?? MAX_SAMPLE_BYTES, maxDepth: MAX_SAMPLE_DEPTH };
  const steps = sliceJsonByPiece(bytes, formOf(path), { path, limits, handler });
  try {
    while ((await steps.next()).done !== true) {
      if (batch.length === 0) continue;
      yield batch;
      batch = [];
    }
  } finally {
    // Closes the file when the reader of the batches stops early.
    await steps.return(undefined);
  }
  noteEmptyUser(0);
  if (batch.length > 0) yield batch;
}
