/** Whole attempts: sums are exact whoever drops out and when, or there is none; masks are fresh; and what a client never does. */
import { describe, expect, test } from "vitest";
import { isFedllmError } from "../../../src/errors.js";
import { SimulatedAttempt } from "../../../src/secagg/attempt.js";
import { SecureClient } from "../../../src/secagg/client.js";
import { createKeyPair } from "../../../src/secagg/keys.js";
import { newAttempt, neighboursOf, type AttemptOptions } from "../../../src/secagg/parameters.js";
import { SecureServer, type ServerStage } from "../../../src/secagg/server.js";
import { createWordStream } from "../../../src/util/random.js";
import { expectedToSucceed, LEAVING, seededPattern } from "./dropouts.js";

const THRESHOLD = 2 / 3;

function vectorsOf(numClients: number, length: number, seed = 1): readonly Uint32Array[] {
  const next = createWordStream(seed);
  return Array.from({ length: numClients }, () => Uint32Array.from({ length }, next));
}

function plainSum(vectors: readonly Uint32Array[], bits: number): Uint32Array {
  return Uint32Array.from(vectors[0] ?? [], (_, i) => Number(vectors.reduce((sum, words) => sum + BigInt(words[i] ?? 0), 0n) % 2n ** BigInt(bits)));
}

/** Undefined when it fails for want of clients. */
function runAttempt(options: AttemptOptions, vectors: readonly Uint32Array[], leavesBefore: (client: number) => ServerStage | undefined) {
  const attempt = new SimulatedAttempt(options, leavesBefore);
  try {
    attempt.prepare();
    for (const [index, vector] of vectors.entries()) attempt.add(index, vector);
    return { attempt, sum: attempt.finish() };
  } catch (error) {
    if (!isFedllmError(error, "COHORT_TOO_SMALL")) throw error;
    return { attempt, sum: undefined };
  }
}

describe("sums", () => {
  test.each([
    [2, 32, undefined, 5],
    [3, 16, undefined, 1],
    [8, 32, undefined, 1000],
    [8, 24, 4, 17],
    [11, 31, 6, 3],
    [9, 32, 2, 40],
  ])("of %d clients modulo 2^%d with %s neighbours are exact", (numClients, bits, neighbours, length) => {
    const vectors = vectorsOf(numClients, length);
    const options = { round: 1, numClients, length, bits, thresholdFraction: THRESHOLD, ...(neighbours === undefined ? {} : { neighbours }) };
    expect(runAttempt(options, vectors, () => undefined).sum).toEqual(plainSum(vectors, bits));
  });

  test("are exact for every number of clients that leave before each stage, or there is none when too few are left", () => {
    const numClients = 4;
    const vectors = vectorsOf(numClients, 3);
    let numSums = 0;
    for (const counts of countsOf(numClients, 4)) {
      const leaves = counts.flatMap((count, stage) => Array.from({ length: count }, () => LEAVING[stage]));
      // Who leaves is in the middle of the indices as well as at the ends.
      const leavesBefore = (client: number) => leaves[(3 * client + 1) % numClients];
      const { sum } = runAttempt({ round: 1, numClients, length: 3, bits: 32, thresholdFraction: THRESHOLD }, vectors, leavesBefore);
      // Three of four must be left to the end, so at most one leaves at all.
      const isEnough = counts.reduce((total, count) => total + count, 0) <= 1;
      const added = vectors.filter((_, client) => !["keys", "shares", "masked"].includes(leavesBefore(client) ?? ""));
      expect(sum, counts.join(" ")).toEqual(isEnough ? plainSum(added, 32) : undefined);
      if (isEnough) numSums += 1;
    }
    expect(numSums).toBe(5);
  });

  test("of seeded patterns of dropouts on graphs of all densities are exact, or fail where a threshold is not reached", () => {
    const outcomes = { summed: 0, failed: 0 };
    for (let seed = 0; seed < 40; seed++) {
      const { options, leavesBefore } = seededPattern(seed, 7);
      const vectors = vectorsOf(options.numClients, options.length, seed);
      const { attempt, sum } = runAttempt(options, vectors, leavesBefore);
      const added = vectors.filter((_, client) => !["keys", "shares", "masked"].includes(leavesBefore(client) ?? ""));
      const isEnough = expectedToSucceed(attempt.parameters, leavesBefore);
      expect(sum, `seed ${String(seed)}`).toEqual(isEnough ? plainSum(added, options.bits) : undefined);
      outcomes[isEnough ? "summed" : "failed"] += 1;
    }
    expect(Math.min(outcomes.summed, outcomes.failed)).toBeGreaterThan(4);
  });
});

/** All ways for at most `total` clients to leave before one of so many stages. */
function countsOf(total: number, numStages: number): readonly (readonly number[])[] {
  if (numStages === 0) return [[]];
  return Array.from({ length: total + 1 }, (_, count) => countsOf(total - count, numStages - 1).map((rest) => [count, ...rest])).flat();
}

/** Parties whose messages a test passes on by hand, up to the masked vectors. */
function startAttempt(overrides: Partial<AttemptOptions> = {}) {
  const parameters = newAttempt({ round: 1, numClients: 4, length: 4, bits: 32, thresholdFraction: THRESHOLD, ...overrides });
  const server = new SecureServer(parameters);
  const clients = Array.from({ length: parameters.numClients }, (_, index) => new SecureClient(parameters, index));
  const exchangeKeys = () => {
    for (const client of clients) server.accept(client.advertise());
    server.endStage();
  };
  const exchangeShares = () => {
    exchangeKeys();
    for (const client of clients) server.accept(client.share(server.roster(client.index)));
    server.endStage();
  };
  const sendMasked = (vector = new Uint32Array(parameters.length)) => {
    exchangeShares();
    const messages = clients.map((client) => client.mask(server.inbox(client.index), vector));
    for (const message of messages) server.accept(message);
    server.endStage();
    return messages;
  };
  return { parameters, server, clients, exchangeKeys, exchangeShares, sendMasked };
}

const HEADER_BYTES = 19;
const [MASKED, SURVIVORS] = [4, 5];

/** A message survivors that the server would not send. */
function survivorsOf(parameters: { readonly attempt: Uint8Array }, client: number, members: readonly number[]): Uint8Array {
  return Uint8Array.of(SURVIVORS, ...parameters.attempt, client, 0, members.reduce((bits, index) => bits | (1 << index), 0));
}

describe("a client", () => {
  test("answers one set of survivors, and another set gets nothing more of it", () => {
    const { parameters, server, clients, sendMasked } = startAttempt();
    sendMasked();
    const [client] = clients;
    const first = client?.reveal(survivorsOf(parameters, 0, [0, 1, 2]));
    // One share for each of four clients.
    expect(first?.length).toBe(HEADER_BYTES + 4 * 33);
    expect(() => client?.reveal(survivorsOf(parameters, 0, [0, 1, 3]))).toThrow(/no message for stage maskedSent/u);
    expect(() => client?.reveal(server.survivors(0))).toThrow(expect.objectContaining({ code: "PROTOCOL_VIOLATED" }));
  });

  test("reveals of each other one either the share of the seed or that of the key, by whether it survived", () => {
    const { parameters, server, clients, sendMasked } = startAttempt();
    sendMasked();
    // Two halves of the clients are told different sets, and no third of them agree on one: neither secret of client 3 can be had.
    const told = [[0, 1, 2], [0, 1, 2], [0, 1, 2, 3]];
    const revealed = told.map((members, index) => clients[index]?.reveal(survivorsOf(parameters, index, members)) ?? new Uint8Array(0));
    for (const message of revealed) expect(message.length).toBe(HEADER_BYTES + 4 * 33);
    expect(parameters.threshold).toBe(3);
    for (const message of revealed) server.accept(message);
    server.endStage();
    // Shares of both kinds mixed give no secret, which is noticed.
    expect(() => server.finish()).toThrow(expect.objectContaining({ code: "PROTOCOL_VIOLATED" }));
  });

  test.each([
    ["without itself", [1, 2, 3], /in whose sum it is/u],
    ["below the threshold", [0, 1], /at least 3 survivors/u],
  ])("reveals nothing for a set %s, and nothing afterwards", (_name, members, message) => {
    const { parameters, server, clients, sendMasked } = startAttempt();
    sendMasked();
    expect(() => clients[0]?.reveal(survivorsOf(parameters, 0, members))).toThrow(message);
    expect(() => clients[0]?.reveal(server.survivors(0))).toThrow(/no message for stage/u);
  });

  test("takes every message once, in order, of its attempt and for itself", () => {
    const one = startAttempt();
    const other = startAttempt();
    one.exchangeKeys();
    other.exchangeKeys();
    expect(() => one.clients[0]?.share(other.server.roster(0))).toThrow(/a message of this attempt/u);
    expect(() => one.clients[1]?.share(one.server.roster(2))).toThrow(/messages for itself/u);
    expect(() => one.clients[2]?.advertise()).toThrow(/no message for stage start/u);
    expect(() => one.clients[3]?.share(one.server.roster(3).slice(0, -1))).toThrow(/at least \d+ bytes/u);
    expect(() => one.clients[3]?.share(one.server.roster(3))).toThrow(/no message for stage keysSent/u);
    expect(() => other.clients[0]?.share(Uint8Array.of(...other.server.roster(0), 0))).toThrow(/bytes, received/u);
    expect(() => other.clients[1]?.mask(other.server.roster(1), new Uint32Array(4))).toThrow(/no message for stage sharesSent/u);
  });

  test("refuses keys of small order, keys that stand twice, and shares that were swapped or changed on their way", () => {
    const zero = startAttempt();
    zero.exchangeKeys();
    const roster = zero.server.roster(0);
    expect(() => zero.clients[0]?.share(roster.fill(0, HEADER_BYTES + 1, HEADER_BYTES + 33))).toThrow(/small order/u);
    const twice = zero.server.roster(1);
    twice.copyWithin(HEADER_BYTES + 1, HEADER_BYTES + 65, HEADER_BYTES + 129);
    expect(() => zero.clients[1]?.share(twice)).toThrow(/public keys that are all different/u);

    const swapped = startAttempt();
    swapped.exchangeShares();
    const inbox = swapped.server.inbox(0);
    const sealed = 82;
    const first = inbox.slice(HEADER_BYTES + 1, HEADER_BYTES + 1 + sealed);
    inbox.copyWithin(HEADER_BYTES + 1, HEADER_BYTES + 1 + sealed, HEADER_BYTES + 1 + 2 * sealed);
    inbox.set(first, HEADER_BYTES + 1 + sealed);
    expect(() => swapped.clients[0]?.mask(inbox, new Uint32Array(4))).toThrow(/shares of client 1: expected what that client sealed/u);
    const flipped = swapped.server.inbox(1);
    flipped[flipped.length - 1] = (flipped[flipped.length - 1] ?? 0) ^ 0x80;
    expect(() => swapped.clients[1]?.mask(flipped, new Uint32Array(4))).toThrow(/shares of client 3/u);
    expect(() => swapped.clients[1]?.reveal(survivorsOf(swapped.parameters, 1, [0, 1, 2]))).toThrow(/no message for stage/u);
  });

  test("takes part only where more than half of the shares and clients are needed", () => {
    const good = newAttempt({ round: 1, numClients: 9, length: 1, bits: 32, thresholdFraction: THRESHOLD, neighbours: 4 });
    for (const [change, message] of [
      [{ threshold: 2 }, /more than half of the shares/u],
      [{ threshold: 6 }, /more than half of the shares/u],
      [{ minSurvivors: 4 }, /more than half of the clients/u],
      [{ numNeighbours: 3 }, /even number of neighbours/u],
      [{ numNeighbours: 0 }, /even number of neighbours/u],
      [{ attempt: new Uint8Array(8) }, /16 bytes/u],
      [{ bits: 33 }, /16 to 32 bits/u],
      [{ length: 0 }, /at least one number/u],
      [{ numClients: 1 }, /2 to 65534 clients/u],
    ] as const) {
      expect(() => new SecureClient({ ...good, ...change }, 0)).toThrow(message);
      expect(() => new SecureServer({ ...good, ...change })).toThrow(message);
    }
    expect(() => newAttempt({ round: 1, numClients: 1, length: 1, bits: 32, thresholdFraction: 1 })).toThrow(expect.objectContaining({ code: "COHORT_TOO_SMALL" }));
  });
});

describe("masks", () => {
  test("look like random numbers, whatever is under them", () => {
    const { sendMasked } = startAttempt({ numClients: 3, length: 50_000 });
    for (const message of sendMasked()) {
      const counts = new Uint32Array(256);
      for (const byte of message.subarray(HEADER_BYTES)) counts[byte] = (counts[byte] ?? 0) + 1;
      const expected = (message.length - HEADER_BYTES) / 256;
      const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
      // 255 degrees of freedom: above 420 with probability 1e-10.
      expect(chiSquare).toBeLessThan(420);
    }
  });

  test("of a second attempt are wholly new, also of the same round and vector", () => {
    const vector = new Uint32Array(1000).fill(5);
    const [first, second] = [startAttempt({ length: 1000 }).sendMasked(vector), startAttempt({ length: 1000 }).sendMasked(vector)];
    const wordsOf = (message: Uint8Array | undefined) => new Uint32Array(message?.slice(HEADER_BYTES).buffer ?? new ArrayBuffer(0));
    // All eight vectors are unlike each other: two words of 32 random bits are alike in 28 pairs of 1000 with probability 1e-5, and two of them never.
    const all = [...first, ...second].map(wordsOf);
    let numAlike = 0;
    for (const [place, left] of all.entries()) {
      for (const right of all.slice(place + 1)) numAlike += left.reduce((count, word, i) => count + (word === right[i] ? 1 : 0), 0);
    }
    expect(numAlike).toBeLessThan(2);
  });
});

describe("the server", () => {
  test("takes one message per client and stage, of clients it asked", () => {
    const { server, clients, parameters } = startAttempt();
    const keys = clients.map((client) => client.advertise());
    for (const message of keys.slice(0, 3)) server.accept(message);
    expect(() => {
      server.accept(keys[0] ?? new Uint8Array(0));
    }).toThrow(/one message keys/u);
    server.endStage();
    expect(() => {
      server.accept(keys[3] ?? new Uint8Array(0));
    }).toThrow(/a message of kind shares/u);
    const stranger = Uint8Array.of(2, ...parameters.attempt, 3, 0, ...new Uint8Array(32 + 3 * 82));
    expect(() => {
      server.accept(stranger);
    }).toThrow(/a client that was asked/u);
    // What came too long or too short leaves no trace, so the right message is still taken.
    const shares = clients[0]?.share(server.roster(0)) ?? new Uint8Array(0);
    for (const wrong of [shares.slice(0, -1), Uint8Array.of(...shares, 0)]) {
      expect(() => {
        server.accept(wrong);
      }).toThrow(/bytes/u);
    }
    server.accept(shares);
  });

  test("does not add a masked vector of a wrong length", () => {
    const { parameters, server, clients, exchangeShares } = startAttempt();
    exchangeShares();
    const vectors = vectorsOf(4, 4);
    const masked = clients.map((client, index) => client.mask(server.inbox(index), vectors[index] ?? new Uint32Array(4)));
    expect(() => {
      server.accept(Uint8Array.of(MASKED, ...parameters.attempt, 0, 0, ...new Uint8Array(20)));
    }).toThrow(/bytes/u);
    for (const message of masked) server.accept(message);
    server.endStage();
    for (const client of clients) server.accept(client.reveal(server.survivors(client.index)));
    server.endStage();
    expect(server.finish()).toEqual(plainSum(vectors, 32));
  });

  test.each([0, 1])("notices a revealed share that was changed (share %d)", (place) => {
    const { server, clients, sendMasked } = startAttempt();
    sendMasked();
    for (const client of clients) {
      const message = client.reveal(server.survivors(client.index));
      if (client.index === 1) message[HEADER_BYTES + 33 * place + 20] = (message[HEADER_BYTES + 33 * place + 20] ?? 0) ^ 1;
      server.accept(message);
    }
    server.endStage();
    expect(() => server.finish()).toThrow(/shares/u);
  });
});

describe("neighbours", () => {
  test.each([[5, 2], [9, 4], [100, 30], [100, 98]])("of %d clients are %d each, mutual, and connect all of them", (numClients, neighbours) => {
    const parameters = newAttempt({ round: 1, numClients, length: 1, bits: 32, thresholdFraction: THRESHOLD, neighbours });
    const lists = neighboursOf(parameters);
    const isRight = (others: readonly number[], own: number) =>
      new Set([own, ...others]).size === neighbours + 1 && others.every((other, place) => other > (others[place - 1] ?? -1) && lists[other]?.includes(own) === true);
    expect(lists.map((others, own) => others.length === neighbours && isRight(others, own))).toEqual(lists.map(() => true));
    const reached = new Set([0]);
    for (const own of reached) for (const other of lists[own] ?? []) reached.add(other);
    expect(reached.size).toBe(numClients);
  });

  test("are drawn anew in each attempt, and are all others where there are not more", () => {
    const draw = () => JSON.stringify(neighboursOf(newAttempt({ round: 1, numClients: 30, length: 1, bits: 32, thresholdFraction: THRESHOLD, neighbours: 4 })));
    expect(draw()).not.toBe(draw());
    const { numNeighbours, threshold, minSurvivors } = newAttempt({ round: 1, numClients: 10, length: 1, bits: 32, thresholdFraction: 0.7, neighbours: 20 });
    expect([numNeighbours, threshold, minSurvivors]).toEqual([9, 7, 7]);
  });
});

test("all keys are new with each client", () => {
  expect(createKeyPair().publicKey).not.toEqual(createKeyPair().publicKey);
  const { parameters } = startAttempt();
  expect(new SecureClient(parameters, 0).advertise()).not.toEqual(new SecureClient(parameters, 0).advertise());
});
