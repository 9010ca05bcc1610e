/**
 * Samples out of files of any form, one batch at a time: read a record, give its fields the names of its form, check it, find its
 * user. What cannot be used is left out, counted and described. All samples of an import are of one kind.
 */
import { basename } from "node:path";
import { problemError } from "../../errors.js";
import { DEFAULT_USER_FIELD, MAX_KEPT_PROBLEMS, describeUserIdProblem } from "../dataset.js";
import { describeType, isRecord } from "../sample-fields.js";
import type { JsonRecord } from "../sample-fields.js";
import type { Sample, SampleKind } from "../samples.js";
import { newStoredFile } from "../stored-bytes.js";
import type { ExpansionLimits } from "../stored-bytes.js";
import { mapFields, valueAt } from "./field-map.js";
import type { FieldMap } from "./field-map.js";
import { FORM_FIELDS, FORM_NAMES, detectForm, readForm } from "./forms.js";
import type { FormName } from "./forms.js";
import { describePosition, readRecords } from "./records.js";
import type { SourceRecord } from "./records.js";

/** How records are read. */
export interface SampleStreamOptions {
  readonly files: readonly string[];
  /** Absent: what each record's fields say. */
  readonly form?: FormName;
  /** Empty: the fields have the names of their form. */
  readonly map: FieldMap;
  /**
   * The field that names the user, dots lead into fields; every record must have it. Absent: the keys of the outer object, or the
   * field `user` if a file's first record has one, or the file's name.
   */
  readonly userKey?: string;
  /** Further fields that the samples keep, for example their language. */
  readonly keep: readonly string[];
  /** Names of the columns of CSV files without a line of names. */
  readonly columns?: readonly string[];
  readonly maxRecordBytes?: number;
  readonly expansion?: ExpansionLimits;
  /** Makes another record of each, from these columns; undefined leaves it out without a word (it is counted). */
  readonly transform?: { readonly columns: readonly string[]; readonly apply: (record: JsonRecord) => JsonRecord | undefined };
  /** Told after each batch how many stored bytes have been read. */
  readonly onProgress?: (numBytes: number) => void;
}

export interface StreamedSample {
  readonly user: string;
  readonly sample: Sample;
  /** The kept fields. */
  readonly extra: JsonRecord;
}

/** Something that was left out or looks wrong, and why. */
export interface ImportProblem {
  readonly file: string;
  /** For example "line 12"; absent if it is the whole file. */
  readonly place?: string;
  readonly user?: string;
  readonly reason: string;
}

/** What has been read so far; whole when the stream has ended. */
export interface SampleTally {
  kind?: SampleKind;
  /** Of the first good sample. */
  form?: FormName;
  numRecords: number;
  /** Records that the transform left out. */
  numSkipped: number;
  numSamples: number;
  numProblems: number;
  /** The first MAX_KEPT_PROBLEMS ones. */
  readonly problems: ImportProblem[];
  readonly sources: { readonly path: string; readonly sha256: string; readonly numBytes: number }[];
}

export function newTally(): SampleTally {
  return { numRecords: 0, numSkipped: 0, numSamples: 0, numProblems: 0, problems: [], sources: [] };
}

/** One line for a problem. */
export function describeImportProblem({ file, place, user, reason }: ImportProblem): string {
  return [basename(file), ...(place === undefined ? [] : [place]), ...(user === undefined ? [] : [`user ${JSON.stringify(user)}`])].join(", ") + `: ${reason}`;
}

/**
 * The samples of all files in order. Throws DATASET_INVALID for damaged files, mixed kinds of samples and files without a good
 * sample, CONFIG_INVALID, IO_FAILED.
 */
export async function* streamSamples(options: SampleStreamOptions, tally: SampleTally): AsyncGenerator<readonly StreamedSample[]> {
  checkKept(options.keep);
  let numBytesBefore = 0;
  for (const path of options.files) {
    const file = newStoredFile();
    const report = makeReport(path, tally);
    const reader = new RecordReader(path, options, tally);
    const batches = readRecords(path, {
      file,
      fields: neededFields(options),
      report: ({ position, user, reason }) => {
        report({ place: describePosition(path, position), ...(user === undefined ? {} : { user }), reason });
      },
      ...(options.columns === undefined ? {} : { columns: options.columns }),
      ...(options.maxRecordBytes === undefined ? {} : { maxRecordBytes: options.maxRecordBytes }),
      ...(options.expansion === undefined ? {} : { expansion: options.expansion }),
    });
    for await (const batch of batches) {
      yield batch.flatMap((record) => reader.read(record));
      options.onProgress?.(numBytesBefore + file.numBytes);
    }
    tally.sources.push({ path, sha256: file.hash.digest("hex"), numBytes: file.numBytes });
    numBytesBefore += file.numBytes;
  }
  if (tally.numSamples === 0) throw noSamples(options.files, tally);
}

/** What is kept must not stand in the way of the sample itself. */
function checkKept(keep: readonly string[]): void {
  const taken = keep.find((field) => FORM_FIELDS.has(field) || field === DEFAULT_USER_FIELD || field === "");
  if (taken === undefined) return;
  throw problemError("CONFIG_INVALID", { subject: "--keep", expected: "fields beside those that make the sample", received: JSON.stringify(taken) });
}

/** Names of the columns that are needed of files that can leave others unread. */
function neededFields({ map, userKey, keep, transform }: SampleStreamOptions): ReadonlySet<string> {
  if (transform !== undefined) return new Set(transform.columns);
  const paths = [...map.values(), ...[...keep, userKey ?? DEFAULT_USER_FIELD].map((name) => name.split("."))];
  const named = paths.flatMap((path) => [path[0] ?? "", path.join(".")]);
  return new Set([...named, ...(map.size === 0 ? FORM_FIELDS : [])]);
}

type Report = (problem: Omit<ImportProblem, "file">) => void;

function makeReport(file: string, tally: SampleTally): Report {
  return (problem) => {
    tally.numProblems++;
    if (tally.problems.length < MAX_KEPT_PROBLEMS) tally.problems.push({ file, ...problem });
  };
}

/** Turns the records of one file into samples. */
class RecordReader {
  readonly #path: string;
  readonly #options: SampleStreamOptions;
  readonly #tally: SampleTally;
  readonly #report: Report;
  readonly #userPath: readonly string[];
  /** Whether records name users; known from the first one. */
  #namesUsers: boolean | undefined;

  constructor(path: string, options: SampleStreamOptions, tally: SampleTally) {
    this.#path = path;
    this.#options = options;
    this.#tally = tally;
    this.#report = makeReport(path, tally);
    this.#userPath = (options.userKey ?? DEFAULT_USER_FIELD).split(".");
    if (options.userKey !== undefined) this.#namesUsers = true;
  }

  /** The sample of a record, or nothing. */
  read(source: SourceRecord): StreamedSample[] {
    this.#tally.numRecords++;
    const record = this.#transform(source);
    if (record === undefined) return [];
    const place = () => describePosition(this.#path, record.position);
    const user = this.#userOf(record);
    if (typeof user !== "string") {
      this.#report({ place: place(), reason: user.reason });
      return [];
    }
    const value = mapFields(record.value, this.#options.map);
    const form = this.#options.form ?? detectForm(value);
    const check = form === undefined ? { reason: unknownForm(value) } : readForm(value, form);
    if ("reason" in check) {
      this.#report({ place: place(), user, reason: check.reason });
      return [];
    }
    const { sample } = check;
    this.#checkKind(sample.kind, place());
    if (form !== undefined) this.#tally.form ??= form;
    this.#tally.numSamples++;
    return [{ user, sample, extra: this.#keptFields(record.value) }];
  }

  #transform(source: SourceRecord): SourceRecord | undefined {
    const { transform } = this.#options;
    if (transform === undefined || !isRecord(source.value)) return source;
    const value = transform.apply(source.value);
    if (value === undefined) this.#tally.numSkipped++;
    return value === undefined ? undefined : { ...source, value };
  }

  #userOf({ value, user }: SourceRecord): string | { readonly reason: string } {
    if (user !== undefined && this.#options.userKey === undefined) return asUserId(user, "user");
    const named = isRecord(value) ? valueAt(value, this.#userPath) : undefined;
    this.#namesUsers ??= named !== undefined;
    if (!this.#namesUsers) return clientOfFile(this.#path);
    const field = this.#userPath.join(".");
    if (typeof named === "string" || (typeof named === "number" && Number.isSafeInteger(named))) return asUserId(String(named), field);
    return { reason: `${field}: expected a user id (a string or an integer), received ${describeType(named)}` };
  }

  #keptFields(value: unknown): JsonRecord {
    if (this.#options.keep.length === 0 || !isRecord(value)) return {};
    const entries = this.#options.keep.map((field) => [field, valueAt(value, field.split("."))] as const);
    return Object.fromEntries(entries.filter(([, kept]) => ["string", "number", "boolean"].includes(typeof kept)));
  }

  #checkKind(kind: SampleKind, place: string): void {
    this.#tally.kind ??= kind;
    if (kind === this.#tally.kind) return;
    throw problemError("DATASET_INVALID", {
      subject: `${this.#path}, ${place}`,
      expected: `a ${this.#tally.kind} sample like the first one`,
      received: `a ${kind} sample`,
      remedy: "Import each kind of sample on its own",
    });
  }
}

function asUserId(id: string, field: string): string | { readonly reason: string } {
  const reason = describeUserIdProblem(id);
  return reason === undefined ? id : { reason: `${field}: ${reason}` };
}

/** The file's name without its ending. */
function clientOfFile(path: string): string {
  const name = basename(path).replace(/\.gz$/i, "").replace(/\.[^.]+$/, "");
  return name === "" ? basename(path) : name;
}

function unknownForm(value: unknown): string {
  const received = isRecord(value) ? `the fields ${Object.keys(value).slice(0, 8).join(", ").slice(0, 200)}` : describeType(value);
  return `expected the fields of one of the forms ${FORM_NAMES.join(", ")}, received ${received}`;
}

function noSamples(files: readonly string[], { numProblems, problems: [first] }: SampleTally): Error {
  return problemError("DATASET_INVALID", {
    subject: files.join(", "),
    expected: "at least one good sample",
    received: first === undefined ? "none" : `none, and ${String(numProblems)} problems; the first is ${describeImportProblem(first)}`,
    remedy: "Name the fields with --map, for example --map instruction=question --map response=answer",
  });
}
