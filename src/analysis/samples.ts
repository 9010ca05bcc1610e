/** The samples of a data set one by one, each with the hash under which what is known of it is kept. */
import { createHash } from "node:crypto";
import type { FederatedDataset } from "../data/dataset.js";
import type { Sample } from "../data/samples.js";

export interface AnalyzedSample {
  readonly clientIndex: number;
  /** Among the client's good samples, from 0. */
  readonly sampleIndex: number;
  readonly sample: Sample;
  /** SHA-256 of all texts of the sample and their roles, in hexadecimal digits. */
  readonly hash: string;
}

/** All samples in file order. */
export function listSamples(dataset: Pick<FederatedDataset, "clients">): AnalyzedSample[] {
  return dataset.clients.flatMap(({ samples }, clientIndex) =>
    samples.map((sample, sampleIndex) => ({ clientIndex, sampleIndex, sample, hash: hashSample(sample) })),
  );
}

/** The most samples per client with which a data set of these sizes gives at most `most` samples; at least 1. */
export function samplesPerClient(sizes: readonly number[], most: number): number {
  const total = (limit: number) => sizes.reduce((sum, size) => sum + Math.min(size, limit), 0);
  let [low, high] = [1, Math.max(1, ...sizes)];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (total(middle) <= most) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Of each client the samples whose hashes are smallest, at most so many, in the given order: a choice that depends on the texts
 * alone, so that a longer data set keeps most of it and what was computed stays of use.
 */
export function chooseSamples(samples: readonly AnalyzedSample[], maxPerClient: number): AnalyzedSample[] {
  const byClient = groupByClient(samples);
  return [...byClient.values()].flatMap((own) => {
    if (own.length <= maxPerClient) return own;
    const chosen = new Set([...own].sort((left, right) => (left.hash < right.hash ? -1 : 1)).slice(0, maxPerClient));
    return own.filter((sample) => chosen.has(sample));
  });
}

/** The samples of each client that has any. */
export function groupByClient<T extends { readonly clientIndex: number }>(samples: readonly T[]): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const sample of samples) {
    const group = groups.get(sample.clientIndex);
    if (group === undefined) groups.set(sample.clientIndex, [sample]);
    else group.push(sample);
  }
  return groups;
}

/** The hash under which what is known of a sample is kept. */
export function hashSample(sample: Sample): string {
  return createHash("sha256").update(JSON.stringify(sample)).digest("hex");
}
