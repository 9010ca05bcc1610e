/**
 * What all parties of an attempt know, and who exchanges masks and shares with whom. Each attempt to sum has an id of its own, drawn anew, and every key is
 * bound to it. Neighbours are those of a circle in an order drawn from the id (SecAgg+: Bell et al. 2020, "Secure Single-Server Aggregation with
 * (Poly)Logarithmic Overhead"), half of them to each side; as many as there are others is the complete graph (Bonawitz et al. 2017).
 */
import { randomBytes } from "node:crypto";
import { problemError } from "../errors.js";
import { RandomStream } from "../privacy/random-stream.js";
import { BITS_MAX, BITS_MIN } from "./fixed-point.js";

export const ATTEMPT_BYTES = 16;
/** Indices are points of shares plus one, in 16 bits. */
export const CLIENTS_MAX = 65534;

export interface AttemptParameters {
  /** 16 random bytes, never used twice. */
  readonly attempt: Uint8Array;
  readonly round: number;
  /** Asked; their indices are 0 to numClients - 1. */
  readonly numClients: number;
  /** Of each client: even, or numClients - 1. */
  readonly numNeighbours: number;
  /** Shares that give a secret, of those that a client and its neighbours have. */
  readonly threshold: number;
  /** Clients that must be left at every stage. */
  readonly minSurvivors: number;
  /** Words of a vector. */
  readonly length: number;
  /** Of a word: sums are modulo 2^bits. */
  readonly bits: number;
}

export interface AttemptOptions extends Pick<AttemptParameters, "round" | "numClients" | "length" | "bits"> {
  /** Part of the clients, and of those with shares of one, that must be left; above 1/2, at most 1. */
  readonly thresholdFraction: number;
  /** Default: all others. */
  readonly neighbours?: number;
}

/** A new attempt. Throws COHORT_TOO_SMALL for fewer clients than two, whose sum hides nothing. */
export function newAttempt({ round, numClients, length, bits, thresholdFraction, neighbours }: AttemptOptions): AttemptParameters {
  if (numClients < 2) {
    throw problemError("COHORT_TOO_SMALL", { subject: `secure aggregation of round ${String(round)}`, expected: "at least 2 clients, whose sum hides each", received: String(numClients) });
  }
  const numNeighbours = neighbours === undefined || neighbours >= numClients - 1 ? numClients - 1 : neighbours;
  const parameters = {
    attempt: Uint8Array.from(randomBytes(ATTEMPT_BYTES)),
    round,
    numClients,
    numNeighbours,
    threshold: atLeast(thresholdFraction, numNeighbours + 1),
    minSurvivors: atLeast(thresholdFraction, numClients),
    length,
    bits,
  };
  checkParameters(parameters);
  return parameters;
}

/** The fraction of a number, rounded up, but more than half of it. A fraction such as 0.7 is rounded itself, so 0.7 * 10 is 7. */
function atLeast(fraction: number, of: number): number {
  return Math.min(of, Math.max(Math.ceil(fraction * of - 1e-9), Math.floor(of / 2) + 1));
}

/** Throws PROTOCOL_VIOLATED for parameters with which a client does not take part. */
export function checkParameters({ attempt, numClients, numNeighbours, threshold, minSurvivors, length, bits }: AttemptParameters): void {
  const isGraph = numNeighbours === numClients - 1 || (numNeighbours >= 2 && numNeighbours < numClients - 1 && numNeighbours % 2 === 0);
  const problems: readonly (readonly [boolean, string, string])[] = [
    [attempt.length === ATTEMPT_BYTES, "an attempt id of 16 bytes", String(attempt.length)],
    [numClients >= 2 && numClients <= CLIENTS_MAX, `2 to ${String(CLIENTS_MAX)} clients`, String(numClients)],
    [isGraph, "an even number of neighbours, or all others", String(numNeighbours)],
    // With half or less two disjoint groups could each reveal another kind of share.
    [threshold > (numNeighbours + 1) / 2 && threshold <= numNeighbours + 1, "a threshold of more than half of the shares", String(threshold)],
    [minSurvivors > numClients / 2 && minSurvivors >= 2 && minSurvivors <= numClients, "more than half of the clients to be left, and two", String(minSurvivors)],
    [length >= 1, "at least one number", String(length)],
    [bits >= BITS_MIN && bits <= BITS_MAX, `${String(BITS_MIN)} to ${String(BITS_MAX)} bits`, String(bits)],
  ];
  const wrong = problems.find(([isRight]) => !isRight);
  if (wrong !== undefined) throw problemError("PROTOCOL_VIOLATED", { subject: "secure aggregation", expected: wrong[1], received: wrong[2] });
}

/** Indices of each client's neighbours, ascending. */
export function neighboursOf({ attempt, numClients, numNeighbours }: Pick<AttemptParameters, "attempt" | "numClients" | "numNeighbours">): readonly (readonly number[])[] {
  const everybody = Array.from({ length: numClients }, (_, index) => index);
  if (numNeighbours === numClients - 1) return everybody.map((own) => everybody.filter((other) => other !== own));
  const circle = shuffle(everybody, attempt);
  const neighbours: number[][] = everybody.map(() => []);
  for (const [place, own] of circle.entries()) {
    for (let distance = 1; distance <= numNeighbours / 2; distance++) {
      const other = circle[(place + distance) % numClients] ?? 0;
      neighbours[own]?.push(other);
      neighbours[other]?.push(own);
    }
  }
  return neighbours.map((list) => list.sort((left, right) => left - right));
}

/** Fisher and Yates. */
function shuffle(items: readonly number[], attempt: Uint8Array): number[] {
  const stream = new RandomStream(attempt, "fedllm-native secure aggregation, graph");
  const result = [...items];
  for (let i = 0; i < result.length - 1; i++) {
    const other = i + stream.below(result.length - i);
    [result[i], result[other]] = [result[other] ?? 0, result[i] ?? 0];
  }
  return result;
}
