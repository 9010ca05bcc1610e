/**
 * The server in one attempt at a secure sum: it passes keys and sealed shares on, adds masked vectors as they come, one vector in memory, and removes the masks
 * with the shares that are revealed. Clients that do not answer are dropped at the end of a stage; with too few left it throws COHORT_TOO_SMALL
 * and forms no sum. A recovered secret must fit the key or the commitment that its client sent before.
 */
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { applyMask } from "./ciphers.js";
import { commitToSeed, pairwiseKey, pointOf, SEALED_BYTES, signOf } from "./client.js";
import { deriveKey, KEY_BYTES, keyPairOf } from "./keys.js";
import { MessageReader, packedBytes, packSet, unpackWords, writeMessage, type MessageKind } from "./messages.js";
import { checkParameters, neighboursOf, type AttemptParameters } from "./parameters.js";
import { joinShares, SHARE_BYTES, type Share } from "./shamir.js";

const STAGES = ["keys", "shares", "masked", "reveal", "done"] as const;
/** What the server waits for. */
export type ServerStage = (typeof STAGES)[number];

interface Keys {
  readonly channel: Uint8Array;
  readonly mask: Uint8Array;
}

const COMMITMENT_BYTES = 32;

export class SecureServer {
  readonly #parameters: AttemptParameters;
  readonly #neighbours: readonly (readonly number[])[];
  readonly #keys = new Map<number, Keys>();
  readonly #commitments = new Map<number, Uint8Array>();
  /** By receiver, then sender. */
  readonly #sealed = new Map<number, Map<number, Uint8Array>>();
  /** Of whom a masked vector is in the sum. */
  readonly #summed = new Set<number>();
  readonly #sum: Uint32Array;
  /** By whose secret it is. */
  readonly #revealed = new Map<number, Share[]>();
  readonly #revealers = new Set<number>();
  #stage: ServerStage = "keys";

  constructor(parameters: AttemptParameters) {
    checkParameters(parameters);
    this.#parameters = parameters;
    this.#neighbours = neighboursOf(parameters);
    this.#sum = new Uint32Array(parameters.length);
  }

  get stage(): ServerStage {
    return this.#stage;
  }

  /** Takes a client's message of the stage. Throws PROTOCOL_VIOLATED for one of another stage or attempt, and for a second one. */
  accept(message: Uint8Array): void {
    assert(this.#stage !== "done", "nothing is accepted after the last stage");
    const reader = new MessageReader(this.#stage, this.#parameters, message);
    const { client } = reader;
    if (!this.#asked().includes(client) || this.#answered().has(client)) throw this.#problem(`client ${String(client)}`, `one message ${this.#stage} of a client that was asked`, "another");
    switch (this.#stage) {
      case "keys":
        this.#acceptKeys(client, reader);
        break;
      case "shares":
        this.#acceptShares(client, reader);
        break;
      case "masked":
        this.#acceptMasked(client, reader);
        break;
      case "reveal":
        this.#acceptReveal(client, reader);
    }
  }

  /** Ends the stage without those who did not answer. Throws COHORT_TOO_SMALL when too few did; then the attempt is over. */
  endStage(): void {
    assert(this.#stage !== "done", "the last stage ends once");
    const { minSurvivors, threshold, round } = this.#parameters;
    const answered = this.#answered();
    const left = (index: number) => [index, ...(this.#neighbours[index] ?? [])].filter((other) => answered.has(other)).length;
    // Whose secrets will have to be recovered from those that are left.
    const [weakest] = [...this.#owners()].map((index) => [index, left(index)] as const).sort((first, second) => first[1] - second[1]);
    const stage = this.#stage;
    this.#stage = STAGES[STAGES.indexOf(stage) + 1] ?? "done";
    if (answered.size >= minSurvivors && (weakest?.[1] ?? 0) >= threshold) return;
    this.#stage = "done";
    this.#sum.fill(0);
    throw problemError("COHORT_TOO_SMALL", {
      subject: `secure aggregation of round ${String(round)}`,
      expected: `message ${stage} of at least ${String(minSurvivors)} clients, and of ${String(threshold)} that hold shares of each`,
      received: `${String(answered.size)}, and of those with shares of one client ${String(weakest?.[1] ?? 0)}`,
      remedy: "No sum was formed; the round can be tried again, with new keys and masks",
    });
  }

  /** After stage keys: what the client is told of those who sent keys. */
  roster(client: number): Uint8Array {
    this.#expect("shares", client);
    const keys = (this.#neighbours[client] ?? []).flatMap((other) => {
      const theirs = this.#keys.get(other);
      return theirs === undefined ? [] : [theirs.channel, theirs.mask];
    });
    return this.#message("roster", client, [packSet(this.#keys.keys(), this.#parameters.numClients), ...keys]);
  }

  /** After stage shares: what the others sealed for the client. */
  inbox(client: number): Uint8Array {
    this.#expect("masked", client);
    const sealed = this.#sealed.get(client) ?? new Map<number, Uint8Array>();
    const senders = (this.#neighbours[client] ?? []).filter((other) => sealed.has(other));
    return this.#message("inbox", client, [packSet(this.#commitments.keys(), this.#parameters.numClients), ...senders.map((sender) => sealed.get(sender) ?? new Uint8Array(0))]);
  }

  /** After stage masked: whose vectors are in the sum. */
  survivors(client: number): Uint8Array {
    this.#expect("reveal", client);
    return this.#message("survivors", client, [packSet(this.#summed, this.#parameters.numClients)]);
  }

  /** After stage reveal: the survivors' sum modulo 2^bits. Throws PROTOCOL_VIOLATED where shares give another secret than was committed to. */
  finish(): Uint32Array {
    assert(this.#stage === "done" && this.#revealers.size > 0, "a sum is finished when shares were revealed");
    for (const index of this.#summed) applyMask(this.#sum, deriveKey(this.#recoverSeed(index), this.#parameters, "own mask", index), -1);
    for (const index of this.#commitments.keys()) {
      if (!this.#summed.has(index)) this.#removePairwise(index);
    }
    const modulus = 2 ** this.#parameters.bits;
    return this.#sum.map((word) => word % modulus);
  }

  #acceptKeys(client: number, reader: MessageReader): void {
    const keys = { channel: reader.take(KEY_BYTES), mask: reader.take(KEY_BYTES) };
    reader.end();
    this.#keys.set(client, keys);
  }

  #acceptShares(client: number, reader: MessageReader): void {
    const commitment = reader.take(COMMITMENT_BYTES);
    const receivers = (this.#neighbours[client] ?? []).filter((other) => this.#keys.has(other));
    const sealed = receivers.map((receiver) => [receiver, reader.take(SEALED_BYTES)] as const);
    reader.end();
    this.#commitments.set(client, commitment);
    for (const [receiver, shares] of sealed) this.#sealed.set(receiver, (this.#sealed.get(receiver) ?? new Map<number, Uint8Array>()).set(client, shares));
  }

  #acceptMasked(client: number, reader: MessageReader): void {
    const { length, bits } = this.#parameters;
    const words = unpackWords(reader.take(packedBytes(length, bits)), length, bits);
    reader.end();
    for (let i = 0; i < length; i++) this.#sum[i] = ((this.#sum[i] ?? 0) + (words[i] ?? 0)) | 0;
    this.#summed.add(client);
  }

  #acceptReveal(client: number, reader: MessageReader): void {
    const owners = [client, ...(this.#neighbours[client] ?? [])].filter((other) => this.#commitments.has(other)).sort((left, right) => left - right);
    const shares = owners.map((owner) => [owner, { point: pointOf(client), value: reader.take(SHARE_BYTES) }] as const);
    reader.end();
    for (const [owner, share] of shares) this.#revealed.set(owner, [...(this.#revealed.get(owner) ?? []), share]);
    this.#revealers.add(client);
  }

  #recoverSeed(index: number): Uint8Array {
    const seed = this.#recover(index);
    if (Buffer.compare(commitToSeed(seed, this.#parameters, index), this.#commitments.get(index) ?? new Uint8Array(0)) === 0) return seed;
    throw this.#problem(`seed of client ${String(index)}`, "shares of what the client committed to", "shares of something else");
  }

  /** Of a client without a vector in the sum: what its neighbours added or took for it. */
  #removePairwise(index: number): void {
    const neighbours = (this.#neighbours[index] ?? []).filter((other) => this.#summed.has(other));
    if (neighbours.length === 0) return;
    const pair = keyPairOf(this.#recover(index));
    if (Buffer.compare(pair.publicKey, this.#keysOf(index).mask) !== 0) throw this.#problem(`key of client ${String(index)}`, "shares of the key it advertised", "shares of something else");
    for (const other of neighbours) {
      applyMask(this.#sum, pairwiseKey(pair, index, this.#keysOf(other).mask, other, this.#parameters), signOf(other, index) === 1 ? -1 : 1);
    }
  }

  #recover(index: number): Uint8Array {
    const shares = this.#revealed.get(index) ?? [];
    assert(shares.length >= this.#parameters.threshold, "a stage does not end without enough shares of each");
    return joinShares(shares.slice(0, this.#parameters.threshold));
  }

  /** Clients whose secrets will be needed, as far as is known at the end of a stage: in the end those whose masks are in the sum. */
  #owners(): Iterable<number> {
    if (this.#stage === "keys") return this.#keys.keys();
    if (this.#stage === "shares") return this.#commitments.keys();
    return [...this.#commitments.keys()].filter((index) => this.#summed.has(index) || (this.#neighbours[index] ?? []).some((other) => this.#summed.has(other)));
  }

  #asked(): readonly number[] {
    if (this.#stage === "keys") return Array.from({ length: this.#parameters.numClients }, (_, index) => index);
    if (this.#stage === "shares") return [...this.#keys.keys()];
    return this.#stage === "masked" ? [...this.#commitments.keys()] : [...this.#summed];
  }

  #answered(): ReadonlySet<number> {
    if (this.#stage === "keys") return new Set(this.#keys.keys());
    if (this.#stage === "shares") return new Set(this.#commitments.keys());
    return this.#stage === "masked" ? this.#summed : this.#revealers;
  }

  #keysOf(index: number): Keys {
    const keys = this.#keys.get(index);
    assert(keys !== undefined, "who sent shares sent keys before");
    return keys;
  }

  #expect(stage: ServerStage, client: number): void {
    assert(this.#stage === stage && this.#asked().includes(client), `the message is for a client that is asked in stage ${stage}`);
  }

  #message(kind: MessageKind, client: number, parts: readonly Uint8Array[]): Uint8Array {
    return writeMessage(kind, this.#parameters, client, parts);
  }

  #problem(subject: string, expected: string, received: string): Error {
    return problemError("PROTOCOL_VIOLATED", { subject: `${subject} in secure aggregation`, expected, received });
  }
}
