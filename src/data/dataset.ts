/**
 * Reads files of client data: `{user id: [samples]}` in file order, a plain array (one client), or JSON Lines with a
 * user field; plain or gzipped. Files are streamed, so memory is bounded by the samples that are kept. A bad sample is
 * reported and left out; a file that is not JSON, mixes kinds of samples or holds no good sample is refused.
 * Cutting the text into samples is json-slices.ts, checking one sample is samples.ts, splitting is federated-dataset.ts.
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { problemError } from "../errors.js";
import type { FedllmError } from "../errors.js";
import { sliceJson } from "./json-slices.js";
import type { OuterForm, SliceHandler } from "./json-slices.js";
import { preferenceKey } from "./preference-samples.js";
import { describeType, isRecord } from "./sample-fields.js";
import { checkSample, detectSampleKind } from "./samples.js";
import type { Sample, SampleKind } from "./samples.js";
import { newStoredFile, readTextBytes } from "./stored-bytes.js";

/** Most bytes of one sample unless the caller says otherwise; the longest real conversations stay far below. */
export const MAX_SAMPLE_BYTES = 16 * 1024 * 1024;
/** Deepest nesting inside a sample; real ones need 3. */
export const MAX_SAMPLE_DEPTH = 64;
/** Most users in one file; keeps a hostile file from filling the memory with names. */
export const MAX_CLIENTS = 1_000_000;
/** Longest user id in UTF-16 units. */
export const MAX_USER_ID_LENGTH = 1024;
/** Problems kept with their reasons; further ones are only counted. */
export const MAX_KEPT_PROBLEMS = 1000;
/** The field of JSON Lines records that names the user, if the first record has it. */
export const DEFAULT_USER_FIELD = "user";

/** Where a sample stands in its file. */
export interface SamplePlace {
  readonly user: string;
  /** Position among all samples of this user in file order, good and bad, from 0. */
  readonly index: number;
  /** First byte of the sample in the text after decompression. */
  readonly byteOffset: number;
}

/** Something in the file that was left out or looks wrong, and why. */
export interface SampleProblem {
  /** Absent if the record names no user. */
  readonly user?: string;
  /** Position among the user's samples, from 0; absent if the problem is not one sample's. */
  readonly index?: number;
  readonly byteOffset: number;
  readonly reason: string;
}

/** One user's samples in file order. May be empty if all of them were bad. */
export interface ClientSamples {
  /** As written in the file: it can hold any characters and must not be used as a file name. */
  readonly id: string;
  readonly samples: readonly Sample[];
  /** Most frequent text in the attribute field of the good samples, of equals the one seen first; only when the field was asked for. */
  readonly attribute?: string;
}

export interface FederatedDataset {
  readonly path: string;
  /** All samples of a file are of one kind. */
  readonly kind: SampleKind;
  /** In the order in which the users first appear. */
  readonly clients: readonly ClientSamples[];
  /** The first MAX_KEPT_PROBLEMS problems. */
  readonly problems: readonly SampleProblem[];
  /** All problems, kept or not. */
  readonly numProblems: number;
  /** Of the file as stored, in hexadecimal digits. */
  readonly sha256: string;
  /** Good samples in the file, also those that onSample refused. */
  readonly numSamples: number;
}

export interface ReadDatasetOptions {
  /**
   * The field that names the user of each record in JSON Lines and plain arrays; every record must have it.
   * Absent: plain arrays are one client named after the file, and so are JSON Lines without a `user` field.
   */
  readonly userField?: string;
  /** A field of the samples by which clients are told apart, for example their language; absent: none. */
  readonly attributeField?: string;
  /** Default MAX_SAMPLE_BYTES. */
  readonly maxSampleBytes?: number;
  /** Sees each good sample; returns whether to keep it in memory. Absent: all are kept. */
  readonly onSample?: (sample: Sample, place: SamplePlace) => boolean;
}

/**
 * Reads one file. The name decides the form: `.jsonl` and `.ndjson` are JSON Lines, all others one JSON document;
 * a further `.gz` means gzip. Rejects with IO_FAILED or DATASET_INVALID (with the byte position).
 */
export async function readFederatedDataset(path: string, options: ReadDatasetOptions = {}): Promise<FederatedDataset> {
  const file = newStoredFile();
  const contents = await parseDatasetText(readTextBytes(path, file), path, options);
  return { ...contents, sha256: file.hash.digest("hex") };
}

/**
 * The same for text that arrives in pieces from elsewhere; the pieces may be cut anywhere, also inside a character.
 * The path names the form as in {@link readFederatedDataset}, the client of a plain array, and the file in messages.
 */
export async function parseDatasetText(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  path: string,
  options: ReadDatasetOptions = {},
): Promise<Omit<FederatedDataset, "sha256">> {
  const form = formOf(path);
  const collector = new SampleCollector(path, form, options);
  const limits = { maxSliceBytes: options.maxSampleBytes ?? MAX_SAMPLE_BYTES, maxDepth: MAX_SAMPLE_DEPTH };
  await sliceJson(pieces, form, { path, limits, handler: collector });
  return collector.finish();
}

interface CollectedClient {
  readonly id: string;
  readonly samples: Sample[];
  numSeen: number;
  /** How many good samples have each text in the attribute field. */
  readonly attributes: Map<string, number>;
  /** Position of each pair of answers seen so far, by the hash of its texts. */
  readonly pairs: Map<string, number>;
}

/** Sorts parsed values into clients, or into problems. */
class SampleCollector implements SliceHandler {
  private readonly path: string;
  private readonly options: ReadDatasetOptions;
  private readonly clients = new Map<string, CollectedClient>();
  private readonly problems: SampleProblem[] = [];
  private numProblems = 0;
  private numSamples = 0;
  private kind: SampleKind | undefined;
  private hasKeys = false;
  /** The client of the current key; undefined if its id is refused. */
  private keyClient: CollectedClient | undefined;
  /** The field that names the user; undefined if records name none. */
  private userField: string | undefined;
  /** False until the first record of JSON Lines has shown whether records name users. */
  private isUserFieldKnown: boolean;

  constructor(path: string, form: OuterForm, options: ReadDatasetOptions) {
    this.path = path;
    this.options = options;
    this.userField = options.userField;
    this.isUserFieldKnown = options.userField !== undefined || form !== "lines";
  }

  onKey(key: string, byteOffset: number): void {
    this.hasKeys = true;
    const isKnown = this.clients.has(key);
    const client = this.clientOf(key, byteOffset);
    if (isKnown)
      this.report({
        user: key,
        byteOffset,
        reason: "the user id appears again; the samples are appended to the earlier ones",
      });
    this.keyClient = client;
  }

  onStrayValue(value: unknown, byteOffset: number): void {
    const user = this.keyClient?.id;
    const reason = `expected an array of samples, received ${describeType(value)}`;
    this.report({ ...(user === undefined ? {} : { user }), byteOffset, reason });
  }

  onElement(value: unknown, byteOffset: number): void {
    const client = this.hasKeys ? this.keyClient : this.clientOfRecord(value, byteOffset);
    if (client === undefined) return;
    const place = { user: client.id, index: client.numSeen++, byteOffset };
    const kind = detectSampleKind(value);
    if (kind === undefined) {
      const expected = "expected instruction and response, conversations, or prompt, chosen and rejected";
      this.report({
        ...place,
        reason: `${expected}, received ${isRecord(value) ? describeFields(value) : describeType(value)}`,
      });
      return;
    }
    this.kind ??= kind;
    if (kind !== this.kind) throw this.mixedKinds(kind, this.kind, place);
    const check = checkSample(value, kind);
    if ("reason" in check) {
      this.report({ ...place, reason: check.reason });
      return;
    }
    const earlier = this.earlierPair(check.sample, client, place.index);
    if (earlier !== undefined) {
      this.report({ ...place, reason: `the same pair as sample ${earlier} of this user, which counts once` });
      return;
    }
    this.numSamples++;
    this.countAttribute(value, client);
    if (this.options.onSample?.(check.sample, place) ?? true) client.samples.push(check.sample);
  }

  finish(): Omit<FederatedDataset, "sha256"> {
    if (this.kind === undefined || this.numSamples === 0) throw this.noSamples();
    const clients = [...this.clients.values()].map(({ id, samples, attributes }) => {
      const attribute = mostFrequent(attributes);
      return attribute === undefined ? { id, samples } : { id, samples, attribute };
    });
    const { path, kind, problems, numProblems, numSamples } = this;
    return { path, kind, clients, problems, numProblems, numSamples };
  }

  private countAttribute(value: unknown, { attributes }: CollectedClient): void {
    const { attributeField: field } = this.options;
    if (field === undefined || !isRecord(value) || !Object.hasOwn(value, field)) return;
    const attribute = value[field];
    if (typeof attribute === "string") attributes.set(attribute, (attributes.get(attribute) ?? 0) + 1);
  }

  /** Position of the same pair of answers among the client's samples, if it was there before; only pairs are compared. */
  private earlierPair(sample: Sample, { pairs }: CollectedClient, index: number): number | undefined {
    if (sample.kind !== "preference") return undefined;
    const key = createHash("sha256").update(preferenceKey(sample)).digest("base64");
    const earlier = pairs.get(key);
    if (earlier === undefined) pairs.set(key, index);
    return earlier;
  }

  /** The client that a record of an array or a line belongs to; a record that names none is reported. */
  private clientOfRecord(value: unknown, byteOffset: number): CollectedClient | undefined {
    if (!this.isUserFieldKnown) {
      this.userField = isRecord(value) && Object.hasOwn(value, DEFAULT_USER_FIELD) ? DEFAULT_USER_FIELD : undefined;
      this.isUserFieldKnown = true;
    }
    const field = this.userField;
    if (field === undefined) return this.clientOf(nameOf(this.path), byteOffset);
    const user = isRecord(value) && Object.hasOwn(value, field) ? value[field] : undefined;
    if (typeof user === "string" || (typeof user === "number" && Number.isSafeInteger(user)))
      return this.clientOf(String(user), byteOffset);
    this.report({
      byteOffset,
      reason: `${field}: expected a user id (a string or an integer), received ${describeType(user)}`,
    });
    return undefined;
  }

  /** Finds or adds a client. An id that could not be stored is reported, and its samples are left out. */
  private clientOf(id: string, byteOffset: number): CollectedClient | undefined {
    const known = this.clients.get(id);
    if (known !== undefined) return known;
    const reason = describeUserIdProblem(id);
    if (reason !== undefined) {
      this.report({ byteOffset, reason });
      return undefined;
    }
    if (this.clients.size >= MAX_CLIENTS) {
      const subject = `${this.path}, byte ${byteOffset}`;
      throw problemError("DATASET_INVALID", { subject, expected: `at most ${MAX_CLIENTS} users`, received: "more" });
    }
    const client: CollectedClient = { id, samples: [], numSeen: 0, attributes: new Map(), pairs: new Map() };
    this.clients.set(id, client);
    return client;
  }

  private report(problem: SampleProblem): void {
    this.numProblems++;
    if (this.problems.length < MAX_KEPT_PROBLEMS) this.problems.push(problem);
  }

  private mixedKinds(kind: SampleKind, expected: SampleKind, place: SamplePlace): FedllmError {
    return problemError("DATASET_INVALID", {
      subject: `${this.path}, byte ${place.byteOffset}, user ${JSON.stringify(place.user)}, sample ${place.index}`,
      expected: `a ${expected} sample like the first one of the file`,
      received: `a ${kind} sample`,
      remedy: "Put each kind of sample into a file of its own",
    });
  }

  private noSamples(): FedllmError {
    const [first] = this.problems;
    return problemError("DATASET_INVALID", {
      subject: this.path,
      expected: "at least one good sample",
      received:
        first === undefined
          ? "none"
          : `none, and ${this.numProblems} problems; the first is ${describeSampleProblem(first)}`,
    });
  }
}

/** Why a text cannot be the id of a user; undefined for a good one. */
export function describeUserIdProblem(id: string): string | undefined {
  if (id.trim() !== "" && id.length <= MAX_USER_ID_LENGTH && !/\p{Surrogate}/u.test(id)) return undefined;
  return `expected a user id of 1 to ${MAX_USER_ID_LENGTH} characters, received ${id.length} units, blanks or broken text; left out`;
}

/** One line for a problem: user, position and reason. */
export function describeSampleProblem(problem: SampleProblem): string {
  const user = problem.user === undefined ? [] : [`user ${JSON.stringify(problem.user)}`];
  const index = problem.index === undefined ? [] : [`sample ${problem.index}`];
  return `${[...user, ...index, `byte ${problem.byteOffset}`].join(", ")}: ${problem.reason}`;
}

/** The value with the highest count, of equals the first. */
function mostFrequent(counts: ReadonlyMap<string, number>): string | undefined {
  let best: string | undefined;
  for (const [value, count] of counts) {
    if (best === undefined || count > (counts.get(best) ?? 0)) best = value;
  }
  return best;
}

function describeFields(record: Readonly<Record<string, unknown>>): string {
  const fields = Object.keys(record);
  const shown = fields.slice(0, 8).map((field) => field.slice(0, 40));
  return fields.length === 0 ? "an empty object" : `the fields ${shown.join(", ")}${fields.length > 8 ? ", …" : ""}`;
}

/** The outer form that a file of this name has. */
export function formOf(path: string): OuterForm {
  return /\.(jsonl|ndjson)(\.gz)?$/i.test(path) ? "lines" : "document";
}

/** The file's base name without its extensions; the client of a file that names none. */
export function nameOf(path: string): string {
  const base = basename(path);
  const name = base.replace(/\.gz$/i, "").replace(/(\.(json|jsonl|ndjson))+$/i, "");
  return name === "" ? base : name;
}
