/**
 * Turns the users of a file into the clients of a run: which users take part, and which of their samples are held out
 * for evaluation. The split of a client depends on the seed, its id and its own samples only, so adding or removing
 * other clients changes nothing. Also describes clients in numbers. Reading files is dataset.ts.
 */
import { createHash } from "node:crypto";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import type { ClientSamples, FederatedDataset } from "./dataset.js";
import { PythonRandom } from "./python-random.js";
import type { Sample, SampleKind } from "./samples.js";

export interface SplitOptions {
  /** Seeds the choice of held-out samples; 0 is a seed. */
  readonly seed: number;
  /** Share of each client's samples to hold out, 0 <= f < 1, rounded to the nearest whole sample. */
  readonly heldOutFraction?: number;
  /** Number of samples to hold out per client; not together with heldOutFraction. Never more than half of a client's samples. */
  readonly heldOutPerClient?: number;
  /** Users with fewer good samples do not take part; default 1. */
  readonly minSamples?: number;
  /** Only the first so many of the remaining users take part, in file order; absent: all. */
  readonly maxClients?: number;
  /** A file of its own with held-out samples, plain or by user; all its samples are used. */
  readonly heldOutDataset?: FederatedDataset;
}

/** One client of a run; both parts are in file order. */
export interface ClientData {
  readonly id: string;
  readonly train: readonly Sample[];
  readonly heldOut: readonly Sample[];
  /** As ClientSamples has it. */
  readonly attribute?: string;
}

export interface FederatedSplit {
  readonly kind: SampleKind;
  /** In file order; FedLLM-Bench's client index is the position here. */
  readonly clients: readonly ClientData[];
  /**
   * The overall held-out set in groups with ids: the clients' own held-out parts, or the file of its own if one was given.
   * Groups are never empty.
   */
  readonly heldOutGroups: readonly ClientSamples[];
  /** Users that do not take part, with the number of their good samples, in file order. */
  readonly leftOut: readonly { readonly id: string; readonly numSamples: number }[];
}

/** Splits a data set. Throws CONFIG_INVALID for options that contradict each other or leave nothing to train on. */
export function splitFederatedDataset(dataset: FederatedDataset, options: SplitOptions): FederatedSplit {
  checkOptions(dataset, options);
  const minSamples = Math.max(1, options.minSamples ?? 1);
  const eligible = dataset.clients.filter((client) => client.samples.length >= minSamples);
  const chosen = eligible.slice(0, options.maxClients);
  if (chosen.length === 0) {
    throw problemError("CONFIG_INVALID", {
      subject: "minSamples",
      expected: "a limit that at least one user reaches",
      received: `${minSamples}, but the largest of ${dataset.clients.length} users in ${dataset.path} has ${largestClient(dataset)} samples`,
    });
  }
  const takesPart = new Set(chosen.map((client) => client.id));
  const separate = new Map(options.heldOutDataset?.clients.map((client) => [client.id, client.samples]));
  const clients = chosen.map((client) => {
    const { train, heldOut } = splitClient(client, options);
    const all = { id: client.id, train, heldOut: [...heldOut, ...(separate.get(client.id) ?? [])] };
    return client.attribute === undefined ? all : { ...all, attribute: client.attribute };
  });
  const groups = options.heldOutDataset?.clients ?? clients.map(({ id, heldOut }) => ({ id, samples: heldOut }));
  return {
    kind: dataset.kind,
    clients,
    heldOutGroups: groups.filter((group) => group.samples.length > 0),
    leftOut: dataset.clients
      .filter((client) => !takesPart.has(client.id))
      .map((client) => ({ id: client.id, numSamples: client.samples.length })),
  };
}

function checkOptions(dataset: FederatedDataset, options: SplitOptions): void {
  const { heldOutFraction, heldOutPerClient, minSamples, maxClients, heldOutDataset } = options;
  if (heldOutFraction !== undefined && heldOutPerClient !== undefined) {
    const received = "both";
    throw problemError("CONFIG_INVALID", {
      subject: "heldOutFraction",
      expected: "either it or heldOutPerClient",
      received,
    });
  }
  if (heldOutFraction !== undefined && !(heldOutFraction >= 0 && heldOutFraction < 1)) {
    const received = String(heldOutFraction);
    throw problemError("CONFIG_INVALID", {
      subject: "heldOutFraction",
      expected: "a number from 0 to below 1",
      received,
    });
  }
  const counts = [
    ["heldOutPerClient", heldOutPerClient, 0],
    ["minSamples", minSamples, 0],
    ["maxClients", maxClients, 1],
  ] as const;
  for (const [subject, count, least] of counts) {
    if (count !== undefined && !(Number.isSafeInteger(count) && count >= least)) {
      throw problemError("CONFIG_INVALID", {
        subject,
        expected: `an integer of at least ${least}`,
        received: String(count),
      });
    }
  }
  if (heldOutDataset !== undefined && heldOutDataset.kind !== dataset.kind) {
    throw problemError("CONFIG_INVALID", {
      subject: heldOutDataset.path,
      expected: `held-out samples of the kind ${dataset.kind}, like those in ${dataset.path}`,
      received: heldOutDataset.kind,
    });
  }
}

function splitClient(client: ClientSamples, options: SplitOptions): { train: Sample[]; heldOut: Sample[] } {
  const numSamples = client.samples.length;
  const wanted = options.heldOutPerClient ?? Math.round(numSamples * (options.heldOutFraction ?? 0));
  // A client keeps at least one sample to train on, and at least half of them when a number was asked for.
  const most = options.heldOutPerClient === undefined ? numSamples - 1 : Math.floor(numSamples / 2);
  const random = new PythonRandom(seedForClient(options.seed, client.id));
  const isHeldOut = new Set(random.sample(numSamples, Math.min(wanted, most)));
  return {
    train: client.samples.filter((_, index) => !isHeldOut.has(index)),
    heldOut: client.samples.filter((_, index) => isHeldOut.has(index)),
  };
}

/** The first 53 bits of a hash over seed, purpose and id: clients of equal size get unrelated splits. */
function seedForClient(seed: number, clientId: string): number {
  assert(Number.isSafeInteger(seed) && seed >= 0, `a seed is an integer from 0 to 2^53 - 1, not ${seed}`);
  const digest = createHash("sha256")
    .update(JSON.stringify([seed, "held-out", clientId]))
    .digest();
  return digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11);
}

function largestClient(dataset: FederatedDataset): number {
  return dataset.clients.reduce((largest, client) => Math.max(largest, client.samples.length), 0);
}
