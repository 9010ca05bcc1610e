/**
 * Makes clients out of samples without users: reads files of any form, sorts samples into classes, deals them out and measures how
 * different the clients became. Users that the files name are not looked at. Memory: as an import, and 8 bytes more a sample.
 */
import { dirname } from "node:path";
import { problemError } from "../../errors.js";
import { makeFolder } from "../../util/atomic-file.js";
import { deriveSeed } from "../../util/random.js";
import { sampleRecord } from "../import/sample-record.js";
import { newTally, streamSamples } from "../import/sample-stream.js";
import type { SampleStreamOptions, SampleTally, StreamedSample } from "../import/sample-stream.js";
import { UserSpool } from "../import/user-spool.js";
import { checkOutputPath, writeFederated } from "../import/write-federated.js";
import type { WrittenDataset } from "../import/write-federated.js";
import { detectLanguage } from "../language.js";
import { PythonRandom } from "../python-random.js";
import { questionOf } from "../sample-text.js";
import { CLASS_SOURCES } from "./names.js";
import type { ClassSource, SplitMethod } from "./names.js";
import { binByQuantile, measureSkew } from "./skew.js";
import type { SplitSkew } from "./skew.js";
import { splitDirichlet, splitIid, splitPathological, splitQuantity } from "./splitters.js";
import type { SplitInput } from "./splitters.js";

export interface SplitOptions extends Omit<SampleStreamOptions, "userKey"> {
  readonly out: string;
  readonly overwrite?: boolean;
  readonly method: SplitMethod;
  readonly numClients: number;
  /** 0 is a seed. */
  readonly seed: number;
  /** Absent: all samples are of one class, which `dirichlet` and `pathological` refuse. */
  readonly by?: ClassSource;
  /** Field of the classes, with by: field. */
  readonly field?: string;
  /** Classes of equal size by length, with by: length; default 10. */
  readonly bins?: number;
  /** Concentration of `dirichlet` and `quantity`; default 0.5. */
  readonly alpha?: number;
  /** Parts of each client, with `pathological`; default 2. */
  readonly shardsPerClient?: number;
  /** Fewest samples of a client; the draw is repeated until all have them. Default 1. */
  readonly minSamples?: number;
  /** Any other way to tell a sample's class, as `by: "cluster"` needs (run/cluster-classes.ts finds it); goes before `by`. */
  readonly classOf?: (sample: StreamedSample) => string;
}

export interface SplitResult extends Readonly<SampleTally> {
  readonly written: WrittenDataset;
  /** Names of the classes, by number. */
  readonly classes: readonly string[];
  readonly skew: SplitSkew;
}

const DEFAULT_BINS = 10;
const DEFAULT_ALPHA = 0.5;
const DEFAULT_SHARDS = 2;
const MAX_CLASSES = 10_000;
/** Draws before a split with a fewest number of samples is given up. */
const MAX_DRAWS = 100;
const MISSING_CLASS = "(none)";

/** Splits. Throws CONFIG_INVALID for settings that do not fit together or the data, and what `streamSamples` throws. */
export async function splitData(options: SplitOptions): Promise<SplitResult> {
  checkOptions(options);
  checkOutputPath(options.out, options.overwrite ?? false);
  await makeFolder(dirname(options.out));
  const spool = new UserSpool(dirname(options.out));
  try {
    const tally = newTally();
    const collected = new FeatureCollector(options);
    // The field of the classes is read like a kept one, and kept only if that was asked for.
    const keep = options.by === "field" && options.field !== undefined ? [...new Set([...options.keep, options.field])] : options.keep;
    for await (const batch of streamSamples({ ...options, keep }, tally)) {
      for (const streamed of batch) {
        collected.add(streamed);
        const extra = Object.fromEntries(Object.entries(streamed.extra).filter(([field]) => options.keep.includes(field)));
        spool.add("all", JSON.stringify(sampleRecord(streamed.sample, extra)));
      }
    }
    const features = collected.finish();
    const ids = clientIds(options.numClients);
    const owners = drawOwners(options, features);
    spool.reassign(ids, owners);
    const written = await writeFederated(options.out, spool, () => true);
    return { ...tally, written, classes: features.names, skew: measureSkew(ids, owners, features) };
  } finally {
    spool.dispose();
  }
}

interface Features {
  readonly classes: Uint32Array;
  readonly numClasses: number;
  readonly names: readonly string[];
  /** Characters of question and answer in UTF-16 units. */
  readonly lengths: Uint32Array;
}

/** Notes the class and the length of every sample. */
class FeatureCollector {
  readonly #options: SplitOptions;
  readonly #names = new Map<string, number>();
  readonly #classes: number[] = [];
  readonly #lengths: number[] = [];

  constructor(options: SplitOptions) {
    this.#options = options;
  }

  add(streamed: StreamedSample): void {
    const { question, answer } = questionOf(streamed.sample);
    this.#lengths.push(question.length + answer.length);
    const name = this.#nameOf(streamed);
    const number = this.#names.get(name) ?? this.#names.size;
    if (number >= MAX_CLASSES) {
      throw problemError("CONFIG_INVALID", { subject: "--by", expected: `at most ${String(MAX_CLASSES)} classes`, received: "more", remedy: "Choose a field with few values" });
    }
    this.#names.set(name, number);
    this.#classes.push(number);
  }

  finish(): Features {
    const lengths = Uint32Array.from(this.#lengths);
    const { by, bins = DEFAULT_BINS, classOf } = this.#options;
    if (by === "length" && classOf === undefined) {
      const names = Array.from({ length: bins }, (_, index) => `length ${String(index + 1)}/${String(bins)}`);
      return { classes: binByQuantile(lengths, bins), numClasses: bins, names, lengths };
    }
    return { classes: Uint32Array.from(this.#classes), numClasses: this.#names.size, names: [...this.#names.keys()], lengths };
  }

  #nameOf(streamed: StreamedSample): string {
    const { by, field, classOf } = this.#options;
    if (classOf !== undefined) return classOf(streamed);
    if (by === "language") return detectLanguage(streamed.sample);
    if (by !== "field" || field === undefined) return "all";
    const value = streamed.extra[field];
    return value === undefined ? MISSING_CLASS : typeof value === "string" ? value : JSON.stringify(value);
  }
}

function drawOwners(options: SplitOptions, { classes, numClasses, names }: Features): Uint32Array {
  const { numClients, minSamples = 1, seed, method } = options;
  if (names.length === 1 && names[0] === MISSING_CLASS) {
    throw problemError("CONFIG_INVALID", { subject: "--field", expected: "a field with text or a number in some record", received: JSON.stringify(options.field) });
  }
  if (classes.length < numClients * minSamples) {
    const received = `${String(classes.length)} for ${String(numClients)} clients of at least ${String(minSamples)}`;
    throw problemError("CONFIG_INVALID", { subject: "--clients", expected: "no more clients than there are samples for", received });
  }
  for (let draw = 0; draw < MAX_DRAWS; draw++) {
    const random = new PythonRandom(deriveSeed(seed, "split", method, draw));
    const owners = deal(options, { classes, numClasses, numClients, random });
    const counts = new Uint32Array(numClients);
    for (const owner of owners) counts[owner] = (counts[owner] ?? 0) + 1;
    if (counts.every((count) => count >= minSamples)) return owners;
  }
  throw problemError("CONFIG_INVALID", {
    subject: "--min-samples",
    expected: `${String(minSamples)} samples for each of ${String(numClients)} clients in one of ${String(MAX_DRAWS)} draws`,
    received: "a client with fewer in every one",
    remedy: "Raise --alpha, or lower --clients or --min-samples",
  });
}

function deal({ method, alpha = DEFAULT_ALPHA, shardsPerClient = DEFAULT_SHARDS }: SplitOptions, input: SplitInput): Uint32Array {
  if (method === "iid") return splitIid(input);
  if (method === "dirichlet") return splitDirichlet(input, alpha);
  if (method === "quantity") return splitQuantity(input, alpha);
  return splitPathological(input, shardsPerClient);
}

function checkOptions(options: SplitOptions): void {
  const { method, by, field, classOf, seed, alpha = DEFAULT_ALPHA, numClients, bins = DEFAULT_BINS, shardsPerClient = DEFAULT_SHARDS, minSamples = 1 } = options;
  const refuse = (subject: string, expected: string, received: unknown): never => {
    throw problemError("CONFIG_INVALID", { subject, expected, received: String(received) });
  };
  const counts = [["--clients", numClients, 1], ["--bins", bins, 2], ["--shards", shardsPerClient, 1], ["--min-samples", minSamples, 0], ["--seed", seed, 0]] as const;
  for (const [subject, count, least] of counts) {
    if (!Number.isSafeInteger(count) || count < least) refuse(subject, `an integer of at least ${String(least)}`, count);
  }
  if (!(alpha > 0 && alpha < Infinity)) refuse("--alpha", "a number above 0", alpha);
  const needsClasses = method === "dirichlet" || method === "pathological";
  if (needsClasses && by === undefined && classOf === undefined) refuse("--by", `${CLASS_SOURCES.join(", ")}: ${method} deals out classes`, "nothing");
  if (by === "cluster" && classOf === undefined) refuse("--by cluster", "a way to tell a sample's cluster", "none");
  if ((by === "field") !== (field !== undefined)) refuse("--field", "a field's name together with --by field", field ?? "nothing");
}

/** `client-01` and so on, of equal length, so that they sort as they are numbered. */
function clientIds(numClients: number): string[] {
  const width = String(numClients).length;
  return Array.from({ length: numClients }, (_, index) => `client-${String(index + 1).padStart(width, "0")}`);
}
