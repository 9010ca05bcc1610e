/**
 * A synthetic data set as text: the data in the form of FedLLM-Bench's files, `{user: [samples]}`, and beside it what is true of
 * it, one JSON record a line: first the data set, then each client followed by its samples. The data says nothing of the truth.
 */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { FedllmError, problemError } from "../../errors.js";
import { writeFileAtomic } from "../../util/atomic-file.js";
import { generateClients } from "./generator.js";
import type { ClientTruth, SyntheticClient } from "./generator.js";
import type { SyntheticOptions, SyntheticProfile } from "./profiles.js";
import type { SampleTruth } from "./samples.js";

const TRUTH_VERSION = 1;

/** Which data set: everything that its bytes depend on, the release of this program aside. */
export interface SyntheticSource {
  readonly profile: SyntheticProfile;
  readonly options: SyntheticOptions;
  readonly seed: number;
}

export interface WrittenSyntheticData {
  readonly path: string;
  readonly truthPath: string;
  readonly numClients: number;
  readonly numSamples: number;
  /** Of the data file. */
  readonly sha256: string;
}

/** The truth of a file, as {@link readSyntheticTruth} returns it. */
export interface SyntheticTruth {
  readonly dataset: { readonly profile: string; readonly seed: number; readonly dataSha256: string; readonly options: SyntheticOptions };
  /** In file order, each with its samples in file order. */
  readonly clients: readonly (ClientTruth & { readonly samples: readonly SampleTruth[] })[];
}

/** Where the truth of a data file lies: `a.json` has `a.truth.jsonl`. */
export function truthPathOf(path: string): string {
  return `${path.replace(/\.json$/iu, "")}.truth.jsonl`;
}

/** The bytes of the data file, client by client. `onClient` sees each client before its bytes are handed out. */
export function* syntheticText({ options, seed }: SyntheticSource, onClient?: (client: SyntheticClient) => void): Generator<Uint8Array> {
  let before = "{";
  for (const client of generateClients(options, seed)) {
    onClient?.(client);
    const samples = client.samples.map(({ record }) => JSON.stringify(record)).join(",\n");
    yield Buffer.from(`${before}\n${JSON.stringify(client.truth.id)}: [\n${samples}\n]`);
    before = ",";
  }
  yield Buffer.from("\n}\n");
}

/**
 * Writes both files, each completely or not at all, the truth last: it names the hash of the data that it belongs to. The data is
 * streamed; of the truth about 150 bytes a sample are held in memory. Throws IO_FAILED.
 */
export async function writeSyntheticData(path: string, source: SyntheticSource): Promise<WrittenSyntheticData> {
  const truth: Uint8Array[] = [];
  const counts = { numClients: 0, numSamples: 0 };
  const hash = createHash("sha256");
  const text = syntheticText(source, (client) => {
    counts.numClients++;
    counts.numSamples += client.samples.length;
    truth.push(truthLines(client));
  });
  await writeFileAtomic(path, hashing(text, hash));
  const sha256 = hash.digest("hex");
  const { profile, options, seed } = source;
  const head = { record: "dataset", version: TRUTH_VERSION, profile, seed, dataSha256: sha256, ...counts, options };
  const truthPath = truthPathOf(path);
  await writeFileAtomic(truthPath, [Buffer.from(`${JSON.stringify(head)}\n`), ...truth]);
  return { path, truthPath, ...counts, sha256 };
}

/** The same pieces; the hash has seen each of them. */
export function* hashing(pieces: Iterable<Uint8Array>, hash: Hash): Generator<Uint8Array> {
  for (const piece of pieces) {
    hash.update(piece);
    yield piece;
  }
}

/** Reads a file of truth. Throws IO_FAILED or DATASET_INVALID. */
export async function readSyntheticTruth(path: string): Promise<SyntheticTruth> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new FedllmError("IO_FAILED", `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  });
  const [first = "", ...lines] = text.trimEnd().split("\n");
  const dataset = parseRecord(path, first, 1) as unknown as SyntheticTruth["dataset"] & { readonly record: string; readonly version: number };
  if (dataset.record !== "dataset" || dataset.version !== TRUTH_VERSION) {
    throw problemError("DATASET_INVALID", {
      subject: path,
      expected: `the truth of synthetic data, version ${String(TRUTH_VERSION)}`,
      received: first.slice(0, 80),
    });
  }
  const clients: (ClientTruth & { samples: SampleTruth[] })[] = [];
  for (const [index, line] of lines.entries()) {
    const { record, ...fields } = parseRecord(path, line, index + 2);
    if (record === "client") clients.push({ ...(fields as unknown as ClientTruth), samples: [] });
    else clients.at(-1)?.samples.push(fields as unknown as SampleTruth);
  }
  return { dataset, clients };
}

function truthLines({ truth, samples }: SyntheticClient): Uint8Array {
  const records = [{ record: "client", ...truth }, ...samples.map((sample) => ({ record: "sample", ...sample.truth }))];
  return Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(""));
}

function parseRecord(path: string, line: string, lineNumber: number): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch (error) {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("DATASET_INVALID", { subject: `${path} line ${String(lineNumber)}`, expected: "a JSON record", received }, error);
  }
}
