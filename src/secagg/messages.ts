/**
 * The messages of an attempt as bytes. Each begins with its kind, the attempt's id and the client that it is from or for; readers refuse any other
 * attempt, kind, client and length, so nothing of an earlier attempt counts in a later one. Numbers are little-endian.
 *
 *   client                          server
 *   keys: two public keys      ->
 *                              <-   roster: who sent keys, the neighbours' keys
 *   shares: one sealed pair per neighbour, commitment to the own seed ->
 *                              <-   inbox: who sent shares, the neighbours' sealed pairs
 *   masked: the masked vector  ->
 *                              <-   survivors: whose vector came
 *   reveal: one share of each neighbour, of its seed or of its key    ->
 */
import { problemError } from "../errors.js";
import { ATTEMPT_BYTES, type AttemptParameters } from "./parameters.js";

const KINDS = ["keys", "roster", "shares", "inbox", "masked", "survivors", "reveal"] as const;
export type MessageKind = (typeof KINDS)[number];

const HEADER_BYTES = 1 + ATTEMPT_BYTES + 2;

/** Puts a message together. */
export function writeMessage(kind: MessageKind, { attempt }: AttemptParameters, client: number, parts: readonly Uint8Array[]): Uint8Array {
  return concatenate([Uint8Array.of(KINDS.indexOf(kind)), attempt, Uint8Array.of(client & 0xff, client >> 8), ...parts]);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}

/** Takes a message apart; each method gives the next bytes. Throws PROTOCOL_VIOLATED for what is not such a message. */
export class MessageReader {
  readonly client: number;
  readonly #bytes: Uint8Array;
  readonly #kind: MessageKind;
  #position = HEADER_BYTES;

  constructor(kind: MessageKind, { attempt, numClients }: AttemptParameters, bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#kind = kind;
    this.client = (bytes[HEADER_BYTES - 2] ?? 0) | ((bytes[HEADER_BYTES - 1] ?? 0) << 8);
    if (bytes.length < HEADER_BYTES) throw this.#problem("a whole message", `${String(bytes.length)} bytes`);
    if (bytes[0] !== KINDS.indexOf(kind)) throw this.#problem(`a message of kind ${kind}`, KINDS[bytes[0] ?? 0] ?? "no known kind");
    if (attempt.some((byte, index) => bytes[1 + index] !== byte)) throw this.#problem("a message of this attempt", "one of another");
    if (this.client >= numClients) throw this.#problem(`one of ${String(numClients)} clients`, String(this.client));
  }

  take(count: number): Uint8Array {
    const end = this.#position + count;
    if (end > this.#bytes.length) throw this.#problem(`at least ${String(end)} bytes`, String(this.#bytes.length));
    const part = this.#bytes.slice(this.#position, end);
    this.#position = end;
    return part;
  }

  /** Indices of the clients in a set of them, ascending. */
  takeSet(numClients: number): readonly number[] {
    const bits = this.take(Math.ceil(numClients / 8));
    return Array.from({ length: numClients }, (_, index) => index).filter((index) => (((bits[index >> 3] ?? 0) >> (index & 7)) & 1) === 1);
  }

  end(): void {
    if (this.#position !== this.#bytes.length) throw this.#problem(`${String(this.#position)} bytes`, String(this.#bytes.length));
  }

  #problem(expected: string, received: string): Error {
    return problemError("PROTOCOL_VIOLATED", { subject: `message ${this.#kind} of secure aggregation`, expected, received });
  }
}

/** One bit per client. */
export function packSet(members: Iterable<number>, numClients: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(numClients / 8));
  for (const index of members) bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7));
  return bits;
}

/** Bytes of so many words of so many bits. */
export function packedBytes(length: number, bits: number): number {
  return Math.ceil((length * bits) / 8);
}

/** The lower bits of each word one after another, least significant first. */
export function packWords(words: Uint32Array, bits: number): Uint8Array {
  if (bits === 32) return new Uint8Array(words.slice().buffer);
  const bytes = new Uint8Array(packedBytes(words.length, bits));
  const modulus = 2 ** bits;
  // Fewer than 8 bits wait, so with a word it stays below 2^40.
  let [waiting, numWaiting, position] = [0, 0, 0];
  for (const word of words) {
    waiting += (word % modulus) * 2 ** numWaiting;
    numWaiting += bits;
    for (; numWaiting >= 8; numWaiting -= 8) {
      bytes[position++] = waiting % 256;
      waiting = Math.floor(waiting / 256);
    }
  }
  if (numWaiting > 0) bytes[position] = waiting;
  return bytes;
}

/** The words that {@link packWords} packed. */
export function unpackWords(bytes: Uint8Array, length: number, bits: number): Uint32Array {
  if (bits === 32) return new Uint32Array(bytes.slice(0, 4 * length).buffer);
  const words = new Uint32Array(length);
  const modulus = 2 ** bits;
  let [waiting, numWaiting, position] = [0, 0, 0];
  for (let i = 0; i < length; i++) {
    for (; numWaiting < bits; numWaiting += 8) waiting += (bytes[position++] ?? 0) * 2 ** numWaiting;
    words[i] = waiting % modulus;
    waiting = Math.floor(waiting / modulus);
    numWaiting -= bits;
  }
  return words;
}
