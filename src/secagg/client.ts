/**
 * A client in one attempt at a secure sum. It hides its vector behind a mask of its own and one with each neighbour, of which one end adds what the
 * other takes away, and leaves shares of both secrets with its neighbours, so that masks of clients that fall out can be removed. It answers each
 * message once and in order, and for no client does it reveal both kinds of share: the set of survivors decides which, and it takes one set only.
 *
 * Who follows the protocol and sees less than a threshold of the secrets learns nothing but the sum (parameters.ts; docs/privacy.md has the whole model).
 */
import { createHash, randomBytes } from "node:crypto";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { applyMask, open, seal, TAG_BYTES } from "./ciphers.js";
import { agree, createKeyPair, deriveKey, KEY_BYTES, rawSecretKey, type KeyPair } from "./keys.js";
import { MessageReader, packWords, writeMessage } from "./messages.js";
import { checkParameters, neighboursOf, type AttemptParameters } from "./parameters.js";
import { SECRET_BYTES, SHARE_BYTES, splitSecret } from "./shamir.js";

/** The shares of one client: of the seed of its own mask, and of the key of its pairwise masks. */
export interface SharePair {
  readonly seed: Uint8Array;
  readonly key: Uint8Array;
}

/** A neighbour that sent keys: what the channel keys of the two are derived from, and its public key of pairwise masks. */
interface Peer {
  readonly channel: Uint8Array;
  readonly mask: Uint8Array;
}

/** A sealed pair of shares. */
export const SEALED_BYTES = 2 * SHARE_BYTES + TAG_BYTES;

const NOTHING = new Uint8Array(0);

type Stage = "start" | "keysSent" | "sharesSent" | "maskedSent" | "done";

/** What binds a seed to its attempt and client without telling it; the server checks a recovered seed by it. */
export function commitToSeed(seed: Uint8Array, { attempt }: AttemptParameters, index: number): Uint8Array {
  return createHash("sha256").update("fedllm-native secure aggregation, seed").update(attempt).update(String(index)).update(seed).digest();
}

export class SecureClient {
  readonly index: number;
  readonly #parameters: AttemptParameters;
  readonly #neighbours: readonly number[];
  readonly #channel: KeyPair = createKeyPair();
  readonly #mask: KeyPair = createKeyPair();
  readonly #seed: Uint8Array = randomBytes(SECRET_BYTES);
  readonly #peers = new Map<number, Peer>();
  readonly #shares = new Map<number, SharePair>();
  #stage: Stage = "start";

  /** Throws PROTOCOL_VIOLATED for parameters that do not protect it. */
  constructor(parameters: AttemptParameters, index: number) {
    checkParameters(parameters);
    assert(index >= 0 && index < parameters.numClients, "an index is one of the clients");
    this.#parameters = parameters;
    this.index = index;
    this.#neighbours = neighboursOf(parameters)[index] ?? [];
  }

  /** Stage 1: message keys. */
  advertise(): Uint8Array {
    return this.#answer("start", "keysSent", () => this.#message("keys", [this.#channel.publicKey, this.#mask.publicKey]));
  }

  /** Stage 2: message shares, of the roster. */
  share(roster: Uint8Array): Uint8Array {
    return this.#answer("keysSent", "sharesSent", () => {
      const { threshold } = this.#parameters;
      const holders = [this.index, ...this.#readRoster(roster)];
      const points = holders.map(pointOf);
      const seeds = splitSecret(this.#seed, threshold, points);
      const keys = splitSecret(rawSecretKey(this.#mask), threshold, points);
      const sealed: Uint8Array[] = [];
      for (const [place, holder] of holders.entries()) {
        const pair = { seed: seeds[place]?.value ?? NOTHING, key: keys[place]?.value ?? NOTHING };
        if (holder === this.index) this.#shares.set(holder, pair);
        else sealed.push(seal(this.#channelKey(this.index, holder), Buffer.concat([pair.seed, pair.key])));
      }
      return this.#message("shares", [commitToSeed(this.#seed, this.#parameters, this.index), ...sealed]);
    });
  }

  /** Stage 3: message masked, of the inbox and the vector, which is taken modulo 2^bits. */
  mask(inbox: Uint8Array, vector: Uint32Array): Uint8Array {
    assert(vector.length === this.#parameters.length, "vectors have the attempt's length");
    return this.#answer("sharesSent", "maskedSent", () => {
      this.#readInbox(inbox);
      const masked = vector.slice();
      applyMask(masked, deriveKey(this.#seed, this.#parameters, "own mask", this.index), 1);
      for (const other of this.#shares.keys()) {
        if (other === this.index) continue;
        applyMask(masked, pairwiseKey(this.#mask, this.index, this.#peerOf(other).mask, other, this.#parameters), signOf(this.index, other));
      }
      return this.#message("masked", [packWords(masked, this.#parameters.bits)]);
    });
  }

  /** Stage 4: message reveal, of the survivors: for each of itself and the neighbours that sent shares, one share of one kind. */
  reveal(survivors: Uint8Array): Uint8Array {
    return this.#answer("maskedSent", "done", () => {
      const alive = this.#readSurvivors(survivors);
      const holders = [...this.#shares.keys()].sort((left, right) => left - right);
      const revealed = holders.map((holder) => (alive.has(holder) ? this.#shares.get(holder)?.seed : this.#shares.get(holder)?.key) ?? NOTHING);
      // What is forgotten cannot be asked for again.
      this.#shares.clear();
      return this.#message("reveal", revealed);
    });
  }

  #readSurvivors(survivors: Uint8Array): ReadonlySet<number> {
    const { numClients, minSurvivors, threshold } = this.#parameters;
    const reader = this.#reader("survivors", survivors);
    const alive = new Set(reader.takeSet(numClients));
    reader.end();
    const numHolders = [...this.#shares.keys()].filter((holder) => alive.has(holder)).length;
    if (!alive.has(this.index)) throw this.#problem("to be among the survivors, in whose sum it is", "a set without it");
    if (alive.size < minSurvivors) throw this.#problem(`at least ${String(minSurvivors)} survivors`, String(alive.size));
    if (numHolders < threshold) throw this.#problem(`at least ${String(threshold)} survivors among itself and its neighbours`, String(numHolders));
    if (this.#neighbours.some((other) => alive.has(other) && !this.#shares.has(other))) throw this.#problem("survivors whose shares it has", "one without shares");
    return alive;
  }

  /** Neighbours that sent keys. */
  #readRoster(roster: Uint8Array): readonly number[] {
    const { numClients, minSurvivors } = this.#parameters;
    const reader = this.#reader("roster", roster);
    const listed = new Set(reader.takeSet(numClients));
    if (!listed.has(this.index) || listed.size < minSurvivors) throw this.#problem(`a roster of at least ${String(minSurvivors)} clients with itself`, `${String(listed.size)} clients`);
    const present = this.#neighbours.filter((other) => listed.has(other));
    const keys = [this.#channel.publicKey, this.#mask.publicKey];
    for (const other of present) {
      const [channel, mask] = [reader.take(KEY_BYTES), reader.take(KEY_BYTES)];
      keys.push(channel, mask);
      this.#peers.set(other, { channel: agree(this.#channel, channel), mask });
    }
    reader.end();
    this.#checkHolders(present.length + 1);
    if (new Set(keys.map((key) => Buffer.from(key).toString("hex"))).size !== keys.length) throw this.#problem("public keys that are all different", "one twice");
    return present;
  }

  #readInbox(inbox: Uint8Array): void {
    const { numClients, minSurvivors } = this.#parameters;
    const reader = this.#reader("inbox", inbox);
    const listed = new Set(reader.takeSet(numClients));
    if (!listed.has(this.index) || listed.size < minSurvivors) throw this.#problem(`shares of at least ${String(minSurvivors)} clients with itself`, `${String(listed.size)} clients`);
    for (const other of this.#neighbours.filter((neighbour) => listed.has(neighbour))) {
      const plain = open(this.#channelKey(other, this.index), reader.take(SEALED_BYTES), `client ${String(other)}`);
      this.#shares.set(other, { seed: Uint8Array.from(plain.subarray(0, SHARE_BYTES)), key: Uint8Array.from(plain.subarray(SHARE_BYTES)) });
    }
    reader.end();
    this.#checkHolders(this.#shares.size);
  }

  #checkHolders(count: number): void {
    const { threshold } = this.#parameters;
    if (count < threshold) throw this.#problem(`at least ${String(threshold)} clients that hold shares of it`, String(count));
  }

  /** The key for what `sender` seals for `receiver`, one of which it is. */
  #channelKey(sender: number, receiver: number): Uint8Array {
    const other = sender === this.index ? receiver : sender;
    return deriveKey(this.#peerOf(other).channel, this.#parameters, "channel", sender, receiver);
  }

  #peerOf(other: number): Peer {
    const peer = this.#peers.get(other);
    if (peer === undefined) throw this.#problem("clients that sent keys", `client ${String(other)}, which did not`);
    return peer;
  }

  #reader(kind: "roster" | "inbox" | "survivors", bytes: Uint8Array): MessageReader {
    const reader = new MessageReader(kind, this.#parameters, bytes);
    if (reader.client !== this.index) throw this.#problem("messages for itself", `one for client ${String(reader.client)}`);
    return reader;
  }

  #message(kind: "keys" | "shares" | "masked" | "reveal", parts: readonly Uint8Array[]): Uint8Array {
    return writeMessage(kind, this.#parameters, this.index, parts);
  }

  /** A message that is refused, or comes in another stage, ends the attempt for this client. */
  #answer(from: Stage, to: Stage, work: () => Uint8Array): Uint8Array {
    const before = this.#stage;
    this.#stage = "done";
    try {
      if (before !== from) throw this.#problem(`no message for stage ${from}`, `one in stage ${before}`);
      const message = work();
      this.#stage = to;
      return message;
    } catch (error) {
      this.#shares.clear();
      throw error;
    }
  }

  #problem(expected: string, received: string): Error {
    return problemError("PROTOCOL_VIOLATED", { subject: `client ${String(this.index)} of secure aggregation`, expected, received });
  }
}

/** The point of a client's shares; 0 is the secret. */
export function pointOf(index: number): number {
  return index + 1;
}

/** What the client does with the mask it has with another: the two cancel. */
export function signOf(index: number, other: number): 1 | -1 {
  return index < other ? 1 : -1;
}

/** The key of the mask that two clients have together, by either of them. */
export function pairwiseKey(own: KeyPair, index: number, otherKey: Uint8Array, other: number, parameters: AttemptParameters): Uint8Array {
  return deriveKey(agree(own, otherKey), parameters, "pairwise mask", Math.min(index, other), Math.max(index, other));
}
