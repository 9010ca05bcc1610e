/**
 * Describes a data set in numbers: samples per client, and lengths of instructions and responses in characters
 * (Unicode code points). Lengths are given over all samples and per client, because the two spreads differ widely.
 * Lengths in tokens need a tokenizer and are counted where samples are tokenized.
 */
import type { ClientSamples } from "./dataset.js";
import type { PreferenceSample, Sample } from "./samples.js";

/** How a list of numbers is spread; quantiles interpolate linearly between neighbours. */
export interface Distribution {
  readonly count: number;
  readonly mean: number;
  /** Of the whole population: the sum of squares is divided by the count. */
  readonly standardDeviation: number;
  readonly min: number;
  readonly quartile1: number;
  readonly median: number;
  readonly quartile3: number;
  readonly max: number;
}

export interface ClientStatistics {
  readonly id: string;
  readonly numSamples: number;
  /** Characters per sample: what the user wrote. Absent without samples. */
  readonly instructionCharacters?: Distribution;
  /** Characters per sample: what the assistant answered (of a preference pair, the chosen answer). Absent without samples. */
  readonly responseCharacters?: Distribution;
  /** Characters per pair: the answer that was not preferred. Absent for other samples. */
  readonly rejectedCharacters?: Distribution;
}

export interface DatasetStatistics {
  readonly numClients: number;
  readonly numSamples: number;
  readonly samplesPerClient?: Distribution;
  /** Over all samples of all clients. */
  readonly instructionCharacters?: Distribution;
  readonly responseCharacters?: Distribution;
  readonly rejectedCharacters?: Distribution;
  readonly clients: readonly ClientStatistics[];
}

/** Describes clients, for example those of a FederatedDataset. A distribution of nothing is absent. */
export function describeClients(clients: readonly ClientSamples[]): DatasetStatistics {
  const lengths = clients.map((client) => client.samples.map(measureSample));
  const perClient = clients.map((client, index) => ({
    id: client.id,
    numSamples: client.samples.length,
    ...describeLengths(lengths[index] ?? []),
  }));
  const samplesPerClient = describeNumbers(perClient.map((client) => client.numSamples));
  return {
    numClients: clients.length,
    numSamples: perClient.reduce((sum, client) => sum + client.numSamples, 0),
    ...(samplesPerClient === undefined ? {} : { samplesPerClient }),
    ...describeLengths(lengths.flat()),
    clients: perClient,
  };
}

/** The distribution of a list of numbers; undefined for an empty list. */
export function describeNumbers(numbers: readonly number[]): Distribution | undefined {
  const sorted = [...numbers].sort((a, b) => a - b);
  const count = sorted.length;
  if (count === 0) return undefined;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / count;
  const squares = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const [min, quartile1, median, quartile3, max] = [0, 0.25, 0.5, 0.75, 1].map((share) => quantile(sorted, share)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return { count, mean, standardDeviation: Math.sqrt(squares / count), min, quartile1, median, quartile3, max };
}

/** How many numbers are at least `from` and below `to`. */
export interface HistogramBin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/**
 * Counts lengths, which are whole and not negative, in bins that double: 0, 1, 2 to 3, 4 to 7 and so on, from the first to the last
 * one that holds any; none of an empty list.
 */
export function histogramByDoubling(lengths: readonly number[]): HistogramBin[] {
  const counts = new Map<number, number>();
  for (const length of lengths) {
    const bin = length < 1 ? 0 : 1 + Math.floor(Math.log2(length));
    counts.set(bin, (counts.get(bin) ?? 0) + 1);
  }
  if (counts.size === 0) return [];
  const [first, last] = [Math.min(...counts.keys()), Math.max(...counts.keys())];
  return Array.from({ length: last - first + 1 }, (_, index) => {
    const bin = first + index;
    return { from: bin === 0 ? 0 : 2 ** (bin - 1), to: 2 ** bin, count: counts.get(bin) ?? 0 };
  });
}

/** Characters of one sample. */
export interface SampleLengths {
  readonly instruction: number;
  readonly response: number;
  readonly rejected?: number;
}

/** Lengths of what the user wrote and of the answers, over all turns. */
export function measureSample(sample: Sample): SampleLengths {
  if (sample.kind === "single-turn") {
    return {
      instruction: countCharacters(sample.instruction) + countCharacters(sample.input ?? ""),
      response: countCharacters(sample.response),
    };
  }
  if (sample.kind === "preference") {
    return { instruction: measurePrompt(sample.prompt), response: countCharacters(sample.chosen), rejected: countCharacters(sample.rejected) };
  }
  const total = { user: 0, assistant: 0 };
  for (const turn of sample.turns) total[turn.role] += countCharacters(turn.text);
  return { instruction: total.user, response: total.assistant };
}

/** All that comes before the answers, earlier answers included. */
function measurePrompt(prompt: PreferenceSample["prompt"]): number {
  if (typeof prompt === "string") return countCharacters(prompt);
  return prompt.reduce((sum, turn) => sum + countCharacters(turn.text), 0);
}

function describeLengths(
  lengths: readonly SampleLengths[],
): Pick<ClientStatistics, "instructionCharacters" | "responseCharacters" | "rejectedCharacters"> {
  const instructionCharacters = describeNumbers(lengths.map((length) => length.instruction));
  const responseCharacters = describeNumbers(lengths.map((length) => length.response));
  if (instructionCharacters === undefined || responseCharacters === undefined) return {};
  const rejectedCharacters = describeNumbers(lengths.flatMap(({ rejected }) => (rejected === undefined ? [] : [rejected])));
  return { instructionCharacters, responseCharacters, ...(rejectedCharacters === undefined ? {} : { rejectedCharacters }) };
}

/** Value at this share (0 to 1) of a sorted, non-empty list. */
function quantile(sorted: readonly number[], share: number): number {
  const position = share * (sorted.length - 1);
  const below = sorted[Math.floor(position)] ?? 0;
  const above = sorted[Math.ceil(position)] ?? 0;
  return below + (above - below) * (position - Math.floor(position));
}

/** Unicode code points: a surrogate pair counts once. */
function countCharacters(text: string): number {
  let pairs = 0;
  for (let i = 0; i < text.length; i++) if (isHighSurrogate(text.charCodeAt(i))) pairs++;
  return text.length - pairs;
}

/** Samples hold whole pairs only, so counting first halves counts pairs. */
function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}
