/** How far clients are from all samples together, and from each other. */
import { countBy } from "./describe.js";
import type { SampleFindings } from "./describe.js";
import { cosineSimilarity, lengthScale, shareDistance, wassersteinDistance } from "./distances.js";
import { meanVector } from "./embeddings.js";
import type { ClientDistances, ClientSimilarity } from "./report.js";

/** Clients that are compared with each other, the largest ones; the numbers grow with the square. */
export const COMPARED_CLIENTS_MAX = 100;

/** What distances are computed from. */
export interface ClientProfile {
  readonly languages: ReadonlyMap<string, number>;
  readonly instructionLengths: Float64Array;
  readonly responseLengths: Float64Array;
  /** Mean of the embeddings there are. */
  readonly embedding?: Float64Array;
}

/** Lengths are those in characters, which need no model. */
export function profileOf(findings: readonly SampleFindings[]): ClientProfile {
  const embeddings = findings.flatMap(({ embedding }) => embedding ?? []);
  return {
    ...(embeddings.length === 0 ? {} : { embedding: meanVector(embeddings) }),
    languages: countBy(findings, ({ text }) => text.language),
    instructionLengths: lengthScale(findings.map(({ text }) => text.instructionCharacters)),
    responseLengths: lengthScale(findings.map(({ text }) => text.responseCharacters)),
  };
}

/** Between two profiles that are not empty. */
export function distancesBetween(left: ClientProfile, right: ClientProfile): ClientDistances {
  return {
    language: shareDistance(left.languages, right.languages),
    instructionLength: wassersteinDistance(left.instructionLengths, right.instructionLengths),
    responseLength: wassersteinDistance(left.responseLengths, right.responseLengths),
  };
}

/** Places of the clients with most samples, at most `most`, ascending; clients without samples are never among them. */
export function largestClients(sizes: readonly number[], most = COMPARED_CLIENTS_MAX): number[] {
  return sizes
    .map((size, index) => ({ size, index }))
    .filter(({ size }) => size > 0)
    .sort((left, right) => right.size - left.size || left.index - right.index)
    .slice(0, most)
    .map(({ index }) => index)
    .sort((left, right) => left - right);
}

/** Compares these clients with each other; `profiles` has all clients, `whole` all samples together. */
export function compareClients(profiles: readonly ClientProfile[], whole: ClientProfile, clients: readonly number[]): ClientSimilarity {
  const chosen = clients.flatMap((index) => profiles[index] ?? []);
  const distances = chosen.map((left) => chosen.map((right) => (left === right ? { language: 0, instructionLength: 0, responseLength: 0 } : distancesBetween(left, right))));
  const matrix = (name: keyof ClientDistances) => distances.map((row) => row.map((entry) => entry[name]));
  return {
    clients,
    languageDistance: matrix("language"),
    instructionLengthDistance: matrix("instructionLength"),
    responseLengthDistance: matrix("responseLength"),
    ...compareEmbeddings(chosen, whole),
  };
}

/** Nothing unless all have embeddings. */
function compareEmbeddings(chosen: readonly ClientProfile[], whole: ClientProfile): Pick<ClientSimilarity, "embeddingSimilarity" | "centredSimilarity"> {
  const means = chosen.flatMap(({ embedding }) => embedding ?? []);
  const { embedding: mean } = whole;
  if (mean === undefined || means.length < chosen.length) return {};
  const cosines = (vectors: readonly Float64Array[]) => vectors.map((left) => vectors.map((right) => cosineSimilarity(left, right)));
  const centred = means.map((vector) => vector.map((value, index) => value - (mean[index] ?? 0)));
  return { embeddingSimilarity: cosines(means), centredSimilarity: cosines(centred) };
}
