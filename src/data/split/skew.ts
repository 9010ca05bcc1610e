/**
 * How far the clients of a split are from all samples together. Distances between distributions are total variation: half the sum
 * of the differences of the shares, 0 for equal ones, 1 for those that have nothing in common.
 */

/** One client of a split. */
export interface ClientSkew {
  readonly id: string;
  readonly numSamples: number;
  /** Between the client's classes and those of all samples; absent without samples or classes. */
  readonly classDistance?: number;
  /** The same with lengths, in tenths of all samples by length. */
  readonly lengthDistance?: number;
  /** Classes of which the client has samples. */
  readonly numClasses: number;
}

export interface SplitSkew {
  readonly clients: readonly ClientSkew[];
  /** Means over all samples: every client counts by its samples. */
  readonly classDistance: number;
  readonly lengthDistance: number;
  /** Gini coefficient of the clients' sizes: 0 for equal ones, near 1 where one has nearly all. */
  readonly sizeGini: number;
  readonly smallest: number;
  readonly largest: number;
}

/** Number of classes by which lengths are compared. */
export const LENGTH_BINS = 10;

/** Measures a split; the lists have an entry for each sample. */
export function measureSkew(
  ids: readonly string[],
  owners: Uint32Array,
  features: { readonly classes: Uint32Array; readonly numClasses: number; readonly lengths: Uint32Array },
): SplitSkew {
  const byClass = countByClient(ids.length, owners, features.classes, features.numClasses);
  const byLength = countByClient(ids.length, owners, binByQuantile(features.lengths, LENGTH_BINS), LENGTH_BINS);
  const clients = ids.map((id, index): ClientSkew => {
    const counts = byClass.clients[index] ?? [];
    const numSamples = counts.reduce((sum, count) => sum + count, 0);
    const numClasses = counts.filter((count) => count > 0).length;
    if (numSamples === 0) return { id, numSamples, numClasses };
    const lengthDistance = totalVariation(byLength.clients[index] ?? [], byLength.all);
    return { id, numSamples, numClasses, classDistance: totalVariation(counts, byClass.all), lengthDistance };
  });
  const mean = (pick: (client: ClientSkew) => number | undefined) =>
    clients.reduce((sum, client) => sum + client.numSamples * (pick(client) ?? 0), 0) / Math.max(1, owners.length);
  const sizes = clients.map(({ numSamples }) => numSamples).sort((left, right) => left - right);
  return {
    clients,
    classDistance: mean((client) => client.classDistance),
    lengthDistance: mean((client) => client.lengthDistance),
    sizeGini: gini(sizes),
    smallest: sizes[0] ?? 0,
    largest: sizes.at(-1) ?? 0,
  };
}

/** The class of each number by the share of smaller ones: equal numbers are in one class, and classes may stay empty. */
export function binByQuantile(numbers: Uint32Array, numBins: number): Uint32Array {
  const sorted = numbers.slice().sort();
  const edges = Array.from({ length: numBins - 1 }, (_, index) => sorted[Math.floor(((index + 1) * sorted.length) / numBins)] ?? 0);
  return numbers.map((number) => edges.filter((edge) => number >= edge).length);
}

/** Half the sum of |p - q| over the shares of two lists of counts. */
export function totalVariation(left: readonly number[], right: readonly number[]): number {
  const sumOf = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
  const [leftTotal, rightTotal] = [sumOf(left), sumOf(right)];
  return 0.5 * left.reduce((sum, count, index) => sum + Math.abs(count / leftTotal - (right[index] ?? 0) / rightTotal), 0);
}

function countByClient(numClients: number, owners: Uint32Array, classes: Uint32Array, numClasses: number) {
  const clients = Array.from({ length: numClients }, () => Array.from({ length: numClasses }, () => 0));
  const all = Array.from({ length: numClasses }, () => 0);
  for (const [sample, owner] of owners.entries()) {
    const label = classes[sample] ?? 0;
    const counts = clients[owner];
    if (counts !== undefined) counts[label] = (counts[label] ?? 0) + 1;
    all[label] = (all[label] ?? 0) + 1;
  }
  return { clients, all };
}

/** Of an ascending list. */
function gini(sorted: readonly number[]): number {
  const total = sorted.reduce((sum, size) => sum + size, 0);
  if (total === 0) return 0;
  const weighted = sorted.reduce((sum, size, index) => sum + (index + 1) * size, 0);
  return (2 * weighted) / (sorted.length * total) - (sorted.length + 1) / sorted.length;
}
