/**
 * The data of a run, ready to train on: file -> clients -> tokens, and the held-out set. Reading, splitting, templates
 * and tokenizing are src/data; here they are put in order and what was lost on the way is counted.
 */
import type { ExperimentConfig } from "../config/schema.js";
import { groupClients } from "../data/client-groups.js";
import type { ClientGroups } from "../data/client-groups.js";
import { describeSampleProblem, readFederatedDataset } from "../data/dataset.js";
import { describeSynthetic, readTrainingDataset } from "./data-source.js";
import { splitFederatedDataset } from "../data/federated-dataset.js";
import type { FederatedSplit } from "../data/federated-dataset.js";
import type { Sample } from "../data/samples.js";
import { problemError } from "../errors.js";
import type { HeldOutGroup, HeldOutSet } from "../evaluation/held-out.js";
import type { TrainingExample } from "../federated/local-trainer.js";
import { groupNames } from "../federated/groups.js";
import type { FederatedClient, GroupOf } from "../federated/protocol.js";
import { assert } from "../util/assert.js";
import type { ModelTokenizer } from "./engine.js";
import { checkNamedClients } from "./named-clients.js";
import { createTokenize } from "./sample-tokens.js";
import type { Tokenize } from "./sample-tokens.js";

export interface TrainingData {
  /** Clients with at least one usable sample, in file order. */
  readonly clients: readonly FederatedClient[];
  readonly heldOut: HeldOutSet;
  /** The server's own samples; absent: the configuration names no file of them. */
  readonly server?: FederatedClient;
  /** Of all clients; absent: the configuration names no groups. */
  readonly groupOf?: GroupOf;
  /** SHA-256 by role, for the run's record. */
  readonly hashes: Readonly<Record<string, string>>;
  readonly counts: DataCounts;
  /** Sentences about what was left out. */
  readonly warnings: readonly string[];
}

export interface DataCounts {
  readonly numClients: number;
  readonly numSamples: number;
  /** Of all training samples; only when they were counted. */
  readonly numTokens?: number;
  /** Samples of the overall held-out set. */
  readonly numHeldOut: number;
  readonly numTruncated: number;
  readonly numDropped: number;
  readonly numBad: number;
}

/**
 * Reads everything the configuration names. A client's samples become tokens when it is first asked for them, so the tokenizer must
 * outlive the data, and clients that are never drawn cost no more than a look at the lengths of their texts. Counts are exact all the
 * same: samples that might not fit are tokenized now. With `countTokens` all are, for their number. Throws DATASET_INVALID,
 * CONFIG_INVALID, IO_FAILED.
 */
export async function loadTrainingData(
  config: ExperimentConfig,
  tokenizer: ModelTokenizer,
  { countTokens = false }: { readonly countTokens?: boolean } = {},
): Promise<TrainingData> {
  const { data, seed } = config;
  const rule = data.groups;
  const dataset = await readTrainingDataset(data, rule === undefined || rule.by === "file" ? {} : { attributeField: rule.field });
  const heldOutDataset = data.heldOutFile === undefined ? undefined : await readFederatedDataset(data.heldOutFile);
  const split = splitFederatedDataset(dataset, {
    seed,
    minSamples: data.minSamples,
    ...(data.maxClients === undefined ? {} : { maxClients: data.maxClients }),
    heldOutFraction: data.heldOutFraction,
    ...(heldOutDataset === undefined ? {} : { heldOutDataset }),
  });
  const tokenize = createTokenize(config, tokenizer);
  // What is wrong with the tokenizer or the template is to be known before anything is trained.
  tokenize(split.clients.flatMap(({ train }) => train.slice(0, 1)).slice(0, 1));
  const totals = { numTruncated: 0, numDropped: 0, numTokens: 0, numSamples: 0 };
  const emptyClients: string[] = [];
  const clients: FederatedClient[] = [];
  for (const { id, train } of split.clients) {
    const unsure = countTokens ? train : train.filter((sample) => !tokenize.isSurelyWhole(sample));
    const tokenized = tokenize(unsure);
    const dropped = new Set(tokenized.droppedIndices.map((index) => unsure[index]));
    const kept = dropped.size === 0 ? train : train.filter((sample) => !dropped.has(sample));
    totals.numTruncated += tokenized.numTruncated;
    totals.numDropped += tokenized.numDropped;
    totals.numTokens += tokenized.numTokens;
    totals.numSamples += kept.length;
    if (kept.length === 0) emptyClients.push(id);
    else clients.push(makeClient(id, kept, tokenize));
  }
  if (clients.length === 0) {
    throw problemError("DATASET_INVALID", {
      subject: dataset.path,
      expected: "at least one sample whose answer begins within data.maxLength tokens",
      received: `none of ${String(totals.numDropped)}`,
      remedy: "Raise data.maxLength",
    });
  }
  const server = data.serverFile === undefined ? undefined : await readServerData(data.serverFile, tokenize);
  const nameWarnings = checkNamedClients(config.arms, clients.map(({ id }) => id));
  const attributes = new Map(split.clients.map(({ id, attribute }) => [id, attribute === undefined ? {} : { attribute }]));
  const groups = rule === undefined ? undefined : await groupClients(clients.map(({ id }) => ({ id, ...attributes.get(id) })), rule);
  const { numTokens, ...counted } = totals;
  const heldOut = collectHeldOut(split, tokenize, config, groups);
  const bad = [...dataset.problems, ...(heldOutDataset?.problems ?? []), ...(server?.problems ?? [])];
  return {
    clients,
    heldOut: heldOut.set,
    ...(server === undefined ? {} : { server: server.samples }),
    ...(groups === undefined ? {} : { groupOf: groups.groupOf }),
    hashes: {
      ...(groups?.sha256 === undefined ? {} : { "data.groups": groups.sha256 }),
      "data.train": dataset.sha256,
      ...(heldOutDataset === undefined ? {} : { "data.heldOut": heldOutDataset.sha256 }),
      ...(server === undefined ? {} : { "data.server": server.sha256 }),
    },
    counts: {
      ...counted,
      ...(countTokens ? { numTokens } : {}),
      numClients: clients.length,
      numHeldOut: heldOut.set.overall.length,
      numTruncated: totals.numTruncated + heldOut.numTruncated,
      numDropped: totals.numDropped + heldOut.numDropped,
      numBad: dataset.numProblems + (heldOutDataset?.numProblems ?? 0),
    },
    warnings: [
      ...(data.synthetic ? [describeSynthetic(data.generated)] : []),
      ...bad.slice(0, SHOWN_PROBLEMS_MAX).map((problem) => `left out: ${describeSampleProblem(problem)}`),
      ...(split.leftOut.length === 0 ? [] : [`${String(split.leftOut.length)} users of the file do not take part`]),
      ...(emptyClients.length === 0 ? [] : [`${String(emptyClients.length)} clients have no usable sample: ${emptyClients.slice(0, 5).join(", ")}`]),
      ...nameWarnings,
    ],
  };
}

/** All samples of the file, in its order, that have something to learn. Throws DATASET_INVALID when there is none. */
async function readServerData(path: string, tokenize: Tokenize) {
  const { clients, sha256, problems } = await readFederatedDataset(path);
  const all = clients.flatMap(({ samples }) => samples);
  const unsure = all.filter((sample) => !tokenize.isSurelyWhole(sample));
  const dropped = new Set(tokenize(unsure).droppedIndices.map((index) => unsure[index]));
  const samples = all.filter((sample) => !dropped.has(sample));
  if (samples.length > 0) return { samples: makeClient("server", samples, tokenize), sha256, problems };
  throw problemError("DATASET_INVALID", {
    subject: path,
    expected: "at least one sample whose answer begins within data.maxLength tokens",
    received: `none of ${String(all.length)}`,
  });
}

/** Bad samples named one by one; `data inspect` lists all. */
const SHOWN_PROBLEMS_MAX = 5;

/** Keeps the tokens of the samples that were asked for. */
function makeClient(id: string, samples: readonly Sample[], tokenize: Tokenize): FederatedClient {
  const known = new Map<number, TrainingExample>();
  return {
    id,
    numSamples: samples.length,
    readSamples: (indices) =>
      indices.map((index) => {
        const sample = samples[index];
        if (sample === undefined) throw new RangeError(`client ${id} has no sample ${String(index)}`);
        const [example] = known.has(index) ? [known.get(index)] : tokenize([sample]).samples;
        assert(example !== undefined, "samples without anything to learn were left out");
        known.set(index, example);
        return example;
      }),
  };
}

/** Puts the overall set and the clients' own parts into one list, in which a sample of both stands once. */
function collectHeldOut(
  split: FederatedSplit,
  tokenize: Tokenize,
  { data, evaluation }: ExperimentConfig,
  clientGroups: ClientGroups | undefined,
): { set: HeldOutSet; numTruncated: number; numDropped: number } {
  const own = split.clients.map(({ id, heldOut }) => ({ id, samples: heldOut.slice(0, evaluation.maxSamplesPerClient) }));
  const parts = data.heldOutFile === undefined ? own : split.heldOutGroups;
  const overall = evenlySpaced(parts.flatMap((part) => part.samples), evaluation.maxSamples);
  const distinct = [...new Set([...overall, ...own.flatMap((group) => group.samples)])];
  const tokenized = tokenize(distinct);
  const dropped = new Set(tokenized.droppedIndices);
  const kept = distinct.filter((_, index) => !dropped.has(index));
  const positions = new Map(kept.map((sample, position) => [sample, position]));
  const positionsOf = (samples: readonly Sample[]) =>
    samples.flatMap((sample) => {
      const position = positions.get(sample);
      return position === undefined ? [] : [position];
    });
  const groups = clientGroups === undefined ? {} : { groups: groupHeldOut(clientGroups, { own, parts, overall }, positionsOf) };
  return {
    set: {
      ...groups,
      samples: tokenized.samples,
      overall: positionsOf(overall),
      own: new Map(own.map(({ id, samples }) => [id, positionsOf(samples)] as const).filter(([, list]) => list.length > 0)),
    },
    numTruncated: tokenized.numTruncated,
    numDropped: tokenized.numDropped,
  };
}

interface HeldOutPart {
  readonly id: string;
  readonly samples: readonly Sample[];
}

/** Each group's members, with their own samples and those of the overall set's parts that are named like a member or the group. */
function groupHeldOut(
  { groupOf, groupNamed }: ClientGroups,
  { own, parts, overall }: { readonly own: readonly HeldOutPart[]; readonly parts: readonly HeldOutPart[]; readonly overall: readonly Sample[] },
  positionsOf: (samples: readonly Sample[]) => readonly number[],
): ReadonlyMap<string, HeldOutGroup> {
  const isOverall = new Set(overall);
  return new Map(
    groupNames(groupOf).map((group) => {
      const mine = own.filter(({ id }) => groupOf.get(id) === group).flatMap(({ samples }) => samples);
      const named = parts.filter(({ id }) => groupNamed(id) === group).flatMap(({ samples }) => samples.filter((sample) => isOverall.has(sample)));
      const clientIds = [...groupOf].flatMap(([clientId, name]) => (name === group ? [clientId] : []));
      return [group, { clientIds, positions: [...new Set(positionsOf([...mine, ...named]))] }] as const;
    }),
  );
}

/** At most so many elements at equal distances, the first one included. */
function evenlySpaced<T>(list: readonly T[], most: number | undefined): readonly T[] {
  if (most === undefined || list.length <= most) return list;
  return list.filter((_, index) => Math.floor((index * most) / list.length) !== Math.floor(((index - 1) * most) / list.length));
}
